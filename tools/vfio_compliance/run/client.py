# SPDX-License-Identifier: GPL-2.0-only
"""What judges the clients of an interface: what they did comes in, what they broke goes out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from ..common.calls import OMITTED, SECOND
from ..uapi.vfio import VFIO_DEVICE_RESET

Verb = Literal["read", "write", "reset", "open", "close", "map", "gap", "dma-map", "dma-unmap", "dirty"]

_OF_REGION: dict[str, Verb] = {"read": "read", "write": "write", "map": "map"}
_OF_DEVICE: dict[str, Verb] = {"open": "open", "close": "close"}


def access_verb(verb: str, target: str, number: int, region: str) -> Verb | None:
    """What a traced call is to the judge of the clients of ``region`` ("region 9"); None: nothing.

    Where there is a second device the two take turns: each turn begins and ends with an open or a close.
    """
    target = target.removeprefix(SECOND)
    if verb == OMITTED:
        return "gap"
    if verb == "ioctl":
        return "reset" if number == VFIO_DEVICE_RESET else None
    if target == "device":
        return _OF_DEVICE.get(verb)
    return _OF_REGION.get(verb) if target == region else None


class Bitmap(NamedTuple):
    """The dirty bitmap that a call of the container asks for; None: not known, or not reached by its argsz."""

    #: Bytes of a page.
    pgsize: int | None = None
    #: Bytes of memory for the bitmap.
    size: int | None = None
    #: Whether that memory was zero before the call.
    zero: bool | None = None


class ContainerCall(NamedTuple):
    """The arguments of a call of the container; None: what its argsz did not reach; without argsz none is known."""

    argsz: int | None = None
    flags: int | None = None
    #: I/O virtual address, and bytes from there on.
    iova: int | None = None
    size: int | None = None
    #: Where the flags ask for one.
    bitmap: Bitmap | None = None


class Access(NamedTuple):
    """A read or write of the region of an interface, or what else tells of the client's dealings with the device.

    ``map`` is a mapping of a part of the region; ``gap`` stands for accesses that were not recorded; ``dma-map``,
    ``dma-unmap`` and ``dirty`` are calls of the container.
    """

    verb: Verb
    #: In the region, in bytes.
    offset: int = 0
    #: Bytes asked for.
    length: int = 0
    #: Bytes moved, or 0 for what moves none; -1 on failure.
    value: int = 0
    #: What was written or what came, all of it or its first bytes.
    data: bytes = b""
    #: SHA-256 in hexadecimal of all of it, where it is longer than ``data`` and known.
    digest: str = ""
    #: How whoever recorded it counts it: offences are told by this number.
    number: int = 0
    #: Of a call of the container.
    called: ContainerCall | None = None
    #: Tells containers apart.
    container: int = 0

    @property
    def ok(self) -> bool:
        """Whether the driver carried it out whole."""
        return self.value == self.length if self.verb in ("read", "write") else self.value >= 0

    @property
    def told(self) -> bool:
        """Whether all bytes that were to be written, or came, are in ``data``."""
        return len(self.data) >= (self.length if self.verb == "write" else self.value)

    @property
    def content(self) -> int:
        """The number that was written to a register, or read from it; to be used where it is ``told``."""
        return int.from_bytes(self.data[:8], "little")

    def moved_digest(self) -> bytes:
        """SHA-256 of the bytes that were moved; nothing when they are not known."""
        if len(self.data) >= self.value:
            return hashlib.sha256(self.data[: self.value]).digest()
        return bytes.fromhex(self.digest) if self.ok else b""


class Offence(NamedTuple):
    """A clause that the client broke, at the access with this number."""

    clause: str
    access: int
    expected: str
    #: A sentence.
    seen: str


class ClientJudge(ABC):
    """Takes one access after the other and gives the offences that each one completes.

    Where a trace does not show mappings, whoever feeds the judge tells it of each one that may have been made.
    """

    #: What each clause asks of a client, in a sentence.
    clauses: ClassVar[Mapping[str, str]]
    #: A clause that leaves the client free to stop the device before it is closed; nothing can be held against it.
    free: ClassVar[str]

    #: What was saved last, for the judge of a client that restores it; None when nothing was.
    saved: Any
    #: How often the client closed the device: after it had stopped it, and otherwise.
    closed_stopped = closed_otherwise = 0

    @abstractmethod
    def __init__(self, source: Any = None) -> None:
        """``source`` is what another client saved; by default what was saved last in the same trace."""

    @abstractmethod
    def take(self, access: Access) -> list[Offence]:
        """The offences that this access completes."""

    @abstractmethod
    def end(self) -> list[Offence]:
        """Those that only the end of the accesses shows."""

    @property
    @abstractmethod
    def kept(self) -> Mapping[str, int]:
        """How often each clause was put to the test and kept."""

    @property
    @abstractmethod
    def remarks(self) -> Mapping[str, int]:
        """What could not be judged, and why, with how often."""
