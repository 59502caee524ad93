# SPDX-License-Identifier: GPL-2.0-only
"""What a device was bound to before VFIO: on disk before anything is changed, removed once that is undone.

A record is valid until the machine is rebooted: then every device has its first driver again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ..common.new_file import new_file
from .machine import HostError, Machine, is_name

_FORMAT: Final = 1
_FOLDER: Final = "run/vfio-compliance"
_LARGEST: Final = 1 << 16


class Before(NamedTuple):
    """The earlier state of a device: its driver, and the only one that might bind it; empty for none."""

    driver: str
    override: str


class Record:
    """The record of one device."""

    def __init__(self, machine: Machine, address: str) -> None:
        self._machine = machine
        self.path: Path = machine.root / _FOLDER / f"{address}.json"

    def read(self) -> Before | None:
        """Its content; None if there is no record from this boot. Raises HostError for a damaged one."""
        try:
            with self.path.open("rb") as file:
                content = json.loads(file.read(_LARGEST))
            if content["format"] != _FORMAT:
                raise HostError(f"{self.path} has format {content['format']!r:.20}; this program knows {_FORMAT}")
            before = Before(content["driver"], content["override"])
            if not all(isinstance(each, str) and (not each or is_name(each)) for each in before):
                raise ValueError
            return before if content["boot"] == self._machine.boot else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HostError(f"{self.path} cannot be read: {error.strerror}; run this as root") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise HostError(f"{self.path} is damaged; bind the device by hand, then remove the file") from None

    def write(self, before: Before) -> None:
        """Write it to disk. Raises HostError."""
        content = {"format": _FORMAT, "boot": self._machine.boot, **before._asdict()}
        with new_file(self.path, HostError, replace=True) as file:
            file.write(json.dumps(content).encode() + b"\n")
        self._sync()

    def remove(self) -> None:
        """Remove it: nothing is left to undo. Raises HostError."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"{self.path} cannot be removed: {error.strerror}") from None
        self._sync()

    def _sync(self) -> None:
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def alone(machine: Machine) -> Iterator[None]:
    """While held, no other call of this program changes drivers.

    Raises HostError if another one holds it, or without permission.
    """
    folder = machine.root / _FOLDER
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"{folder} cannot be used: {error.strerror}; run this as root") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HostError("another vfio-compliance is changing the drivers of devices; wait until it has ended") from None
    finally:
        os.close(descriptor)
