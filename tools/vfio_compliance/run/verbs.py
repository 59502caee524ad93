# SPDX-License-Identifier: GPL-2.0-only
"""What a profile can do with a device, by a step or in a Python file: each is a traced call of the suite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from hashlib import sha256, shake_128
from typing import TypeVar

from ..device import Device, DeviceError, Interrupts, Region
from ..profiles import quoted
from . import files

T = TypeVar("T")

#: Most bytes of a range that are generated at a time.
_PIECE = 1 << 20


class Verbs:
    """The verbs raise DeviceError if the device, or the driver behind a file, refuses."""

    def __init__(self, device: Device) -> None:
        self._device = device

    # -- registers ------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, width: int) -> int:
        """The number in ``width`` bytes."""
        return self._region(region).read(offset, width)

    def write(self, region: int, offset: int, width: int, value: int) -> None:
        """Write the lowest ``width`` bytes of ``value``."""
        self._region(region).write(offset, width, value & (1 << 8 * width) - 1)

    def read_bytes(self, region: int, offset: int, size: int) -> bytes:
        """``size`` bytes."""
        return self._region(region).read_bytes(offset, size)

    def write_bytes(self, region: int, offset: int, data: bytes) -> None:
        """Write ``data``."""
        self._region(region).write_bytes(offset, data)

    def wait(self, region: int, offset: int, width: int, equals: int, within: float, mask: int = 2**64 - 1) -> None:
        """Read until the bits in ``mask`` are ``equals``, for ``within`` seconds at most."""
        register = self._region(region)
        wanted = equals & (1 << 8 * width) - 1
        self._await(
            lambda: register.read(offset, width) & mask,
            wanted,
            within,
            f"waiting on 0x{offset:x} of region {region} for {within:g} s",
            "" if mask == 2**64 - 1 else f" under mask 0x{mask:x}",
        )

    def _region(self, index: int) -> Region:
        return self._device.region(index)

    # -- ranges ---------------------------------------------------------------------------------------------------

    def fill(self, region: int, offset: int, size: int, value: int, at_once: int) -> None:
        """Write a pattern that differs from value to value over a range."""
        where = self._region(region)
        at = offset
        for piece in _pattern(value, size):
            for start in range(0, len(piece), at_once):
                where.write_bytes(at, piece[start : start + at_once])
                at += min(at_once, len(piece) - start)

    def digest(self, region: int, offset: int, size: int, at_once: int) -> int:
        """A number made from all bytes of a range."""
        where, found = self._region(region), sha256()
        for at in range(offset, offset + size, at_once):
            found.update(where.read_bytes(at, min(at_once, offset + size - at)))
        return _number(found.digest())

    # -- files ----------------------------------------------------------------------------------------------------

    def read_file(self, path: str) -> str:
        """The content of a file, without surrounding white space; ``{sysfs}`` and so on are filled in in its path."""
        return files.read_text(self._device.transport, self.path(path))

    def write_file(self, path: str, text: str) -> None:
        """Write a file, all of it at once."""
        files.write_text(self._device.transport, self.path(path), text)

    def wait_file(self, path: str, text: str, within: float) -> None:
        """Read a file until it holds ``text``, for ``within`` seconds at most."""
        self._await(
            lambda: self.read_file(path),
            text.strip(),
            within,
            f"waiting on the file {self.path(path)} for {within:g} s",
        )

    def path(self, path: str) -> str:
        """A path with its placeholders filled in. Raises DeviceError if one has no known value."""
        for word, place in self._device.transport.places().items():
            path = path.replace(f"{{{word}}}", place)
        return path

    # -- interrupts -----------------------------------------------------------------------------------------------

    @property
    def _interrupts(self) -> Interrupts:
        return self._device.interrupts

    def enable_irq(self, index: int, vector: int = 0) -> None:
        """Make the driver report the interrupt from now on."""
        self._interrupts.enable(index, vector)

    def disable_irq(self, index: int) -> None:
        """Stop reporting it."""
        self._interrupts.disable(index)

    def trigger_irq(self, index: int, vector: int = 0) -> None:
        """Make the driver report it as if the device had raised it."""
        self._interrupts.trigger(index, vector)

    def unmask_irq(self, index: int, vector: int = 0) -> None:
        """Let a level-triggered interrupt come again."""
        self._interrupts.unmask(index, vector)

    def count_irq(self, index: int, vector: int = 0) -> int:
        """How many times it has come since it was enabled."""
        return self._interrupts.count(index, vector)

    def wait_irq(self, index: int, vector: int = 0, within: float = 1.0) -> None:
        """Wait for one that no earlier wait has seen, for ``within`` seconds at most."""
        if not self._interrupts.wait(index, vector, within):
            what = f"waiting for interrupt {index}, vector {vector}, for {within:g} s"
            raise DeviceError(what, "an interrupt", "none")

    # -- all ------------------------------------------------------------------------------------------------------

    def _await(self, look: Callable[[], T], wanted: T, within: float, what: str, how: str = "") -> None:
        """Look until the value is as wanted. Raises DeviceError if it is not in time."""
        end = time.monotonic() + within
        while (seen := look()) != wanted:
            if time.monotonic() > end:
                raise DeviceError(what, _shown(wanted) + how, _shown(seen))
            self._device.transport.pause(within / 1024)


def _shown(value: object) -> str:
    return hex(value) if isinstance(value, int) else quoted(str(value))


def number_in(text: str) -> int:
    """The number that a file holds, decimal or 0x...; else one made from its text."""
    try:
        return int(text, 0)
    except ValueError:
        return _number(sha256(text.encode()).digest())


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little")


def _pattern(value: int, size: int) -> Iterator[bytes]:
    """``size`` bytes that look random, different for each value and in each piece."""
    for start in range(0, size, _PIECE):
        yield shake_128(f"{value} {start}".encode()).digest(min(_PIECE, size - start))
