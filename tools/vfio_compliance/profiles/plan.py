# SPDX-License-Identifier: GPL-2.0-only

"""A plan: which rules a run leaves out, why, and how deep it goes. Only a plan leaves rules out of a certificate."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

from yaml.nodes import MappingNode

from vfio_compliance.common.suggest import similar
from vfio_compliance.profiles.document import Document, Problem, Source
from vfio_compliance.profiles.kinds import Choice, OneOfNumbers, Prose, Text
from vfio_compliance.profiles.loader import read
from vfio_compliance.profiles.profile import FORMAT, NAME, Profile
from vfio_compliance.profiles.records import ListOf, Record, key


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Rules that a plan leaves out."""

    rule: str = key(
        Text("a rule such as `v1.reserved.reads-zero`, or its beginning", r"[a-z0-9-]+(\.[a-z0-9-]+)*"),
        "Id of a rule, or its beginning up to the end of a word.",
    )
    reason: str = key(Prose(), "Why they are left out.")

    def covers(self, rule_id: str) -> bool:
        """Whether a rule is among them."""
        return self.rule in _beginnings(rule_id)


@dataclass(frozen=True, kw_only=True)
class _File:
    """The format of a plan."""

    format: int = key(OneOfNumbers(FORMAT), "Version of this format.")
    name: str = key(NAME, "Short name of the plan, used in reports.")
    description: str = key(Prose(), "What it is for, in a line.", default="")
    depth: Literal["default", "full"] = key(
        Choice("default", "full"),
        "How many cases of a rule are run: as many as find most faults in little time, or all there are.",
        default="default",
    )
    leave_out: tuple[LeftOut, ...] = key(ListOf(Record(LeftOut), "a list of rules"), "The rules that are left out.")

    def problems(self) -> Iterator[tuple[str, str]]:
        rules = [each.rule for each in self.leave_out]
        for index, rule in enumerate(rules):
            if rule in rules[:index]:
                yield f"leave_out.{index}.rule", f"`{rule}` is left out already"


@dataclass(frozen=True)
class Plan:
    """Which rules a run leaves out. `path` is empty for the plan that is built in, and leaves out nothing."""

    name: str = "default"
    path: str = ""
    left_out: tuple[LeftOut, ...] = ()
    #: Whether cases are run that only a thorough run has time for.
    deep: bool = False
    source: Source = field(default=Source(), repr=False, compare=False)

    def leaves_out(self, rule_id: str) -> str | None:
        """The reason why a rule is left out, from the entry that names it most precisely; None when it is not."""
        found = [each for each in self.left_out if each.covers(rule_id)]
        return max(found, key=lambda each: len(each.rule)).reason if found else None

    def problems(self, catalogue_ids: Collection[str]) -> list[Problem]:
        """A problem for each entry that fits no rule of the catalogue."""
        named = {f"leave_out.{index}.rule": each.rule for index, each in enumerate(self.left_out)}
        return self.source.unknown_rules(named, {each for rule in catalogue_ids for each in _beginnings(rule)})


DEFAULT = Plan()
_MOST_KEYS = 10  # that are looked at to tell a plan from a profile

_PLAN = Record(_File)
_OF_A_PROFILE = {name: "; it belongs to a profile" for name in Record(Profile).kinds if name not in _PLAN.kinds}


def load(path: str | os.PathLike[str]) -> Plan:
    """Read a plan. Raises ProfileError with everything that is wrong with it."""
    document = Document(os.fspath(path), "plan", "it needs `format: 1`, `name` and `leave_out`")
    written: _File = read(document, _PLAN, _OF_A_PROFILE)
    return Plan(written.name, os.fspath(path), written.leave_out, written.depth == "full", document.source())


def is_plan(path: str | os.PathLike[str]) -> bool:
    """Whether the keys of a file are those of a plan, or nearly, rather than those of a profile."""
    root = Document(os.fspath(path)).tree()
    names = [str(name.value) for name, _ in root.value] if isinstance(root, MappingNode) else []
    if any(name in _OF_A_PROFILE for name in names):
        return False
    return any(name == "leave_out" or similar(name, ["leave_out"]) for name in names[:_MOST_KEYS])


def _beginnings(rule_id: str) -> list[str]:
    """A rule's id and its beginnings, each up to the end of a word."""
    return [rule_id[:end] for end in range(1, len(rule_id) + 1) if not rule_id[end : end + 1].isalnum()]
