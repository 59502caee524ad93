# SPDX-License-Identifier: GPL-2.0-only
"""What was seen of each change from one state of a device to another: documented, undocumented or broken."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from .flows import ACCEPTED, REFUSED
from .summary import Summary


class Seen(Enum):
    """The outcome of a change of state."""

    BROKEN = "broken: a rule about it failed"
    DOCUMENTED = "documented, and seen"
    UNSEEN = "documented, and not seen"
    ACCEPTED = "not documented, and accepted"
    REFUSED = "refused each time"
    UNTRIED = "not documented, and not tried"


class Change(NamedTuple):
    """A change of state by one write."""

    before: str
    after: str
    seen: Seen
    documented: bool
    #: How often it was accepted, and refused; some cases make a device refuse on purpose.
    accepted: int
    refused: int
    #: The rules that failed in cases about it.
    broke: list[str]

    @property
    def name(self) -> str:
        """As cases and journals name it."""
        return f"{self.before} -> {self.after}"


def changes(summary: Summary) -> list[Change]:
    """The documented changes of state, then others that were seen; none if the journal does not record them."""
    drawn = [pair for region in summary.target.regions for pair in region.drawn]
    asked = summary.measures.changes
    if not drawn or not asked:
        return []
    states = list(dict.fromkeys(state for pair in drawn for state in pair))
    pairs = [(before, after) for before in states for after in states if before != after]
    others = [tuple(name.split(" -> ", 1)) for name in asked]
    known = dict.fromkeys([*pairs, *(pair for pair in others if len(pair) == 2)])
    broke = dict(_broken(summary, [f"{before} -> {after}" for before, after in known]))
    return [_change(before, after, (before, after) in drawn, asked, broke) for before, after in known]


def _change(
    before: str, after: str, documented: bool, asked: Mapping[str, Mapping[str, int]], broke: Mapping[str, list[str]]
) -> Change:
    name = f"{before} -> {after}"
    accepted, refused = (asked.get(name, {}).get(answer, 0) for answer in (ACCEPTED, REFUSED))
    rules = broke.get(name, [])
    if rules:
        seen = Seen.BROKEN
    elif accepted:
        seen = Seen.DOCUMENTED if documented else Seen.ACCEPTED
    elif refused:
        seen = Seen.REFUSED
    else:
        seen = Seen.UNSEEN if documented else Seen.UNTRIED
    return Change(before, after, seen, documented, accepted, refused, rules)


def _broken(summary: Summary, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The rules that failed in cases whose parameters name a change, by the change's name."""
    # The longest first: `running -> stop` is the beginning of `running -> stop-and-copy`.
    pattern = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
    found: dict[str, dict[str, None]] = {}
    for case in summary.cases.values():
        if case.broke and summary.of_device(case):
            for name in pattern.findall(case.id.partition("[")[2]):
                found.setdefault(name, {})[case.rule] = None
    return ((name, [*rules]) for name, rules in found.items())
