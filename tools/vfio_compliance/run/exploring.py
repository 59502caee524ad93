# SPDX-License-Identifier: GPL-2.0-only
"""What random exploration of a device is given, and what an interface adds to its walks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from ..common.words import counted
from ..device.errors import errno_name
from ..transport import Outcome

_DID, _EXPECTED = 36, 27


class Exploring(NamedTuple):
    """How long to explore, in seconds, and how long to make short what was found."""

    seconds: float
    shortening: float


class Line(NamedTuple):
    """One step of a walk: what was done, what the text allows, and how the device answered."""

    did: str
    expected: str
    seen: str


def render(lines: Sequence[Line]) -> str:
    """A table with a head and a line for each step."""
    return "\n".join(
        f"{did:{_DID - 1}} {expected:{_EXPECTED - 1}} {seen}" for did, expected, seen in [Line(*Line._fields), *lines]
    )


class Strayed(Exception):
    """The device left what the text allows: ``lines`` say how, the last of them where."""

    def __init__(self, before: Sequence[Line], line: Line) -> None:
        super().__init__(f"{line.did}: expected {line.expected}, seen {line.seen}")
        self.lines = [*before, line]


def told(outcome: Outcome, answer: str = "") -> str:
    """What a call answered, in a few words; ``answer`` is what to say of one that was carried out whole."""
    if not outcome.ok:
        return errno_name(outcome.errno).partition(" ")[0]
    return answer or counted(outcome.value, "byte")


class Walked(Protocol):
    """What a part may know of the walk that it belongs to."""

    #: What was done so far.
    lines: list[Line]

    @property
    def works(self) -> bool:
        """The device runs, and nothing was done to it of which the text does not say what it is then."""

    @property
    def interruptions(self) -> int:
        """How often it was reset, stopped, failed, or left by its user: what it did for itself may have ended."""

    def disturbed(self) -> None:
        """What can be seen of the device may be another now, by what the part had it do."""


#: The steps of a part by their verbs: what each is told, and the few values that this may have.
Verbs = Mapping[str, Mapping[str, Sequence[Any]]]


class Part:
    """What an interface adds to a walk: steps beside those of others, judged by a model of its own.

    Each verb of ``steps`` is a method, which can be called at any time. Raises Strayed for an answer that the text
    forbids, TransportError where none came.
    """

    steps: ClassVar[Verbs]

    def user_gone(self) -> None:
        """The user has gone without a word, and the device is open for the next one."""

    def end(self) -> None:
        """The walk is over: put away what it left. Raises nothing."""
