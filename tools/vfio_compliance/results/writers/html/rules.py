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

#: Cases of one rule that are listed.
_MOST: Final = 500


class Row(NamedTuple):
    """A rule and what became of it."""

    rule: Rule
    #: Title of its area; that of the suite's own rules is another one than that of their clauses.
    area: str
    verdict: Verdict
    number: str
    seconds: float
    #: Those that are listed, with the part of their names in which they differ.
    cases: Sequence[tuple[str, Case]]
    unlisted: int
    #: Number of the failure that says more; 0 where there is none.
    failure: int


def rows(summary: Summary, failures: Mapping[str, int]) -> Iterator[Row]:
    """In the order of areas; ``failures`` has the number of each rule that failed."""
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
