# SPDX-License-Identifier: GPL-2.0-only
"""What a program checks in the end: conditions that show the fault, in words for both languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from .fault import (
    AsSeen,
    Bits,
    Gone,
    Like,
    NoneRefused,
    Place,
    Refused,
    SameData,
    Simple,
    Taken,
    TooMuch,
    Unlike,
    Wrong,
)
from .naming import Names, constant, quoted, shown
from .steps import Read, Unmap

#: The most runs of bits in a check.
_MOST_RUNS = 4


@dataclass(frozen=True)
class Check:
    """A line that decides whether the fault shows."""

    #: The condition, in words: alternatives, any of which shows the fault.
    shows: str
    what: str
    expected: str
    seen: str


class Checks:
    """The checks of a program whose answers are named."""

    def __init__(self, names: Names) -> None:
        self._names, self._called = names, names.called

    @property
    def all(self) -> Iterator[Check]:
        """The checks at the end."""
        fault = self._names.program.fault
        given = [self._check(look, "", "").shows for look in fault.given]
        for look in fault.looks:
            check = self._check(look, fault.what, fault.expected)
            shows = " AND ".join([*given, f"({check.shows})" if given and " OR " in check.shows else check.shows])
            yield Check(shows, check.what, check.expected, check.seen)

    def _check(self, look: Simple, what: str, expected: str) -> Check:
        match look:
            case Refused(step):
                return Check(f"{self._called[step]}.failed", what, expected, f"described({self._called[step]})")
            case Taken(step):
                return Check(f"{self._called[step]}.value >= 0", what, expected, f"described({self._called[step]})")
            case Gone(step):
                return Check(f"gone({self._called[step]})", what, expected, f"described({self._called[step]})")
            case Wrong(place, allowed):
                number = self._of(place)
                if isinstance(self._names.steps[place.step], Read) and not place.name and what:
                    what, expected = f"{self._place(place)}, {what}", hex(allowed[0])
                words = " AND ".join(f"{number} != {self._value(place, value)}" for value in allowed)
                return Check(self._came(place, words), what, expected, self._described(place, number))
            case AsSeen(place, value):
                number = self._of(place)
                words = f"{number} == {self._value(place, value)}"
                return Check(self._came(place, words), what, expected, self._described(place, number))
            case Unlike(step, other, start, buffer):
                if step == other:
                    name = self._called[step]
                    return Check(f"NOT same({name}_first, {name})", what, expected, f"described_data({name})")
                first = self._names.buffer_of(other, buffer)
                call = f"differ({self._called[step]}, {first}, {start})"
                return Check(call, what, expected, f"difference({self._called[step]}, {first}, {start})")
            case Like(step, _):
                name = self._called[step]
                return Check(f"same({name}_first, {name})", what, expected, f"described_data({name})")
            case SameData(step, data):
                name = self._called[step]
                return Check(f"is_hex({name}, {quoted(data.hex())})", what, expected, f"described_data({name})")
            case Bits(step, to_be_set, to_be_clear):
                name = self._called[step]
                wrong = [
                    *(f"NOT {each}" for each in _runs("all_bits", name, to_be_set)),
                    *_runs("any_bit", name, to_be_clear),
                ]
                words = wrong[0] if len(wrong) == 1 else f"({' OR '.join(wrong[:_MOST_RUNS])})"
                return Check(f"{name}.value >= 0 AND {words}", what, expected, f"bits({name})")
            case TooMuch(step, most):
                name = self._called[step]
                return Check(f"{name}.bytes > {most}", what, expected, f"hexadecimal({name}.bytes)")
            case NoneRefused():
                return Check("TRUE", what, expected, '"no error"')
        raise AssertionError(look)

    def _came(self, place: Place, words: str) -> str:
        return f"NOT {self._called[place.step]}.failed AND " + (f"({words})" if " OR " in words else words)

    def _of(self, place: Place) -> str:
        name = self._called[place.step]
        if isinstance(self._names.steps[place.step], Unmap) and place.name == "size":
            return f"{name}.unmapped"
        number = f"field({name}, {place.offset}, {place.width})" if place.width else f"{name}.number"
        return f"({number} & {place.mask})" if place.mask else number

    def _value(self, place: Place, value: int) -> str:
        register = self._names.register_named(place)
        words = register.values.get(value) if register else None
        return constant(words) if words else shown(value)

    def _described(self, place: Place, number: str) -> str:
        register = self._names.register_named(place)
        return f"{register.name}_name({number})" if register and register.values else f"hexadecimal({number})"

    def _place(self, place: Place) -> str:
        step = self._names.steps[place.step]
        if isinstance(step, Read) and not place.name:
            return f"{self._names.spoken(step.region)} at {hex(step.offset.plus)}"
        return place.name


def _runs(function: str, name: str, bits: Sequence[int]) -> Iterator[str]:
    """A single bit, or bits from a first to a last one."""
    for _, run in groupby(enumerate(bits), key=lambda placed: placed[1] - placed[0]):
        first, *others = (bit for _, bit in run)
        yield f"{function}({name}, {first}, {others[-1]})" if others else f"bit({name}, {first})"


def answers_of(look: Simple, *, others: bool = False) -> Iterator[int]:
    """The steps that it is about, and, with ``others``, those that they are compared with."""
    if isinstance(look, (Wrong, AsSeen)):
        yield look.place.step
    elif not isinstance(look, NoneRefused):
        yield look.step
        if others and isinstance(look, (Unlike, Like)):
            yield look.other
