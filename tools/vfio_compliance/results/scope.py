# SPDX-License-Identifier: GPL-2.0-only
"""What a run set out to judge: the plan, and how much of it was selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..rules import Rule
from .journal import Record

#: Of a journal that was written before there were plans.
_DEFAULT = {"name": "default", "left_out": []}


class Scope(NamedTuple):
    """What was to be judged."""

    #: Name of the plan.
    plan: str
    #: Rules that the plan leaves out, by the reason.
    left_out: dict[str, list[str]]
    #: What ``--only`` and ``--skip`` said.
    only: list[str]
    skip: list[str]
    #: Whether less was asked for than the plan has: this is no certificate.
    selection: bool
    #: How many rules the plan has for the profile, and how many cases; None where the journal does not say.
    rules: int
    cases: int | None


def scope_of(run: Record, rules: Mapping[str, Rule], selected: Sequence[str]) -> Scope:
    """By the ``run`` record; ``selected`` has the rule of each selected case."""
    plan = run.get("plan", _DEFAULT)
    offered = _offered(run, rules)
    left_out: dict[str, list[str]] = {}
    for rule in offered:
        entries = [entry for entry in plan["left_out"] if _covers(entry["rule"], rule)]
        if entries:
            reason = max(entries, key=lambda entry: len(entry["rule"]))["reason"]
            left_out.setdefault(reason, []).append(rule)
    on_request = any(rules[rule].on_request for rule in selected if rule in rules)
    known = run.get("selection")
    if known is None:  # an older journal: rules that nobody chose show that others were
        return Scope(plan["name"], left_out, [], [], on_request or set(selected) < set(offered), len(offered), None)
    chosen = bool(known["only"] or known["skip"])
    return Scope(
        plan["name"], left_out, known["only"], known["skip"], on_request or chosen, known["rules"], known["cases"]
    )


def _offered(run: Record, rules: Mapping[str, Rule]) -> list[str]:
    """The rules of the interfaces that the device has, without those that a run has to ask for."""
    interfaces = run.get("interfaces")
    return [
        rule.id
        for rule in rules.values()
        if not rule.on_request and (interfaces is None or rule.interface in interfaces)
    ]


def _covers(entry: str, rule: str) -> bool:
    """Whether a plan's entry, a rule or the beginning of one up to the end of a word, names a rule."""
    return rule.startswith(entry) and not rule[len(entry) : len(entry) + 1].isalnum()
