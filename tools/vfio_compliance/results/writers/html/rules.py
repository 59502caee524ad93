# SPDX-License-Identifier: GPL-2.0-only
"""The table of rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ....rules import Rule
from ...case import Case
from ...summary import Summary
from ...tables import cases, tables
from ...verdict import Verdict

#: How many cases of a rule are listed.
_MOST: Final = 500


class Row(NamedTuple):
    """A rule and its result."""

    rule: Rule
    #: Title of its area; the suite's own rules have an area of their own.
    area: str
    verdict: Verdict
    number: str
    seconds: float
    #: The listed cases, with the part of their names in which they differ.
    cases: Sequence[tuple[str, Case]]
    unlisted: int
    #: Number of the failure with the details; 0 without one.
    failure: int


def rows(summary: Summary, failures: Mapping[str, int]) -> Iterator[Row]:
    """The rows in the order of areas; ``failures`` has the number of each failed rule."""
    for table in tables(summary):
        for id_, verdict in table.verdicts.items():
            all_cases = summary.cases_of(id_)
            yield Row(
                summary.rules[id_],
                table.title,
                verdict,
                cases(summary, id_, verdict),
                sum(case.seconds for case in all_cases),
                [(case.name.rpartition("::test_")[2], case) for case in all_cases[:_MOST]],
                max(len(all_cases) - _MOST, 0),
                failures.get(id_, 0),
            )
