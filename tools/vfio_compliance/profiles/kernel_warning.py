# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""A waiver of a kernel warning: one WARN statement, by file and function."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vfio_compliance.common import versions
from vfio_compliance.common.kernel_reports import damage
from vfio_compliance.profiles.kinds import Boolean, Date, Prose, Text, VersionRange
from vfio_compliance.profiles.records import ListOf, Record, key

_ONLY = "only what a WARN statement prints (`WARNING: ... at FILE:LINE FUNCTION`) can be waived"


@dataclass(frozen=True, kw_only=True)
class KernelWarning:
    """A known kernel warning. It is reported as waived whenever this statement prints it."""

    file: str = key(
        Text(f"the path of a source file as the warning has it; {_ONLY}", r"[A-Za-z0-9_+,./-]+\.[chS]"),
        "The source file as the warning names it, or the end of its path: vfio/vfio_main.c.",
    )
    function: str = key(
        Text(f"the name of a function as the warning has it; {_ONLY}", r"[A-Za-z_][A-Za-z0-9_.]*"),
        "The function as the warning names it, without offset.",
    )
    reason: str = key(Prose(), "Why this is accepted for now.")
    expires: datetime.date = key(Date(), "Last day on which it holds; later it is stale.")
    link: str | None = key(Text(), "Where it is tracked.", default=None)
    owner: str | None = key(Text(), "Who is responsible for ending it.", default=None)
    kernel: str | None = key(VersionRange(), "Kernels for which it holds, by default all; in quotes.", default=None)
    sometimes: bool = key(
        Boolean(), "It does not show in every run: a run without it does not make it stale.", default=False
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        for name, what in (("file", damage(self.file, "")), ("function", damage("", self.function))):
            if what:
                yield name, f"`{getattr(self, name)}` reports {what}, which is never waived"

    def same_warning(self, other: KernelWarning) -> bool:
        """Whether a warning can match both."""
        ends = f"/{self.file}".endswith(f"/{other.file}") or f"/{other.file}".endswith(f"/{self.file}")
        apart = self.kernel and other.kernel and versions.disjoint(self.kernel, other.kernel)
        return ends and self.function == other.function and not apart


KERNEL_WARNINGS = ListOf(Record(KernelWarning), "a list of kernel warnings")


def conflicts(listed: Sequence[KernelWarning]) -> Iterator[tuple[int, int]]:
    """The place of each that matches the same warning as an earlier one, and the earlier one's place."""
    for index, each in enumerate(listed):
        earlier = next((place for place, other in enumerate(listed[:index]) if each.same_warning(other)), None)
        if earlier is not None:
            yield index, earlier


def problems(listed: Sequence[KernelWarning]) -> Iterator[tuple[str, str]]:
    """The same as the key and the message of a problem of the file that holds them."""
    for index, _ in conflicts(listed):
        yield f"kernel_warnings.{index}.function", f"the warning in `{listed[index].function}` is waived already"
