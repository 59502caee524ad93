# SPDX-License-Identifier: GPL-2.0-only
"""The settings of a random exploration of a device, and what an interface adds to its walks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from ..common.words import counted
from ..device.errors import errno_name
from ..transport import Outcome

_DID, _EXPECTED = 36, 27


class Exploring(NamedTuple):
    """How long to explore, in seconds, and how long to shorten what was found."""

    seconds: float
    shortening: float


class Line(NamedTuple):
    """One step of a walk: what was done, what the specification allows, and how the device answered."""

    did: str
    expected: str
    seen: str


def render(lines: Sequence[Line]) -> str:
    """A table with a head and a line for each step."""
    return "\n".join(
        f"{did:{_DID - 1}} {expected:{_EXPECTED - 1}} {seen}" for did, expected, seen in [Line(*Line._fields), *lines]
    )


class Strayed(Exception):
    """The device did what the specification forbids: ``lines`` show how, the last of them where."""

    def __init__(self, before: Sequence[Line], line: Line) -> None:
        super().__init__(f"{line.did}: expected {line.expected}, seen {line.seen}")
        self.lines = [*before, line]


def described(outcome: Outcome, answer: str = "") -> str:
    """The answer of a call, in a few words; ``answer`` describes one that was carried out in full."""
    if not outcome.ok:
        return errno_name(outcome.errno).partition(" ")[0]
    return answer or counted(outcome.value, "byte")


class Walked(Protocol):
    """What a part may know about the walk that it belongs to."""

    #: The steps up to now.
    lines: list[Line]

    @property
    def works(self) -> bool:
        """The device runs, and nothing was done to it that leaves its state unspecified."""

    @property
    def interruptions(self) -> int:
        """How many times it was reset, stopped, failed, or left by its user: its own activity may have ended."""

    def disturbed(self) -> None:
        """What can be seen of the device may have changed, by what the part made it do."""


#: The steps of a part by their verbs: the parameters of each, and the few values of each parameter.
Verbs = Mapping[str, Mapping[str, Sequence[Any]]]


class Part:
    """What an interface adds to a walk: additional steps, judged by a separate model.

    Each verb of ``steps`` is a method, which can be called at any time. Raises Strayed for an answer that the
    specification forbids, TransportError if none came.
    """

    steps: ClassVar[Verbs]

    def user_gone(self) -> None:
        """The user has left without cleaning up, and the device is open for the next one."""

    def end(self) -> None:
        """The walk is over: clear what it left. Raises nothing."""
