# SPDX-License-Identifier: GPL-2.0-only
"""By what a program tells that the fault shows: something that is looked at in the answers of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Place:
    """A number in what a step answered: all of it, or a field of the argument of a request."""

    step: int
    #: What a reader calls it; a field by its structure's name for it.
    name: str = ""
    #: Bytes from the start of the argument, and of the field; 0 for the number that a register holds.
    offset: int = 0
    width: int = 0
    #: Bits that are looked at.
    mask: int = 0
    #: The structure that the field is in.
    struct: str = ""
    #: It is asked for again for a while, unless it is as it should be.
    in_time: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The call fails, or moves less than all; it is to succeed."""

    step: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The call succeeds; it is to fail."""

    step: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """The number is none of those that are allowed."""

    place: Place
    allowed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AsSeen:
    """The number is the one that was seen; what it should be is not known."""

    place: Place
    value: int


@dataclass(frozen=True, slots=True)
class Unlike:
    """Two steps answer differently, and should answer the same; of one step the first answer and a later one."""

    step: int
    other: int
    #: Where in what the other one read the bytes begin that it is compared with.
    start: int = 0
    #: The buffer of the other one, where it read several.
    other_buffer: int = 0


@dataclass(frozen=True, slots=True)
class Like:
    """The same again and again, where a step should answer something else after a while."""

    step: int
    other: int


@dataclass(frozen=True, slots=True)
class SameData:
    """The bytes are those that were seen."""

    step: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Bits:
    """One of the first bits of a bitmap is clear that should be set, or one of the others is set."""

    step: int
    to_be_set: tuple[int, ...]
    to_be_clear: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NoneRefused:
    """Every call succeeds from this step on; one of them is to fail."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The device is gone once it is asked: the server ended, or broke off."""

    step: int


@dataclass(frozen=True, slots=True)
class TooMuch:
    """A state has more bytes than this, or never ends; the step is the one that saves it."""

    step: int
    most: int


Simple: TypeAlias = Refused | Taken | Wrong | AsSeen | Unlike | Like | SameData | Bits | NoneRefused | Gone | TooMuch


class Rounds(NamedTuple):
    """The last calls before each part of a case that goes through many rounds, of which the last one showed a fault."""

    #: Before what the rounds do not need, and the last of that.
    needless: int
    needed: int
    before_all: int
    #: The last round.
    before: int

    def has(self, call: int) -> bool:
        """Whether a call belongs to the last round, or comes before all of them and is needed."""
        return not self.needless < call <= self.needed and not self.before_all < call <= self.before


@dataclass(frozen=True, slots=True)
class Fault:
    """What is looked at, each by itself; the fault shows where one of them is as it says, and all that is given."""

    looks: tuple[Simple, ...]
    given: tuple[Simple, ...]
    #: In words, as the report has them.
    what: str
    expected: str
    seen: str
    #: Where it was gone through round after round until it showed.
    rounds: Rounds | None = None

    @property
    def steps(self) -> Iterator[int]:
        """The steps whose answers are looked at."""
        for look in (*self.looks, *self.given):
            yield from steps_of(look)

    @property
    def deciding(self) -> int:
        """The last of them."""
        return max(self.steps)


def steps_of(look: Simple) -> Iterator[int]:
    """The steps whose answers are looked at."""
    if isinstance(look, (Wrong, AsSeen)):
        yield look.place.step
    elif isinstance(look, NoneRefused):
        yield look.last
    else:
        yield look.step
        if isinstance(look, (Unlike, Like)):
            yield look.other
