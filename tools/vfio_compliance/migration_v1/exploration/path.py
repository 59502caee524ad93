# SPDX-License-Identifier: GPL-2.0-only
"""A walk as it is shown: a line for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...common.words import counted
from ...device.errors import errno_name
from ...transport import Outcome

_DID, _EXPECTED = 36, 27


class Line(NamedTuple):
    """One step: what was done, what the text allows, and how the device answered."""

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
