# SPDX-License-Identifier: GPL-2.0-only
"""The result in Markdown, to paste into a ticket: the verdict, the device, what was broken, waived or not judged.

Text from a device is always code, so that it cannot be a link, a heading, a mention or the end of a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ...common.words import counted, printable, printable_lines
from ..about import about, driver
from ..case import Case
from ..conclusion import conclude
from ..figures import figures, flat
from ..rerun import rerun
from ..summary import Summary
from ..verdict import Verdict, tally
from .blocks import block, brief, troubled

#: How many rules of one kind are shown in full, and how many lines of a table: tickets are limited in size.
_MOST: Final = 50

_ANSWER: Final = {True: "yes", False: "no", None: "unknown"}

_TICKS: Final = re.compile("`+")


def render(summary: Summary) -> str:
    """The first line is the verdict."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    word, detail, plan = conclude(summary)
    yield f"## {word}"
    yield ""
    yield f"Plan {code(plan)}: {code(detail)}"
    yield ""
    yield from _table("", "", {**about(summary), "driver": driver(summary)}.items())
    yield from _numbers(summary)
    yield from _broken(summary)
    yield from _listed("Waived", Verdict.WAIVED, summary)
    yield from _listed("Not judged", Verdict.NOT_RUN, summary)
    yield from _happened(summary)
    yield from _figures(summary)


def code(text: str) -> str:
    """A line of text, shown as it is."""
    shown = printable(text) or " "
    ticks = "`" * (1 + max(map(len, _TICKS.findall(shown)), default=0))
    blank = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{ticks}{blank}{shown}{blank}{ticks}"


def _cell(text: str) -> str:
    """The same in a table. No pipe is left, because readers differ in what ends a cell after several backslashes."""
    return code(text.replace("|", r"\x7c"))


def _plain(text: str) -> str:
    """Text of our own rules, with everything that Markdown would interpret escaped."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(text))


def fence(text: str) -> Iterator[str]:
    """Lines, shown as they are."""
    ticks = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))
    yield ticks
    yield from printable_lines(text).split("\n")
    yield ticks


def _table(left: str, right: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield f"| {left} | {right} |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {_cell(name)} | {_cell(value)} |"
    yield ""


def _numbers(summary: Summary) -> Iterator[str]:
    for verdicts, of in ((summary.device_verdicts, ""), (summary.suite_verdicts, " of the suite itself")):
        if verdicts:
            each = (f"{number} {verdict}" for verdict, number in tally(verdicts.values()).items())
            yield f"{counted(len(verdicts), 'rule')}{of}: {', '.join(each)}"
            yield ""


def _broken(summary: Summary) -> Iterator[str]:
    rules = {
        rule: cases
        for rule in summary.verdicts
        if (cases := [case for case in summary.cases_of(rule) if troubled(case)])
    }
    for rule, cases in list(rules.items())[:_MOST]:
        yield f"### {cases[0].verdict.value.upper()} {code(rule)}"
        yield ""
        yield f"{len(cases)} of {counted(len(summary.cases_of(rule)), 'case')}. {_plain(summary.rules[rule].says)}"
        yield ""
        yield from fence(block(summary, cases[0]))
        yield ""
        if not cases[0].needless:
            yield "To see it again:"
            yield ""
            yield from fence(rerun(summary, cases[0]))
            yield ""
    yield from _more(len(rules))


def _more(number: int) -> Iterator[str]:
    if number > _MOST:
        yield f"And {counted(number - _MOST, 'more rule')}."
        yield ""


def _listed(title: str, verdict: Verdict, summary: Summary) -> Iterator[str]:
    """Each rule with such cases, with the reason of the first one."""
    rows: dict[str, Case] = {}
    for case in summary.cases.values():
        if case.verdict is verdict:
            rows.setdefault(case.rule, case)
    if rows:
        yield f"### {title}"
        yield ""
        yield from _table("rule", "because", [(rule, brief(summary, rows[rule])) for rule in list(rows)[:_MOST]])
        yield from _more(len(rows))


def _happened(summary: Summary) -> Iterator[str]:
    """What happened to the run rather than to a rule."""
    lines = [f"{message}; {remedy}" for message, remedy in (*summary.stops, *summary.hangs)]
    lines += [*summary.deaths, *summary.kernel_log]
    if lines:
        yield "### Outside of any rule"
        yield ""
        yield from fence("\n".join(lines))
        yield ""


def _figures(summary: Summary) -> Iterator[str]:
    known = figures(summary.measures)
    rows = [(name, f"{value:.6g}") for name, value in flat({"states": known["states"]})]
    for kind, flow in known["flows"].items():
        for name, each in flow.items():
            rows.append((f"{kind}, {name}", f"{each['median']:.6g}" if isinstance(each, dict) else str(each)))
    if rows:
        yield "### Time and bytes"
        yield ""
        yield "Seconds, bytes, and bytes per second; for flows, the median."
        yield ""
        yield from _table("what", "number", rows)
