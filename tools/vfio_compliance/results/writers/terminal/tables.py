# SPDX-License-Identifier: GPL-2.0-only
"""The tables of rules: one for each area of the device's rules, and one for the suite's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...summary import Summary
from ...tables import Table, cases
from ...tables import tables as tables_of
from ...verdict import Verdict

#: Columns of the table of rules, and of a narrow one with only verdict, rule and cases.
_WIDE: Final = 78
_ROW, _NARROW_ROW = "  {0:8}{1:8}{2:44}{3:7}{4:>9}", "  {0:8}{2:39}{4:>10}"


def tables(summary: Summary, width: int) -> Iterator[str]:
    """Each with a line for each rule."""
    for table in tables_of(summary):
        yield from _table(table, summary, width)


def _table(table: Table, summary: Summary, width: int) -> Iterator[str]:
    row = _ROW if width >= _WIDE else _NARROW_ROW
    heads = row.format("", "", "", "level", "cases")
    yield ""
    yield f"{table.title:{len(heads) - len(heads.lstrip())}}{heads.lstrip()}"
    for id_, verdict in table.verdicts.items():
        rule, number = summary.rules[id_], cases(summary, id_, verdict)
        quiet = verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE)
        yield row.format(verdict.value if quiet else verdict.value.upper(), rule.clause, rule.id, rule.level, number)
