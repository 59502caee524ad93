# SPDX-License-Identifier: GPL-2.0-only
"""What a run was to judge: the plan, and how much of it was selected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..rules import Rule
from .events import Run
from .setting import NO_SHOULD


class Scope(NamedTuple):
    """What was to be judged."""

    #: Name of the plan.
    plan: str
    #: Whether a run by it that passes is a certificate.
    certifies: bool
    #: Whether --no-should was asked for.
    no_should: bool
    #: Rules that the plan leaves out, by reason.
    left_out: dict[str, list[str]]
    #: Rules that do not block, by the plan or by --no-should, by reason.
    not_blocking: dict[str, list[str]]
    #: The values of ``--only`` and ``--exclude``.
    only: tuple[str, ...]
    exclude: tuple[str, ...]
    #: Whether less was selected than the plan has: then there is no certificate.
    selection: bool
    #: How many rules of the device the plan has for the profile, and how many cases of them.
    rules: int
    cases: int


def scope_of(run: Run, selected: Sequence[str]) -> Scope:
    """The scope, by the event ``run``; ``selected`` has the rule of each selected case."""
    plan, chosen, judged = run.plan, run.selection, set(selected)
    left_out: dict[str, list[str]] = {}
    not_blocking: dict[str, list[str]] = {}
    for rule in _offered(run):
        entries = [entry for entry in plan.left_out if entry.covers(rule.id)]
        excuses = [each for each in plan.not_blocking if each.covers(rule.id, rule.level)]
        if entries and rule.id not in judged:
            reason = max(entries, key=lambda entry: len(entry.rule)).reason
            left_out.setdefault(reason, []).append(rule.id)
        elif excuses and rule.blocking:
            not_blocking.setdefault(excuses[0].reason, []).append(rule.id)
    on_request = {rule.id for rule in run.rules if rule.on_request}
    return Scope(
        plan=plan.name,
        certifies=plan.certifies,
        no_should=any(each.reason == NO_SHOULD for each in plan.not_blocking),
        left_out=left_out,
        not_blocking=not_blocking,
        only=chosen.only,
        exclude=chosen.exclude,
        selection=bool(chosen.only or chosen.exclude or on_request & judged),
        rules=chosen.rules,
        cases=chosen.cases,
    )


def _offered(run: Run) -> Iterator[Rule]:
    """The device's rules of its interfaces, without those that are judged only on request."""
    for rule in run.rules:
        if rule.interface in run.interfaces and not rule.on_request and not rule.of_the_suite:
            yield rule
