# SPDX-License-Identifier: GPL-2.0-only
"""How a program recognises the fault: by the answers of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class Place:
    """A number in a step's answer: all of it, or a field of a request's argument."""

    step: int
    #: Its name for a reader; for a field, the name in its structure.
    name: str = ""
    #: Bytes from the start of the argument, and of the field; 0 for the number that a register holds.
    offset: int = 0
    width: int = 0
    #: Bits that are looked at.
    mask: int = 0
    #: The structure that the field is in.
    struct: str = ""
    #: It is read again for a while, until it is as it should be.
    in_time: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The call fails, or moves less than all; it should succeed."""

    step: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The call succeeds; it should fail."""

    step: int


@dataclass(frozen=True, slots=True)
class Wrong:
    """The number is not one of those that are allowed."""

    place: Place
    allowed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AsSeen:
    """The number is the one that was seen; what it should be is unknown."""

    place: Place
    value: int


@dataclass(frozen=True, slots=True)
class Unlike:
    """Two steps, or one step and its repetition, answer differently, and should answer the same."""

    step: int
    other: int
    #: The start, in the other one's data, of the bytes that it is compared with.
    start: int = 0
    #: The buffer of the other one, if it read several.
    other_buffer: int = 0


@dataclass(frozen=True, slots=True)
class Like:
    """A step's answer stays the same, and should change after a while."""

    step: int
    other: int


@dataclass(frozen=True, slots=True)
class SameData:
    """The bytes are those that were seen."""

    step: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Bits:
    """One of the first bits of a bitmap is clear but should be set, or one of the others is set."""

    step: int
    to_be_set: tuple[int, ...]
    to_be_clear: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NoneRefused:
    """Every call succeeds from this step on; one of them should fail."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The device is gone at the call: the server ended, or closed the connection."""

    step: int


@dataclass(frozen=True, slots=True)
class TooMuch:
    """A state has more bytes than this, or never ends; the step is the one that saves it."""

    step: int
    most: int


Simple: TypeAlias = Refused | Taken | Wrong | AsSeen | Unlike | Like | SameData | Bits | NoneRefused | Gone | TooMuch


class Rounds(NamedTuple):
    """The last calls before each part of a case with many rounds, of which the last one showed the fault."""

    #: The last call before what the rounds do not need, and the last call of that.
    needless: int
    needed: int
    before_all: int
    #: The last round.
    before: int

    def has(self, call: int) -> bool:
        """Whether a call belongs to the last round, or to what all rounds need before them."""
        return not self.needless < call <= self.needed and not self.before_all < call <= self.before


@dataclass(frozen=True, slots=True)
class Fault:
    """The conditions, each by itself: the fault shows if one of them holds, and all of ``given``."""

    looks: tuple[Simple, ...]
    given: tuple[Simple, ...]
    #: In words, as in the report.
    what: str
    expected: str
    seen: str
    #: For a case that went through rounds until the fault showed.
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
