# SPDX-License-Identifier: GPL-2.0-only
"""Judges of the clients of an interface: accesses go in, offences come out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from ..common.calls import OMITTED, SECOND
from ..uapi.vfio import VFIO_DEVICE_RESET
from .ledger import Ledger, Offence

Verb = Literal["read", "write", "reset", "open", "close", "map", "gap", "dma-map", "dma-unmap", "dirty"]

_OF_REGION: dict[str, Verb] = {"read": "read", "write": "write", "map": "map"}
_OF_DEVICE: dict[str, Verb] = {"open": "open", "close": "close", "reset": "reset"}
_OF_CONTAINER: dict[str, Verb] = {"dma-map": "dma-map", "dma-unmap": "dma-unmap", "dirty": "dirty"}


def access_verb(verb: str, target: str, number: int, region: str) -> Verb | None:
    """What a traced call means to the judge of the clients of ``region`` ("region 9"); None if nothing.

    If there is a second device, the two take turns: each turn begins and ends with an open or a close.
    """
    target = target.removeprefix(SECOND)
    if verb == OMITTED:
        return "gap"
    if verb == "ioctl":
        return "reset" if number == VFIO_DEVICE_RESET else None
    if target == "container":
        return _OF_CONTAINER.get(verb)
    if target == "device":
        return _OF_DEVICE.get(verb)
    return _OF_REGION.get(verb) if target == region else None


class Bitmap(NamedTuple):
    """The dirty bitmap that a call of the container requests; None if unknown, or not covered by its argsz."""

    #: Bytes of a page.
    pgsize: int | None = None
    #: Bytes of memory for the bitmap.
    size: int | None = None
    #: Whether that memory was zero before the call.
    zero: bool | None = None


class ContainerCall(NamedTuple):
    """The arguments of a call of the container; None if not covered by its argsz; without argsz, none is known."""

    argsz: int | None = None
    flags: int | None = None
    #: I/O virtual address, and bytes from there on.
    iova: int | None = None
    size: int | None = None
    #: If the flags request one.
    bitmap: Bitmap | None = None


class Access(NamedTuple):
    """A read or write of the region of an interface, or another action of the client on the device.

    ``map`` is a mapping of a part of the region; ``gap`` stands for accesses that were not recorded; ``dma-map``,
    ``dma-unmap`` and ``dirty`` are calls of the container.
    """

    verb: Verb
    #: In the region, in bytes.
    offset: int = 0
    #: Bytes requested.
    length: int = 0
    #: Bytes moved, or 0 for what moves none; -1 on failure.
    value: int = 0
    #: The data written or read, all of it or its first bytes.
    data: bytes = b""
    #: SHA-256 in hexadecimal of all of it, if it is longer than ``data`` and known.
    digest: str = ""
    #: Its number in the recording: offences are reported with it.
    number: int = 0
    #: For a call of the container.
    called: ContainerCall | None = None
    #: Distinguishes containers.
    container: int = 0
    #: The call went to a server by message: argsz counts the structures of vfio-user, and no memory is passed.
    message: bool = False

    @property
    def ok(self) -> bool:
        """Whether the driver carried it out in full."""
        return self.value == self.length if self.verb in ("read", "write") else self.value >= 0

    @property
    def told(self) -> bool:
        """Whether all bytes to write, or all that were read, are in ``data``."""
        return len(self.data) >= (self.length if self.verb == "write" else self.value)

    @property
    def content(self) -> int:
        """The number that was written to a register, or read from it; valid only if ``told``."""
        return int.from_bytes(self.data[:8], "little")

    def moved_digest(self) -> bytes:
        """SHA-256 of the bytes that were moved; empty if they are unknown."""
        if len(self.data) >= self.value:
            return hashlib.sha256(self.data[: self.value]).digest()
        return bytes.fromhex(self.digest) if self.ok else b""


class ClientJudge(ABC):
    """Takes one access after another and returns the offences that each one completes.

    If a trace does not show mappings, the caller passes each one that may have been made. Only what the trace shows
    counts against a client.
    """

    #: What each clause requires of a client, in a sentence.
    clauses: ClassVar[Mapping[str, str]]
    #: A clause that lets the client stop the device before closing it or not; it cannot be broken.
    free: ClassVar[str] = ""

    def __init__(self, source: Any = None) -> None:
        """``source`` is what another client saved; by default what was saved in the same trace."""
        self._ledger = Ledger()
        #: How many times the client closed the device: after stopping it, and otherwise.
        self.closed_stopped = self.closed_otherwise = 0

    @property
    def saved(self) -> Any:
        """What was saved, for the judge of a client that restores it; None if nothing was."""
        return None

    def take(self, access: Access) -> list[Offence]:
        """The offences that this access completes."""
        self._ledger.number = access.number
        self.take_one(access)
        return self._ledger.fetch()

    def end(self) -> list[Offence]:
        """The offences that only the end of the accesses shows; nothing may be taken after this."""
        self.end_all()
        return self._ledger.fetch()

    @abstractmethod
    def take_one(self, access: Access) -> None:
        """Judge an access."""

    def end_all(self) -> None:  # noqa: B027, most have nothing to do
        """Judge that there are no more."""

    @property
    def kept(self) -> dict[str, int]:
        """How many times each clause applied and was kept."""
        return {clause: self._ledger.kept[clause] for clause in self.clauses}

    @property
    def broken(self) -> dict[str, int]:
        """How many times each clause was broken."""
        return {clause: self._ledger.broken[clause] for clause in self.clauses}

    @property
    def unclear(self) -> dict[str, dict[str, int]]:
        """For each clause, why it is unclear whether it was kept, and how many times."""
        return {clause: dict(why) for clause, why in self._ledger.unclear.items()}

    @property
    def remarks(self) -> dict[str, int]:
        """What a reader should know, without blame, and how many times."""
        return dict(self._ledger.remarks)
