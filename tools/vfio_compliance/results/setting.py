# SPDX-License-Identifier: GPL-2.0-only
"""What a run judges, and by what: the profile, the plan, the selection, and the device's regions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..rules import LEVELS


@dataclass(frozen=True, slots=True)
class JudgedProfile:
    """The profile of the device, and the SHA-256 of its file."""

    path: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A rule that the plan leaves out, or the beginning of several, up to the end of a word."""

    rule: str
    reason: str

    def covers(self, rule: str) -> bool:
        """Whether it names this rule."""
        return rule.startswith(self.rule) and not rule[len(self.rule) : len(self.rule) + 1].isalnum()


#: The reason for rules that do not block because of this option.
NO_SHOULD: Final = "--no-should"


@dataclass(frozen=True, slots=True)
class NotBlocking:
    """Rules that do not count for the verdict: by an id or its beginning, or by their level, including weaker ones."""

    reason: str
    rule: str | None = None
    level: str | None = None

    def covers(self, rule: str, level: str) -> bool:
        """Whether it names this rule, which is of this level."""
        if self.rule is not None:
            return LeftOut(self.rule, self.reason).covers(rule)
        return self.level in LEVELS and level in LEVELS[LEVELS.index(self.level) :]


@dataclass(frozen=True, slots=True)
class ChosenPlan:
    """The plan, and the SHA-256 of its file. ``given`` is its value for ``--plan``; empty for the default."""

    name: str
    given: str
    left_out: tuple[LeftOut, ...]
    not_blocking: tuple[NotBlocking, ...] = ()
    #: quick, default or full.
    depth: str = "default"
    digest: str = ""

    @property
    def certifies(self) -> bool:
        """Whether it takes all cases of all rules, and each of them counts: only this gives a certificate."""
        return self.depth == "full" and not self.left_out and not self.not_blocking


@dataclass(frozen=True, slots=True)
class Selection:
    """The values of ``--only`` and ``--exclude``, and how many rules and cases the device has without them."""

    only: tuple[str, ...]
    exclude: tuple[str, ...]
    rules: int
    cases: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Cases that the profile leaves unjudged: a part of their names, or their rule."""

    case: str
    reason: str


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file that was passed to the run, and its SHA-256."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Waiver:
    """A deviation that the profile, or a file of waivers, lists as known."""

    rule: str
    reason: str
    #: Where it is tracked.
    link: str | None = None
    #: The last day on which it holds.
    expires: datetime.date | None = None
    #: Text that must be in what was seen.
    shows: str | None = None
    #: Text that must be in the name of the case.
    case: str | None = None
    #: It does not show in every run.
    sometimes: bool = False
    #: Who is responsible for ending it.
    owner: str | None = None
    #: Versions of the kernel and of the driver that it holds for.
    kernel: str | None = None
    driver: str | None = None
    #: `file:line:column` of it.
    where: str = ""


@dataclass(frozen=True, slots=True)
class KernelWarning:
    """A warning of the kernel that the profile, or a file of waivers, lists as known."""

    file: str
    function: str
    reason: str
    #: The last day on which it holds.
    expires: datetime.date
    link: str | None = None
    owner: str | None = None
    #: Versions of the kernel that it holds for.
    kernel: str | None = None
    #: It does not show in every run.
    sometimes: bool = False
    #: `file:line:column` of it.
    where: str = ""

    def __str__(self) -> str:
        """The warning that it is about."""
        return f"the kernel's warning at {self.file}, {self.function}"


@dataclass(frozen=True, slots=True)
class Register:
    """A register of a region: byte offset from its start, and width in bytes."""

    name: str
    offset: int
    width: int
    #: Names for values that have one; a value is written as a decimal number.
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsedRegion:
    """A region of the device through which an interface is used."""

    index: int
    interface: str
    registers: tuple[Register, ...]
    #: Changes of state that the interface documents, from and to, by the names of the values of its registers.
    drawn: tuple[tuple[str, str], ...] = ()
