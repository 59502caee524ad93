# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""A waiver: a known deviation of a device, in its profile or in a file of waivers."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vfio_compliance.common import versions
from vfio_compliance.profiles.kinds import Boolean, Date, Prose, Text, VersionRange
from vfio_compliance.profiles.records import ListOf, Record, key


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A known deviation: the rule is broken, and reported as waived while it is broken in the listed way."""

    rule: str = key(
        Text("the id of a rule such as `v1.reserved.reads-zero`", r"[a-z0-9-]+(\.[a-z0-9-]+)+"),
        "Id of the rule.",
    )
    reason: str = key(Prose(), "Why this is accepted for now.")
    link: str | None = key(Text(), "Where it is tracked.", default=None)
    owner: str | None = key(Text(), "Who is responsible for ending it.", default=None)
    expires: datetime.date | None = key(Date(), "Last day on which it holds; later it is stale.", default=None)
    shows: str | None = key(
        Text(),
        "Text that the failure must contain in what was seen; another failure is not waived.",
        default=None,
    )
    case: str | None = key(
        Text(),
        "Text that the case's name must contain; what fails in another case is not waived.",
        default=None,
    )
    kernel: str | None = key(VersionRange(), "Kernels for which it holds, by default all; in quotes.", default=None)
    driver: str | None = key(
        VersionRange(), "Versions of the driver for which it holds, by default all; in quotes.", default=None
    )
    sometimes: bool = key(
        Boolean(),
        "It does not show in every run, or on every machine: a run that keeps the rule does not make it stale.",
        default=False,
    )

    def same_failure(self, other: Waiver) -> bool:
        """Whether a failure can match both: then it is unclear which of them excuses it."""
        if self.rule != other.rule:
            return False
        for mine, its in ((self.case, other.case), (self.shows, other.shows)):
            if mine and its and mine not in its and its not in mine:
                return False
        ranges = ((self.kernel, other.kernel), (self.driver, other.driver))
        return not any(mine and its and versions.disjoint(mine, its) for mine, its in ranges)

    def expired(self, today: datetime.date) -> bool:
        """Whether its last day is over."""
        return self.expires is not None and self.expires < today


WAIVERS = ListOf(Record(Waiver), "a list of waivers")


def conflicts(listed: Sequence[Waiver]) -> Iterator[tuple[int, int]]:
    """The place of each waiver that matches the same failure as an earlier one, and the earlier one's place."""
    for index, waiver in enumerate(listed):
        for earlier, other in enumerate(listed[:index]):
            if waiver.same_failure(other):
                yield index, earlier
                break


def problems(listed: Sequence[Waiver]) -> Iterator[tuple[str, str]]:
    """The same as the key and the message of a problem of the file that holds them."""
    for index, _ in conflicts(listed):
        yield f"waivers.{index}.rule", f"`{listed[index].rule}` is waived already; {TELL_APART}"


#: What to do about it.
TELL_APART = "make them differ in `case`, `shows`, `kernel` or `driver`"
