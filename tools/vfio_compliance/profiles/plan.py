# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""A plan: which rules a run leaves out or does not count, why, and how thorough it is. Only a plan leaves out rules."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from vfio_compliance.common import versions
from vfio_compliance.common.project import PROFILES
from vfio_compliance.common.suggest import did_you_mean, similar
from vfio_compliance.profiles.document import WHOLE_FILE, Document, Problem, ProfileError, Source, quoted
from vfio_compliance.profiles.kinds import Choice, OneOfNumbers, Prose, Text, VersionRange
from vfio_compliance.profiles.loader import read
from vfio_compliance.profiles.profile import FORMAT, NAME, Profile
from vfio_compliance.profiles.records import ListOf, Record, key

#: The plan of a run that names none.
DEFAULT: Final = "ci"
#: The folder of plans that can be given by name.
FOLDER: Final = PROFILES / "plans"

Depth: TypeAlias = Literal["quick", "default", "full"]

_RULES = Text("a rule such as `v1.reserved.reads-zero`, or its beginning", r"[a-z0-9-]+(\.[a-z0-9-]+)*")
#: The levels of rules, the strongest first.
_LEVELS: Final = ("must", "should", "may")


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Rules that a plan leaves out."""

    rule: str = key(_RULES, "Id of a rule, or its beginning up to the end of a word.")
    reason: str = key(Prose(), "Why they are left out.")
    kernel: str | None = key(
        VersionRange(), "Kernels on which they are left out, by default all; in quotes.", default=None
    )

    def covers(self, rule_id: str) -> bool:
        """Whether a rule is among them."""
        return self.rule in _beginnings(rule_id)


@dataclass(frozen=True, kw_only=True)
class NotBlocking:
    """Rules that are judged, but may be broken."""

    rule: str | None = key(_RULES, "Id of a rule, or its beginning up to the end of a word.", default=None)
    level: str | None = key(Choice("should", "may"), "Rules of this level, and of weaker ones.", default=None)
    reason: str = key(Prose(), "Why a device may break them.")

    def covers(self, rule_id: str, level: str) -> bool:
        """Whether a rule of this level, must, should or may, is among them."""
        if self.rule is not None:
            return self.rule in _beginnings(rule_id)
        return self.level is not None and _LEVELS.index(level) >= _LEVELS.index(self.level)


@dataclass(frozen=True, kw_only=True)
class _File:
    """The format of a plan."""

    format: int = key(OneOfNumbers(FORMAT), "Version of this format.")
    name: str = key(NAME, "Short name of the plan, used in reports.")
    description: str = key(Prose(), "What it is for, in a line.", default="")
    depth: Depth = key(
        Choice("quick", "default", "full"),
        "How many cases of a rule are run: one that needs no stimulus, as many as find most faults in little time, or "
        "all there are. A rule whose cases all need a stimulus is left out by a quick plan.",
        default="default",
    )
    leave_out: tuple[LeftOut, ...] = key(ListOf(Record(LeftOut), "a list of rules"), "The rules that are left out.")
    not_blocking: tuple[NotBlocking, ...] = key(
        ListOf(Record(NotBlocking, exactly_one=("rule", "level")), "a list of rules or levels"),
        "Rules that are judged and shown, and do not count for the verdict.",
        default=(),
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        rules = [each.rule for each in self.leave_out]
        for index, rule in enumerate(rules):
            if rule in rules[:index]:
                yield f"leave_out.{index}.rule", f"`{rule}` is left out already"
        named = [each.rule or each.level for each in self.not_blocking]
        for index, name in enumerate(named):
            if name in named[:index]:
                yield f"not_blocking.{index}", f"`{name}` does not block already"
        for index, each in enumerate(self.not_blocking):
            if each.rule and any(left.covers(each.rule) for left in self.leave_out):
                yield f"not_blocking.{index}.rule", f"`{each.rule}` is left out, so it cannot block anyway"


@dataclass(frozen=True)
class Plan:
    """What a run judges."""

    name: str
    #: The argument of ``--plan`` for it: a name or a path; empty for the default.
    given: str
    left_out: tuple[LeftOut, ...] = ()
    not_blocking: tuple[NotBlocking, ...] = ()
    depth: Depth = "default"
    source: Source = field(default=Source(), repr=False, compare=False)

    def leaves_out(self, rule_id: str) -> str | None:
        """The reason why a rule is left out, from the entry that names it most precisely; None if it is judged."""
        found = [each for each in self.left_out if each.covers(rule_id)]
        return max(found, key=lambda each: len(each.rule)).reason if found else None

    def on(self, kernel: str) -> Plan:
        """The same plan for a kernel of this release: without entries for other kernels only."""
        here = tuple(each for each in self.left_out if each.kernel is None or versions.within(each.kernel, kernel))
        return dataclasses.replace(self, left_out=here)

    def without(self, rules: Collection[str]) -> Plan:
        """The same plan, with the reason why it leaves out ``rules``, of which it takes no case."""
        reason = f"plan {self.name} takes no case that needs a stimulus"
        more = [LeftOut(rule=rule, reason=reason) for rule in sorted(rules)]
        return dataclasses.replace(self, left_out=(*self.left_out, *more))

    def without_should(self) -> Plan:
        """The same plan, in which no rule of level should or may blocks."""
        asked = NotBlocking(level="should", reason="--no-should")
        return dataclasses.replace(self, not_blocking=(*self.not_blocking, asked))

    def problems(self, catalogue_ids: Collection[str]) -> list[Problem]:
        """A problem for each entry that matches no rule of the catalogue, or for a plan that leaves out all rules."""
        named = {f"leave_out.{index}.rule": each.rule for index, each in enumerate(self.left_out)}
        named |= {f"not_blocking.{index}.rule": each.rule for index, each in enumerate(self.not_blocking) if each.rule}
        beginnings = {each for rule in catalogue_ids for each in _beginnings(rule)}
        if strangers := self.source.unknown_rules(named, beginnings):
            return strangers
        if catalogue_ids and all(self.leaves_out(rule) is not None for rule in catalogue_ids):
            return [self.source.problem("leave_out", "every rule is left out; at least one has to be judged")]
        return []


PLAN = Record(_File)
_OF_A_PROFILE = {name: "; it belongs to a profile" for name in Record(Profile).kinds if name not in PLAN.kinds}


def load(path: str | os.PathLike[str], given: str | None = None) -> Plan:
    """Read a plan; ``given`` is the argument of ``--plan``, or else its path. Raises ProfileError with all problems."""
    document = Document(os.fspath(path), "plan", "it needs `format: 1`, `name` and `leave_out`")
    written: _File = read(document, PLAN, _OF_A_PROFILE)
    given = os.fspath(path) if given is None else given
    source = document.source()
    return Plan(written.name, given, written.leave_out, written.not_blocking, written.depth, source)


def file_of(word: str | None) -> Path:
    """The file of the plan that ``--plan`` asks for, by name or by path; the default for None.

    It need not exist.
    """
    path = FOLDER / f"{DEFAULT if word is None else word}.yaml"
    return path if word is None or ("/" not in word and path.is_file()) else Path(word)


def chosen(word: str | None) -> Plan:
    """The plan that ``--plan`` asks for. Raises ProfileError, also for an unknown name."""
    path = file_of(word)
    if word is None:
        return load(path, "")
    if not word or (not path.exists() and not _looks_like_a_path(word)):
        known = sorted(each.stem for each in FOLDER.glob("*.yaml"))
        hint = did_you_mean(similar(word, known)) or f"; expected {', '.join(known)}, or the path of a file"
        raise ProfileError([Problem("--plan", WHOLE_FILE, f"there is no plan {quoted(word)}{hint}", "")])
    return load(path, word)


def _looks_like_a_path(word: str) -> bool:
    return "/" in word or word.endswith((".yaml", ".yml"))


def _beginnings(rule_id: str) -> list[str]:
    """A rule's id and its beginnings, each up to the end of a word."""
    return [rule_id[:end] for end in range(1, len(rule_id) + 1) if not rule_id[end : end + 1].isalnum()]
