# SPDX-License-Identifier: GPL-2.0-only
"""What a run set out to judge: the plan, and how much of it was selected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .events import Run


class Scope(NamedTuple):
    """What was to be judged."""

    #: Name of the plan.
    plan: str
    #: Rules that the plan leaves out, by the reason.
    left_out: dict[str, list[str]]
    #: What ``--only`` and ``--skip`` said.
    only: tuple[str, ...]
    skip: tuple[str, ...]
    #: Whether less was asked for than the plan has: this is no certificate.
    selection: bool
    #: How many rules of the device the plan has for the profile, and how many cases of them.
    rules: int
    cases: int


def scope_of(run: Run, selected: Sequence[str]) -> Scope:
    """By the event ``run``; ``selected`` has the rule of each selected case."""
    left_out: dict[str, list[str]] = {}
    for rule in _offered(run):
        entries = [entry for entry in run.plan.left_out if entry.covers(rule)]
        if entries:
            reason = max(entries, key=lambda entry: len(entry.rule)).reason
            left_out.setdefault(reason, []).append(rule)
    chosen = run.selection
    on_request = {rule.id for rule in run.rules if rule.on_request}
    selection = bool(chosen.only or chosen.skip or on_request.intersection(selected))
    return Scope(run.plan.name, left_out, chosen.only, chosen.skip, selection, chosen.rules, chosen.cases)


def _offered(run: Run) -> Iterator[str]:
    """The device's rules of the interfaces that it has, without those that a run has to ask for."""
    for rule in run.rules:
        if rule.interface in run.interfaces and not rule.on_request and not rule.of_the_suite:
            yield rule.id
