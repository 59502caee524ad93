# SPDX-License-Identifier: GPL-2.0-only
"""Many runs as columns of one table, each named by the least that distinguishes it from the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ..common.words import printable
from .conclusion import conclude
from .matrix import Column, column
from .spent import spent
from .summary import Summary

#: What distinguishes runs of one target, the plainest first, each with the places where its text may be cut.
_DISTINGUISHING: Final = {
    "kernel": re.compile(r"[-+_]"),
    "driver": re.compile(r"(?!)"),
    "driver version": re.compile(r"(?!)"),
    "broken on purpose": re.compile(r"(?!)"),
    "driver srcversion": re.compile(r"(?<=^.{8})"),
    "server digest": re.compile(r"(?<=^.{8})"),
    "host name": re.compile(r"\."),
}

#: Characters of a line above a column.
_WIDEST: Final = 24


@dataclass(frozen=True)
class MergedRun:
    """What the table of many runs has of one run."""

    #: Where it was read from, as the user named it.
    place: str
    column: Column
    #: The facts, of those in ``_DISTINGUISHING``, that can distinguish it from others.
    facts: Mapping[str, str]
    #: How long it took, and how much of that was spent in calls.
    time: str
    #: The sentence of each of its rules, by the rule's id.
    says: Mapping[str, str]
    #: The verdict on the device, in a line.
    verdict: str
    exit_code: int

    @property
    def driver(self) -> str:
        """The driver in words, as far as known."""
        parts = [self.facts.get(name, "") for name in ("driver", "driver version")]
        for name in ("driver srcversion", "broken on purpose"):
            parts += [f"{name.removeprefix('driver ')} {self.facts[name]}"] if name in self.facts else []
        return ", ".join(filter(None, parts)) or "unknown"


def merged(place: str, summary: Summary) -> MergedRun:
    """What the table needs of a run; its cases and calls are not kept."""
    run, known = summary.run, {**summary.run.device, **summary.target.identity, **summary.facts}
    facts = {name: printable(known[name]) for name in _DISTINGUISHING if known.get(name)}
    facts["kernel"] = printable(known.get("kernel") or run.kernel).removeprefix("Linux ")
    if run.defects:
        facts["broken on purpose"] = ", ".join(map(printable, run.defects))
    verdict = printable(str(conclude(summary)))
    says = {rule: summary.rules[rule].says for rule in summary.device_verdicts}
    made = column(facts["kernel"], summary)
    made = replace(made, target=printable(made.target))
    return MergedRun(printable(place), made, facts, spent(summary), says, verdict, summary.exit_code)


def named(runs: Iterable[MergedRun]) -> list[MergedRun]:
    """The same runs, each column named by the least that distinguishes it from the others of its target.

    That is its kernel, then driver and host as needed, then the number of the run.
    """
    numbered = [*enumerate(runs, 1)]
    names: dict[int, tuple[str, ...]] = {}
    for target in {run.column.target for _, run in numbered}:
        names |= _names({number: run.facts for number, run in numbered if run.column.target == target})
    return [replace(run, column=replace(run.column, name=names[number])) for number, run in numbered]


def _names(runs: Mapping[int, Mapping[str, str]]) -> dict[int, tuple[str, ...]]:
    """For the runs of one target, by number; a fact that one of them does not have is an empty line there."""
    names: dict[int, tuple[str, ...]] = dict.fromkeys(runs, ())
    for fact, cut in _DISTINGUISHING.items():
        short = _shortened([facts.get(fact, "") for facts in runs.values()], cut)
        longer = {number: (*names[number], text) for number, text in zip(runs, short, strict=True)}
        if fact == "kernel" or len({*longer.values()}) > len({*names.values()}):
            names = longer
    if len({*names.values()}) < len(runs):
        names = {number: (*name, f"run {number}") for number, name in names.items()}
    return names


def _shortened(texts: Sequence[str], cut: re.Pattern[str]) -> list[str]:
    """The texts, shortened at the earliest cut at which different ones still differ."""
    ends = {text: [*(found.start() for found in cut.finditer(text)), len(text)] for text in texts}
    short: dict[str, str] = {}
    for number in range(max(map(len, ends.values()), default=0)):
        short = {text: text[: places[min(number, len(places) - 1)]][:_WIDEST] for text, places in ends.items()}
        if len({*short.values()}) == len(short):
            break
    return [short[text] for text in texts]
