# SPDX-License-Identifier: GPL-2.0-only
"""Information structures that grow: their fixed part says how many bytes the whole needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from ..common.words import counted
from ..run.checks import broken, declined, equal, succeeded
from ..transport import GuardedBuffer, Outcome
from ..uapi.type1 import IommuInfoFlags
from ..uapi.vfio import RegionFlags, ffi

_CAP_HEADER = ffi.sizeof("struct vfio_info_cap_header")

#: Bytes of memory for an answer, whatever argsz says: a write past argsz shows there.
ROOM = 4096

_BEFORE = 0xFF


@dataclass(frozen=True)
class Shape:
    """Where things are in such a structure, in bytes."""

    name: str
    #: A smaller argsz is refused.
    least: int
    #: What comes before the capabilities.
    fixed: int
    #: Offset of cap_offset, and the flag that says that it means something.
    cap_offset: int
    caps: int


CONTAINER = Shape("the container's information", least=16, fixed=24, cap_offset=16, caps=IommuInfoFlags.CAPS)
REGION = Shape("a region's information", least=32, fixed=32, cap_offset=12, caps=RegionFlags.CAPS)


class ArgszProbe:
    """One such structure of an open device. ``ask`` issues the request; bytes 8 to 11 of its argument are ``key``."""

    def __init__(self, shape: Shape, ask: Callable[[bytearray | int], Outcome], key: bytes = b"") -> None:
        self.shape = shape
        self._ask = ask
        self._key = key

    def argument(self, argsz: int, room: int) -> bytearray:
        """An argument of ``room`` bytes with this argsz, ones in the rest."""
        memory = bytearray([_BEFORE]) * room
        memory[:4] = argsz.to_bytes(4, "little")
        memory[8 : 8 + len(self._key)] = self._key
        return memory[:room]

    @property
    def answers(self) -> bool:
        """Whether the fixed part is returned now."""
        return self._ask(self.argument(self.shape.fixed, self.shape.fixed)).ok

    @property
    def has_capabilities(self) -> bool:
        """Whether the fixed part says that there are capabilities."""
        memory = self.argument(self.shape.fixed, self.shape.fixed)
        return self._ask(memory).ok and bool(_number(memory, 4) & self.shape.caps)

    @property
    def needed(self) -> int:
        """Bytes of the whole, as the fixed part says; at least the fixed part. Raises RuleBroken."""
        return len(self._whole)

    def judge(self, argsz: int) -> None:
        """The answer for this argsz is correct, and stays inside it. Raises RuleBroken."""
        memory = self.argument(argsz, ROOM)
        before = bytes(memory)
        outcome = self._ask(memory)
        what = self._asking(argsz)
        if argsz < self.shape.least:
            declined(what, outcome)
            self._untouched(what, before, bytes(memory), 0)
            return
        succeeded(what, outcome)
        self._untouched(what, before, bytes(memory), argsz)
        self._right(what, bytes(memory), argsz)

    def judge_guarded(self, argsz: int) -> None:
        """The same for a structure that ends where nothing can be written. Raises RuleBroken."""
        what = f"{self._asking(argsz)}, all of it before an inaccessible page"
        with GuardedBuffer(argsz) as memory:
            memory.view[:] = self.argument(argsz, argsz)
            succeeded(what, self._ask(memory.address))
            self._right(what, bytes(memory.view), argsz)

    def judge_bad_pointer(self, where: str, put: Callable[[str, bytes], int]) -> None:
        """A structure that cannot be read or written is refused. Raises RuleBroken."""
        argument = bytes(self.argument(self.needed, self.needed))
        declined(f"{self._asking(self.needed)}, at an address that is {where}", self._ask(put(where, argument)))

    @cached_property
    def _whole(self) -> bytes:
        """The structure with all of its capabilities."""
        shape = self.shape
        memory = self.argument(shape.fixed, shape.fixed)
        what = self._asking(shape.fixed)
        succeeded(what, self._ask(memory))
        if not _number(memory, 4) & shape.caps:
            return bytes(memory)
        needed = _number(memory, 0)
        if not shape.fixed + _CAP_HEADER <= needed <= ROOM:
            broken(
                f"reading argsz after {what}, which says that there are capabilities",
                expected=f"what they need as well, from {shape.fixed + _CAP_HEADER} to {ROOM}",
                seen=f"{needed}",
            )
        memory = self.argument(needed, needed)
        what = self._asking(needed)
        succeeded(what, self._ask(memory))
        first = _number(memory, shape.cap_offset)
        if not shape.fixed <= first <= needed - _CAP_HEADER:
            broken(
                f"reading cap_offset after {what}, as much as it wants",
                expected=f"from {shape.fixed} to {needed - _CAP_HEADER}",
                seen=f"{first}",
            )
        return bytes(memory)

    def _right(self, what: str, answer: bytes, argsz: int) -> None:
        """``answer`` is the whole, or as much of the fixed part as fits."""
        whole, shape = self._whole, self.shape
        written = _number(answer, 0)
        if argsz >= len(whole):
            equal(
                f"comparing what came with another answer, after {what}", answer[4 : len(whole)], whole[4:], bytes.hex
            )
            if written not in (argsz, len(whole)):
                broken(f"reading argsz after {what}", expected=f"{argsz} or {len(whole)}", seen=f"{written}")
            return
        fixed = min(argsz, shape.fixed)
        link = slice(shape.cap_offset, shape.cap_offset + 4)
        for part in (slice(4, link.start), slice(link.stop, fixed)):
            equal(
                f"comparing the fixed part with the whole, after {what}",
                answer[part],
                whole[part][: fixed - part.start],
                bytes.hex,
            )
        if len(whole) > shape.fixed:
            equal(f"reading argsz after {what}", written, len(whole))
            if argsz >= link.stop:
                equal(
                    f"reading cap_offset after {what}, where there is no room for capabilities",
                    _number(answer, link.start),
                    0,
                )

    def _untouched(self, what: str, before: bytes, after: bytes, start: int) -> None:
        """Nothing from byte ``start`` on was written."""
        if after[start:] != before[start:]:
            changed = [at for at in range(start, len(after)) if after[at] != before[at]]
            broken(
                f"looking at the memory after {what}",
                expected=f"nothing written from byte {start} on",
                seen=f"{counted(len(changed), 'byte')} written, the first of them byte {changed[0]}",
            )

    def _asking(self, argsz: int) -> str:
        return f"asking for {self.shape.name} with argsz {argsz}"


def _number(data: bytes | bytearray, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")
