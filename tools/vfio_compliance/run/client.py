# SPDX-License-Identifier: GPL-2.0-only
"""What judges the clients of an interface: what they did comes in, what they broke goes out."""

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
    """What a traced call is to the judge of the clients of ``region`` ("region 9"); None: nothing.

    Where there is a second device the two take turns: each turn begins and ends with an open or a close.
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
    #: The call went to a server by message: argsz counts the structures of vfio-user, and no memory is handed over.
    message: bool = False

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


class ClientJudge(ABC):
    """Takes one access after the other and gives the offences that each one completes.

    Where a trace does not show mappings, whoever feeds the judge tells it of each one that may have been made. Nothing
    is held against a client that is not in the trace.
    """

    #: What each clause asks of a client, in a sentence.
    clauses: ClassVar[Mapping[str, str]]
    #: A clause that leaves the client free to stop the device before it is closed; nothing can be held against it.
    free: ClassVar[str] = ""

    def __init__(self, source: Any = None) -> None:
        """``source`` is what another client saved; by default what was saved in the same trace."""
        self._ledger = Ledger()
        #: How often the client closed the device: after it had stopped it, and otherwise.
        self.closed_stopped = self.closed_otherwise = 0

    @property
    def saved(self) -> Any:
        """What was saved, for the judge of a client that restores it; None when nothing was."""
        return None

    def take(self, access: Access) -> list[Offence]:
        """The offences that this access completes."""
        self._ledger.number = access.number
        self.take_one(access)
        return self._ledger.fetch()

    def end(self) -> list[Offence]:
        """Those that only the end of the accesses shows; nothing may be taken after this."""
        self.end_all()
        return self._ledger.fetch()

    @abstractmethod
    def take_one(self, access: Access) -> None:
        """Judge an access."""

    def end_all(self) -> None:  # noqa: B027, most have nothing to do
        """Judge that there are no more."""

    @property
    def kept(self) -> dict[str, int]:
        """How often each clause was put to the test and kept."""
        return {clause: self._ledger.kept[clause] for clause in self.clauses}

    @property
    def broken(self) -> dict[str, int]:
        """How often each clause was broken."""
        return {clause: self._ledger.broken[clause] for clause in self.clauses}

    @property
    def unclear(self) -> dict[str, dict[str, int]]:
        """Of each clause why it could not be told whether it was kept, with how often."""
        return {clause: dict(why) for clause, why in self._ledger.unclear.items()}

    @property
    def remarks(self) -> dict[str, int]:
        """What a reader should know and nobody is blamed for, with how often."""
        return dict(self._ledger.remarks)
