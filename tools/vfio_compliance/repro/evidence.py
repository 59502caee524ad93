# SPDX-License-Identifier: GPL-2.0-only
"""Finds in the recorded calls what a check complained of: which answers show the fault, and what is wrong with them.

Most checks say what they compared (``Compared``). Where one does not, or the journal is an older one, the words of the
failure say it, or else the fault shows where the call that is blamed answers as it was recorded.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from ..common.calls import SECOND, Call
from ..results.failure import CHANGE, CLEAR, EQUAL, ERROR, ONE_OF, REST, SET, SUCCESS, Compared, Failure
from ..results.registers import Registers
from ..uapi import type1
from .fault import AsSeen, Bits, Fault, Gone, Like, NoneRefused, Place, Refused, SameData, Simple, Taken, Unlike, Wrong
from .structures import fields_of
from .trace import NoProgram

#: How a call ends whose other side is gone, or breaks its protocol.
_GONE: Final = (errno.EPIPE, errno.EPROTO)

_ERRNO: Final = re.compile(r"(E[A-Z0-9]+)\b|errno (\d+)|(an error without an errno)")
_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")
_SHA256: Final = "sha256:"


def fault_of(failure: Failure, calls: Sequence[Call], registers: Registers) -> Fault:
    """What shows the failure, in ``calls``, of which the last one is blamed. Raises NoProgram."""
    found = _Finding(failure, calls, registers)
    for find in (found.by_data, found.by_words, found.by_record):
        if looks := find():
            return Fault(tuple(looks), failure.what, failure.expected or "an answer", failure.seen or failure.what)
    raise NoProgram(f"nothing in its calls shows it again: {failure.whole}")


class _Finding:
    def __init__(self, failure: Failure, calls: Sequence[Call], registers: Registers) -> None:
        self._failure, self._calls, self._registers = failure, calls, registers
        self._seen, self._expected = failure.seen or "", failure.expected or ""

    # -- ways to find it --------------------------------------------------------------------------------------------

    def by_data(self) -> list[Simple]:
        """By what the check compared."""
        compared = self._failure.compared
        if compared is None:
            return []
        ways: dict[str, Callable[[Compared], list[Simple]]] = {
            SUCCESS: self._refused,
            ERROR: lambda _: self._taken(),
            EQUAL: self._unequal,
            ONE_OF: self._none_of,
            SET: lambda those: self._bits(to_be_set=_numbers(those.allowed)),
            CLEAR: lambda those: self._bits(to_be_clear=_numbers(those.allowed)),
            CHANGE: lambda _: self._unchanged(),
            REST: self._changed,
        }
        way = ways.get(compared.asked)
        return way(compared) if way else []

    def by_words(self) -> list[Simple]:
        """By what the failure says."""
        last = self._calls[-1]
        if last.value < 0 and last.errno in _GONE:
            return [Gone(last.serial)]
        if self._expected.startswith("an error at one of the accesses"):
            return [NoneRefused(self._calls[0].serial, self._last(_is_access).serial)]
        if code := _errno(self._seen):
            return self._refused(Compared(SUCCESS, (hex(code),)))
        if self._expected.startswith("an error"):
            return self._taken()
        values = [*self._named(self._seen)]
        if len(values) == 1:
            allowed = [*self._named(self._expected)]
            return self._one(values[0], allowed)
        return []

    def by_record(self) -> list[Simple]:
        """The call that is blamed, or the one before it that asks something, answers as it was recorded."""
        call = self._last(_asks)
        if call.value < 0 or (not call.received and call.behind is None):
            return [Refused(call.serial)] if call.value < 0 else [Taken(call.serial)]
        if call.verb == "read" and call.length <= 8 and call.value == call.length:
            return [AsSeen(self._register(call), int.from_bytes(call.received, "little"))]
        data = call.behind.data if call.behind is not None else call.received
        return [SameData(call.serial, data)]

    # -- what is asked ----------------------------------------------------------------------------------------------

    def _refused(self, compared: Compared) -> list[Simple]:
        code = int(compared.seen[0], 16) if compared.seen else None
        for call in reversed(self._calls):
            if call.value < 0 if code is None else call.value < 0 and call.errno == code:
                return [Refused(call.serial)]
            if code is None and call.verb in ("read", "write") and call.value < call.length:
                return [Refused(call.serial)]
        return []

    def _taken(self) -> list[Simple]:
        return [Taken(self._last(_asks).serial)]

    def _unequal(self, compared: Compared) -> list[Simple]:
        if compared.seen and compared.seen[0].startswith(_SHA256):
            return self._other_bytes(compared)
        seen, allowed = _numbers(compared.seen), _numbers(compared.allowed)
        if len(seen) == 1:
            return self._one(seen[0], allowed[:1])
        return self._row(seen, allowed)

    def _none_of(self, compared: Compared) -> list[Simple]:
        return self._one(_numbers(compared.seen)[0], [*_numbers(compared.allowed)])

    def _one(self, seen: int, allowed: Sequence[int]) -> list[Simple]:
        """A single number: the last answer that has it."""
        for call in reversed(self._calls):
            for place in self._places(call, seen):
                return [Wrong(place, tuple(allowed)) if allowed else AsSeen(place, seen)]
        return []

    def _row(self, seen: Sequence[int], allowed: Sequence[int]) -> list[Simple]:
        """Several numbers: the last reads that gave them, one after the other."""
        reads = [call for call in self._calls if call.verb == "read" and call.length <= 8 and call.value == call.length]
        reads = [each for call in reads for each in [call] * min(call.times, len(seen))]
        for end in range(len(reads), len(seen) - 1, -1):
            those = reads[end - len(seen) : end]
            if [int.from_bytes(call.received, "little") for call in those] == [*seen]:
                differ = [
                    (call, wanted)
                    for call, now, wanted in zip(those, seen, allowed, strict=False)
                    if now != wanted and call.times == 1
                ]
                return [Wrong(self._register(call), (wanted,)) for call, wanted in differ]
        return []

    def _other_bytes(self, compared: Compared) -> list[Simple]:
        """Bytes that are not those of an earlier read."""
        seen, wanted = compared.seen[0], compared.allowed[0]
        now = next((call for call in reversed(self._calls) if _digest(call) == seen), None)
        if now is None:
            return []
        for call in self._calls:
            if _digest(call) == wanted and call.serial < now.serial:
                return [Unlike(now.serial, call.serial)]
        for call in self._calls:
            inside = now.number - call.number
            earlier = _digest(call) and call.target == now.target and call.serial < now.serial
            if earlier and 0 <= inside <= call.value - now.value and now.value < call.value:
                return [Unlike(now.serial, call.serial, start=inside)]
        return [SameData(now.serial, now.received)] if len(now.received) >= now.value else []

    def _bits(self, to_be_set: Sequence[int] = (), to_be_clear: Sequence[int] = ()) -> list[Simple]:
        for call in reversed(self._calls):
            if call.behind is not None and call.value >= 0:
                return [Bits(call.serial, tuple(to_be_set), tuple(to_be_clear))]
        return []

    def _unchanged(self) -> list[Simple]:
        last = self._last(lambda call: call.verb == "read")
        return [Like(last.serial, last.serial)]

    def _changed(self, compared: Compared) -> list[Simple]:
        seen, first = _numbers(compared.seen)[0], _numbers(compared.allowed)[0]
        now = next((call for call in reversed(self._calls) if _shows(call, seen)), None)
        before = [call for call in self._calls if now and call.serial < now.serial and _shows(call, first)]
        return [Unlike(now.serial, before[-1].serial)] if now and before else []

    # -- answers ----------------------------------------------------------------------------------------------------

    def _last(self, wanted: Callable[[Call], bool]) -> Call:
        return next(filter(wanted, reversed(self._calls)), self._calls[-1])

    def _register(self, call: Call) -> Place:
        known = self._registers.get(_region(call), ())
        return Place(call.serial, next((each.name for each in known if each.offset == call.number), ""))

    def _places(self, call: Call, value: int) -> Iterator[Place]:
        """Where an answer holds a number: a register, a field of a structure that came back."""
        if call.value < 0:
            return
        if call.verb == "read" and call.value == call.length <= 8:
            number = int.from_bytes(call.received, "little")
            if number == value:
                yield self._register(call)
            elif value <= 7 and number & 7 == value and self._register(call).name == "device_state":
                yield _masked(self._register(call), 7)
        elif call.verb == "ioctl" and call.length:
            found = [each for each in fields_of(call.number, call.received, call.sent) if each.value == value]
            found.sort(key=lambda each: -each.matches(self._failure.what))
            for each in found:
                yield Place(call.serial, each.name, each.offset, each.width, struct=each.struct)

    def _named(self, text: str) -> Iterator[int]:
        """The numbers that a text tells: as digits, or by the names that values of registers have."""
        words = {
            name: value
            for registers in self._registers.values()
            for each in registers
            for value, name in each.values.items()
        }
        for part in re.split(r", | or ", text):
            if part in words:
                yield words[part]
            elif _NUMBER.fullmatch(part):
                yield int(part, 0)


def _masked(place: Place, mask: int) -> Place:
    return Place(place.step, place.name, place.offset, place.width, mask, place.struct)


def _numbers(words: Sequence[str]) -> list[int]:
    return [int(word, 16) for word in words]


def _digest(call: Call) -> str:
    if call.verb not in ("read", "mapped-read") or call.value <= 0:
        return ""
    return _SHA256 + (call.received_digest or sha256(call.received).hexdigest())


def _shows(call: Call, value: int) -> bool:
    return call.verb == "read" and call.value == call.length <= 8 and int.from_bytes(call.received, "little") == value


def _region(call: Call) -> int:
    name = call.target.removeprefix(SECOND).removeprefix("region ")
    return int(name) if name.isdecimal() else -1


def _errno(text: str) -> int:
    """The errno that a text begins with; 0 where it begins with none."""
    found = _ERRNO.match(text)
    if not found:
        return 0
    return getattr(errno, found[1], 0) if found[1] else int(found[2] or 0)


def _is_access(call: Call) -> bool:
    return call.verb in ("read", "write") and call.value >= 0


def _asks(call: Call) -> bool:
    """Whether a call is more than the way home: an unmapping, a close."""
    if call.verb in ("close", "dma-read", "dma-write"):
        return False
    return not (call.verb == "ioctl" and call.number == type1.VFIO_IOMMU_UNMAP_DMA and call.behind is None)
