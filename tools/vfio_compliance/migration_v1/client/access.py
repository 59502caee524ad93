# SPDX-License-Identifier: GPL-2.0-only
"""One access of a client, as far as its judge has to know it."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from ...common.calls import OMITTED, SECOND
from ...uapi.migration_v1 import HEADER_SIZE, REGISTERS
from ...uapi.vfio import VFIO_DEVICE_RESET

Verb = Literal["read", "write", "reset", "open", "close", "map", "gap"]

_OF_REGION: dict[str, Verb] = {"read": "read", "write": "write", "map": "map"}
_OF_DEVICE: dict[str, Verb] = {"open": "open", "close": "close"}

_REGISTERS = {(register.offset, register.width): register.name for register in REGISTERS}


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


class Access(NamedTuple):
    """A read or write of the migration region, or what else tells of the client's dealings with the device.

    ``map`` is a mapping of a part of the region; ``gap`` stands for accesses that were not recorded.
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

    @property
    def ok(self) -> bool:
        """Whether the driver carried it out whole."""
        return self.value == self.length if self.verb in ("read", "write") else self.value >= 0

    @property
    def register(self) -> str:
        """Name of the register that was accessed whole, else nothing."""
        return _REGISTERS.get((self.offset, self.length), "")

    @property
    def is_data(self) -> bool:
        """Whether it lies in the data section."""
        return self.offset >= HEADER_SIZE

    @property
    def content(self) -> int:
        """The number that was written to a register, or read from it."""
        return int.from_bytes(self.data[:8], "little")

    def moved_digest(self) -> bytes:
        """SHA-256 of the bytes that were moved; nothing when they are not known."""
        if len(self.data) >= self.value:
            return hashlib.sha256(self.data[: self.value]).digest()
        return bytes.fromhex(self.digest) if self.ok else b""
