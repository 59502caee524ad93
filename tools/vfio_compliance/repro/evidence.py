# SPDX-License-Identifier: GPL-2.0-only
"""Finds a failure in the recorded calls: which answers show the fault, and what is wrong with them.

Most checks record what they compared (``Compared``). If one does not, or the journal is older, the failure's words are
used; failing that, the fault shows if the blamed call answers as it was recorded.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from ..common.calls import COUNT, LOOK, MAPPED_READ, SET_UP, Call
from ..results.failure import CHANGE, CLEAR, EQUAL, ERROR, ONE_OF, REST, ROUND, SET, SUCCESS, Compared, Failure
from ..results.registers import Registers
from ..results.structures import LAYOUTS
from ..uapi import type1, vfio
from .answers import SHA256, asks, digest_of, errno_in, is_access, numbers, place_of, region_of
from .contents import Contents
from .fault import (
    AsSeen,
    Bits,
    Fault,
    Gone,
    Like,
    NoneRefused,
    Place,
    Refused,
    Rounds,
    SameData,
    Simple,
    Taken,
    TooMuch,
    Unlike,
    Wrong,
    steps_of,
)
from .structures import RANGE_REQUEST, fields_of
from .trace import NoProgram

#: The errnos of a call whose other side is gone, or breaks its protocol.
_GONE: Final = (errno.EPIPE, errno.EPROTO)

_NUMBER: Final = re.compile(r"0x[0-9a-f]+|\d+")
_RANGE: Final = re.compile(r"\[0x([0-9a-f]+), 0x([0-9a-f]+)\)")

#: Verbs of records with received data.
_LOOKS: Final = ("read", MAPPED_READ, LOOK, COUNT)


class Evidence:
    """What shows a failure in ``calls``, of which the last is blamed; ``opening`` are those that opened the device."""

    def __init__(
        self, failure: Failure, calls: Sequence[Call], opening: Sequence[Call], registers: Registers, contents: Contents
    ) -> None:
        self._failure, self._calls, self._registers = failure, calls, registers
        self._opening, self._contents = opening, contents
        self._what, self._seen, self._expected = failure.what, failure.seen or "", failure.expected or ""

    def fault(self) -> Fault:
        """How a program recognises the fault. Raises NoProgram."""
        compared = self._failure.compared
        if compared and compared.asked == ROUND:
            return self._in_a_round(compared)
        shown, given = self._by_data() or self._by_words(), list[Simple]()
        if shown:
            given = [*self._asked_before(shown)]
        else:
            shown, given = self._by_record()
        if not shown:
            raise NoProgram(f"its calls do not show the failure again: {self._failure.whole}")
        expected, seen = self._expected or "an answer", self._seen or self._what
        return Fault(tuple(shown), tuple(given), self._what, expected, seen)

    def _in_a_round(self, compared: Compared) -> Fault:
        """A bit is clear in the last bitmap of a round, and in all others since the page was written."""
        (*places, since), (bit,) = numbers(compared.seen), numbers(compared.allowed)
        rounds = Rounds(*places)
        *others, last = [call for call in self._calls if call.behind is not None and call.value >= 0]
        _, _, iova, _, page, *_ = RANGE_REQUEST.unpack_from(last.sent)
        address = iova + bit * page
        given: list[Simple] = []
        for call in others:
            _, _, iova, size, page, *_ = RANGE_REQUEST.unpack_from(call.sent)
            if call.serial > since and iova <= address < iova + size:
                given.append(Bits(call.serial, ((address - iova) // page,), ()))
        looks = [call for call in self._calls if call.verb == LOOK and call.serial > rounds.before]
        there = [call for call in looks if call.number <= address < call.number + call.length]
        for now, then in ((there[-1], then) for then in reversed(there[:-1])):
            if (now.received, now.received_digest) != (then.received, then.received_digest):
                given.append(Unlike(now.serial, then.serial))  # it has been written since it was last reported
                break
        shown = Bits(last.serial, (bit,), ())
        return Fault((shown,), tuple(given), self._what, self._expected, self._seen, rounds)

    def _asked_before(self, shown: Sequence[Simple]) -> Iterator[Simple]:
        """The case's own queries of device and container, which are part of the comparison."""
        if not all(isinstance(look, (Taken, Refused, Wrong, AsSeen)) for look in shown):
            return
        last = max(each for look in shown for each in steps_of(look))
        numbers = {int(word, 0) for word in _NUMBER.findall(self._what)}
        for call in self._calls:
            asks = call.verb == "ioctl" and call.number == type1.VFIO_IOMMU_GET_INFO and call.value >= 0
            if asks and call.serial < last:
                values = {each.value for each in fields_of(call.number, call.received, call.sent) if each.value > 1}
                if call.part != SET_UP or values & numbers:
                    yield SameData(call.serial, call.received)
        if "while bytes are pending" in self._what:
            some = [call for call in self._calls if call.verb == "read" and call.serial < last and any(call.received)]
            asked = [place for place in map(self._register, some) if place.name == "pending_bytes"]
            yield from (Wrong(place, (0,)) for place in asked[-1:])

    # -- ways to find it --------------------------------------------------------------------------------------------

    def _by_data(self) -> list[Simple]:
        """From the check's comparison."""
        compared = self._failure.compared
        if compared is None:
            return []
        ways: dict[str, Callable[[Compared], list[Simple]]] = {
            SUCCESS: self._refused,
            ERROR: lambda _: self._taken(),
            EQUAL: self._unequal,
            ONE_OF: self._none_of,
            SET: lambda those: self._bits(to_be_set=numbers(those.allowed)),
            CLEAR: lambda those: self._bits(to_be_clear=numbers(those.allowed)),
            CHANGE: lambda _: self._unchanged(),
            REST: lambda _: self._changed(),
        }
        way = ways.get(compared.asked)
        return way(compared) if way else []

    def _by_words(self) -> list[Simple]:
        """From the failure's words."""
        last = self._calls[-1]
        if last.value < 0 and last.errno in _GONE:
            return [Gone(last.serial)]
        if self._expected.startswith("an error at one of the accesses"):
            return [NoneRefused(self._calls[0].serial, self._last(is_access).serial)]
        if code := errno_in(self._seen):
            return self._refused(Compared(SUCCESS, (hex(code),)))
        if found := re.fullmatch(r"0x([0-9a-f]+) under mask 0x([0-9a-f]+)", self._expected):
            last = self._last(lambda call: call.verb == "read")
            place = replace(self._register(last), mask=int(found[2], 16), in_time=True)
            return [Wrong(place, (int(found[1], 16),))]
        if (found := re.match(r"at most (\d+) bytes", self._expected)) and self._seen.endswith("so far"):
            last = self._last(lambda call: call.verb in ("read", MAPPED_READ) and call.length > 8)
            return [TooMuch(last.serial, int(found[1]))]
        if self._expected == "an error each time":
            return self._taken_each_time()
        if self._expected.startswith("an error") and "success" in self._seen:
            return self._taken()
        if found := re.fullmatch(r"(\d+) bytes?", self._seen):
            return self._short(int(found[1]))
        if found := _RANGE.fullmatch(self._seen):
            return self._misplaced(int(found[1], 16), int(found[2], 16))
        values = [*self._named(self._seen)]
        if not values:
            return []
        allowed = self._all_named(self._expected) if len(values) == 1 else []
        return self._one(values[0], allowed)

    def _by_record(self) -> tuple[list[Simple], list[Simple]]:
        """The blamed call, or the query before it, answers as it was recorded."""
        call = self._last(lambda each: asks(each) and each.part != SET_UP)
        if not asks(call) or call.part == SET_UP:
            values: list[Simple] = [*self._as_opened()]
            return values[:1], values[1:]
        if call.value < 0:
            return [Refused(call.serial)], []
        if call.verb == "ioctl" and call.length and call.number in LAYOUTS and not call.behind:
            return [SameData(call.serial, call.received)], self._asked_alike(call)
        if call.verb == "read" and call.length <= 8 and call.value == call.length:
            return [AsSeen(self._register(call), int.from_bytes(call.received, "little"))], []
        return [], []

    def _asked_alike(self, call: Call) -> list[Simple]:
        """The same request for another region, or similar: a check of one is a check of all."""
        alike = [each for each in self._calls if each.verb == "ioctl" and each.number == call.number]
        return [SameData(each.serial, each.received) for each in alike if each is not call and each.part == call.part]

    def _as_opened(self) -> list[SameData]:
        """The device's answers on its regions when it is opened."""
        values: dict[int, Call] = {}
        for call in self._opening:
            if call.verb == "ioctl" and call.number == vfio.VFIO_DEVICE_GET_REGION_INFO and call.value >= 0:
                values[int.from_bytes(call.sent[8:12], "little")] = call
        meant = [call for index, call in values.items() if index in self._registers]
        return [SameData(call.serial, call.received) for call in meant or values.values()]

    # -- what is asked ----------------------------------------------------------------------------------------------

    def _refused(self, compared: Compared) -> list[Simple]:
        code = int(compared.seen[0], 16) if compared.seen else None
        for call in reversed(self._calls):
            if call.value < 0 and (code is None or call.errno == code):
                return [Refused(call.serial)]
            if code is None and call.verb in ("read", "write") and call.value < call.length:
                return [Refused(call.serial)]
        return []

    def _short(self, moved: int) -> list[Simple]:
        """An access that moved this many bytes, not all."""
        for call in reversed(self._calls):
            if call.verb in ("read", "write") and call.value == moved < call.length:
                return [Refused(call.serial)]
        return []

    def _misplaced(self, start: int, end: int) -> list[Simple]:
        """A buffer that is reported in the wrong place."""
        wanted = _RANGE.fullmatch(self._expected)
        if wanted and start == int(wanted[1], 16):
            return self._register_is("data_size", end - start, [int(wanted[2], 16) - start])
        return self._register_is("data_offset", start, [int(wanted[1], 16)] if wanted else [])

    def _register_is(self, name: str, seen: int, allowed: Sequence[int]) -> list[Simple]:
        """The last read of a register that gave this number."""
        for call in reversed(self._calls):
            place = self._register(call)
            if call.verb == "read" and place.name == name and int.from_bytes(call.received, "little") == seen:
                return [Wrong(place, tuple(allowed)) if allowed else AsSeen(place, seen)]
        return []

    def _taken(self) -> list[Simple]:
        verb = "write" if self._what.startswith("writing") else "read" if self._what.startswith("reading") else ""
        found = self._last(lambda call: call.verb == verb and call.value >= 0) if verb else self._last(self._is_meant)
        return [Taken(found.serial)]

    def _taken_each_time(self) -> list[Simple]:
        """Of accesses that should all fail, those that did not."""
        last = self._last(lambda call: call.verb in ("read", "write"))
        taken = [call for call in self._calls if call.verb == last.verb and call.value >= 0 and call.part != SET_UP]
        there = [call for call in taken if place_of(call)[:2] == place_of(last)[:2]]
        return [Taken(call.serial) for call in there if not self._is_register(call)]

    def _is_register(self, call: Call) -> bool:
        known = self._registers.get(region_of(call), ())
        return any((each.offset, each.width) == (call.number, call.length) for each in known)

    def _is_meant(self, call: Call) -> bool:
        """Whether this call can be the one that the failure names."""
        unmaps = call.verb == "ioctl" and call.number == type1.VFIO_IOMMU_UNMAP_DMA and call.behind is None
        if "unmap" in self._what and "after unmap" not in self._what and unmaps:
            return call.value >= 0
        return asks(call) and call.value >= 0

    def _unequal(self, compared: Compared) -> list[Simple]:
        if compared.seen and compared.seen[0].startswith(SHA256):
            return self._other_bytes(compared)
        seen, allowed = numbers(compared.seen), numbers(compared.allowed)
        if len(seen) == 1:
            return self._one(seen[0], allowed[:1])
        return self._row(seen, allowed)

    def _none_of(self, compared: Compared) -> list[Simple]:
        return self._one(numbers(compared.seen)[0], [*numbers(compared.allowed)])

    def _one(self, seen: int, allowed: Sequence[int]) -> list[Simple]:
        """A single number: the answer with it that fits the words best; of several, the last one."""
        best, most = None, -1
        for call in reversed(self._calls):
            for place, fits in self._places(call, seen):
                if fits > most:
                    best, most = place, fits
        if best is None:
            return []
        derived = best.width and best.name != "size"  # the judged value need not be the field itself
        return [Wrong(best, tuple(allowed)) if allowed and not derived else AsSeen(best, seen)]

    def _row(self, seen: Sequence[int], allowed: Sequence[int]) -> list[Simple]:
        """Several numbers: the last reads that gave them, one after the other."""
        reads = [call for call in self._calls if call.verb == "read" and call.length <= 8 and call.value == call.length]
        reads = [each for call in reads for each in [call] * min(call.times, len(seen))]
        for end in range(len(reads), len(seen) - 1, -1):
            those = reads[end - len(seen) : end]
            if [int.from_bytes(call.received, "little") for call in those] == [*seen]:
                differ = {
                    call.serial: Wrong(self._register(call), (wanted,))
                    for call, now, wanted in zip(those, seen, allowed, strict=False)
                    if now != wanted
                }
                return [*differ.values()]
        return []

    def _other_bytes(self, compared: Compared) -> list[Simple]:
        """Bytes that differ from those of another read, or of a part of one."""
        seen, wanted = compared.seen[0], compared.allowed[0]
        moved = [call for call in self._calls if call.verb in _LOOKS and call.value > 0]
        now = next((call for call in reversed(moved) if digest_of(call) == seen), None)
        if now is None:
            return self._part_of_bytes(moved, seen, wanted)
        for first in reversed(moved):
            for call in reversed(moved):
                if digest_of(first) == seen and digest_of(call) == wanted and place_of(first) == place_of(call):
                    return [Unlike(*sorted((first.serial, call.serial), reverse=True))]
        others = [call for call in reversed(moved) if call is not now]
        for call in others:
            if digest_of(call) == wanted:
                return [Unlike(*sorted((now.serial, call.serial), reverse=True))]
        for call in others:
            inside = now.number - call.number
            if call.target == now.target and 0 <= inside <= call.value - now.value:
                data = self._contents.of(call)
                if data is None or SHA256 + sha256(data[inside : inside + now.value]).hexdigest() == wanted:
                    return [Unlike(now.serial, call.serial, start=inside)]
        return [SameData(now.serial, now.received)] if len(now.received) >= now.value else []

    def _part_of_bytes(self, moved: Sequence[Call], seen: str, wanted: str) -> list[Simple]:
        """The end of a buffer was read separately before, and differs from the end of the whole buffer."""
        for whole in reversed(moved):
            data = self._contents.of(whole)
            for part in moved:
                inside = part.number - whole.number
                if data is None or part.target != whole.target or not 0 <= inside <= whole.value - part.value:
                    continue
                if {digest_of(part), SHA256 + sha256(data[inside : inside + part.value]).hexdigest()} == {seen, wanted}:
                    return [Unlike(part.serial, whole.serial, start=inside)]
        return []

    def _bits(self, to_be_set: Sequence[int] = (), to_be_clear: Sequence[int] = ()) -> list[Simple]:
        if "; see the page" in self._what and not any(call.verb == LOOK for call in self._calls):
            raise NoProgram(
                "this journal is of an earlier version, without the times of the device's writes to memory: run again"
            )
        for call in reversed(self._calls):
            if call.behind is not None and call.value >= 0:
                return [Bits(call.serial, tuple(to_be_set), tuple(to_be_clear))]
        return []

    def _unchanged(self) -> list[Simple]:
        last = self._last(self._watches)
        return [Like(last.serial, last.serial)]

    def _changed(self) -> list[Simple]:
        last = self._last(self._watches)
        return [Unlike(last.serial, last.serial)]

    def _watches(self, call: Call) -> bool:
        """Whether it may be about what the device does by itself, which no register of an interface shows."""
        return call.verb in _LOOKS and not (call.verb == "read" and self._register(call).name)

    # -- answers ----------------------------------------------------------------------------------------------------

    def _last(self, wanted: Callable[[Call], bool]) -> Call:
        return next(filter(wanted, reversed(self._calls)), self._calls[-1])

    def _register(self, call: Call, mask: int = 0) -> Place:
        known = self._registers.get(region_of(call), ())
        return Place(call.serial, next((each.name for each in known if each.offset == call.number), ""), mask=mask)

    def _places(self, call: Call, value: int) -> Iterator[tuple[Place, int]]:
        """The places of a number in an answer, a register or a field, and how well the words fit each."""
        if call.value < 0:
            return
        if call.verb == "read" and call.value == call.length <= 8:
            number, place = int.from_bytes(call.received, "little"), self._register(call)
            named = place.name and re.search(rf"\b{place.name}\b", f"{self._what} {self._seen}")
            if not named and call.part == SET_UP:
                return  # read only to get there
            fits = 8 * bool(named) + 4
            if number == value:
                yield place, fits
            elif value <= 7 and number & 7 == value and place.name == "device_state":
                yield self._register(call, mask=7), fits
        elif call.verb == "ioctl" and call.length:
            argsz = f"argsz {int.from_bytes(call.sent[:4], 'little')}"
            asked = 4 * bool(re.search(rf"\b{argsz}\b", self._what))
            for each in fields_of(call.number, call.received, call.sent):
                fits = each.matches(self._what)
                if each.value == value and fits:
                    place = Place(call.serial, each.name, each.offset, each.width, struct=each.struct)
                    yield place, fits + asked

    def _named(self, text: str) -> Iterator[int]:
        """The numbers in a text: as digits, or by the names of register values."""
        words = self._words()
        for part in re.split(r", (?:reads )?| or |\[|\)", text):
            if part in words:
                yield words[part]
            elif found := re.fullmatch(rf"(?:[a-z_]+ )?({_NUMBER.pattern})", part):
                yield int(found[1], 0)

    def _all_named(self, text: str) -> list[int]:
        """The same if it has only numbers; otherwise none."""
        words = self._words()
        parts = re.split(r", | or ", text)
        if not all(part in words or _NUMBER.fullmatch(part) for part in parts):
            return []
        return [words[part] if part in words else int(part, 0) for part in parts]

    def _words(self) -> dict[str, int]:
        return {
            name: value
            for registers in self._registers.values()
            for each in registers
            for value, name in each.values.items()
        }
