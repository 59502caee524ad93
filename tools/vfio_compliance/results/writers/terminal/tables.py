# SPDX-License-Identifier: GPL-2.0-only
"""The tables of rules: one for each area of the device's, and one for the suite itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from ...faults import OF_THE_SUITE
from ...summary import Summary
from ...verdict import Verdict

#: Columns of the table of rules, and of one with a rule's verdict, name and cases alone.
_WIDE: Final = 78
_ROW, _NARROW_ROW = "  {0:8}{1:8}{2:44}{3:7}{4:>9}", "  {0:8}{2:39}{4:>10}"


def tables(summary: Summary, width: int) -> Iterator[str]:
    """Nothing where the run ended before the first case: the reason, which comes last, is all there is to say then."""
    if not summary.started:
        return
    device = summary.device_verdicts
    for area, title in summary.run.areas.items():
        rules = {rule: verdict for rule, verdict in device.items() if summary.rules[rule].area == area}
        yield from _table(title, rules, summary, width)
    yield from _table(OF_THE_SUITE.capitalize(), summary.suite_verdicts, summary, width)


def _table(title: str, rules: Mapping[str, Verdict], summary: Summary, width: int) -> Iterator[str]:
    if not rules:
        return
    row = _ROW if width >= _WIDE else _NARROW_ROW
    heads = row.format("", "", "", "level", "cases")
    yield ""
    yield f"{title:{len(heads) - len(heads.lstrip())}}{heads.lstrip()}"
    for id_, verdict in rules.items():
        rule = summary.rules[id_]
        cases = Counter(case.verdict for case in summary.cases_of(id_))
        number = str(cases[verdict]) if len(cases) == 1 else f"{cases[verdict]} of {cases.total()}"
        quiet = verdict in (Verdict.PASS, Verdict.NOT_APPLICABLE)
        yield row.format(verdict.value if quiet else verdict.value.upper(), rule.clause, rule.id, rule.level, number)
