# SPDX-License-Identifier: GPL-2.0-only
"""Two runs compared, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...common.words import counted, printable
from ...common.wrap import wrap
from ..comparison import Comparison, RuleChange, Side, Trend
from ..verdict import Verdict

#: How many cases of a rule are shown, and how many rules for their calls and time alone.
_MOST_CASES, _MOST_RULES = 5, 10

#: A rule is shown for its calls if they differ by this part, and for its time if that is this many times as long.
_PART, _TIMES, _SECONDS = 0.1, 2.0, 0.1

_ABSENT: Final = "-"


def render(found: Comparison, width: int) -> str:
    """The last line says whether anything got worse."""
    pieces = [*_about(found, width), *_rules(found, width), *_costs(found), *_figures(found, width), *_end(found)]
    return "\n".join(printable(line) for piece in pieces for line in piece.split("\n"))


def _about(found: Comparison, width: int) -> Iterator[str]:
    if not found.about:
        return
    yield "What was judged, and by what"
    for name, (before, after) in found.about.items():
        yield from wrap(f"  {name:18}", f"{before or _ABSENT} -> {after or _ABSENT}", width)
    yield ""


def _rules(found: Comparison, width: int) -> Iterator[str]:
    for trend in (Trend.WORSE, Trend.BETTER, Trend.OTHER):
        changes = [change for change in found.rules if change.trend is trend]
        if not changes:
            continue
        yield f"{trend.value}: {counted(len(changes), 'rule')}"
        for change in changes:
            yield from wrap(f"  {change.clause:8}", f"{change.rule}  {_verdicts(change)}, {_cost(change)}", width)
            cases = sorted(change.cases, key=lambda case: case.trend is not trend)
            for case in cases[:_MOST_CASES]:
                text = f"{case.name}: {_word(case.before)} -> {_word(case.after)}"
                yield from wrap("          ", f"{text}: {case.why}" if case.why else text, width, hanging="  ")
            if len(cases) > _MOST_CASES:
                yield f"          and {counted(len(cases) - _MOST_CASES, 'more case')}"
        yield ""


def _verdicts(change: RuleChange) -> str:
    before, after = _word(change.before.verdict), _word(change.after.verdict)
    return f"{before} -> {after}" if before != after else f"{after}, in other cases"


def _word(verdict: Verdict | None) -> str:
    return verdict.value if verdict else "not in the run"


def _cost(change: RuleChange) -> str:
    before, after = change.before, change.after
    return f"calls {before.calls} -> {after.calls}, {before.seconds:.2f} s -> {after.seconds:.2f} s"


def _costs(found: Comparison) -> Iterator[str]:
    """Rules with the same verdict but different calls or time, the largest difference of time first."""
    changed = [each for each in found.rules if each.trend is Trend.SAME and _notable(each.before, each.after)]
    changed.sort(key=lambda each: -abs(each.after.seconds - each.before.seconds))
    if not changed:
        return
    yield f"Different calls or time: {counted(len(changed), 'rule')}"
    for change in changed[:_MOST_RULES]:
        yield f"  {change.clause:8}{change.rule}  {_cost(change)}"
    if len(changed) > _MOST_RULES:
        yield f"  and {counted(len(changed) - _MOST_RULES, 'more rule')}"
    yield ""


def _notable(before: Side, after: Side) -> bool:
    few, many = sorted((before.calls, after.calls))
    short, long = sorted((before.seconds, after.seconds))
    return many - few > _PART * many or (long - short > _SECONDS and long > _TIMES * short)


def _figures(found: Comparison, width: int) -> Iterator[str]:
    widest = max((len(name) for name in found.figures), default=0)
    yield "Calls, time and bytes (for flows, the median)"
    for name, (before, after) in found.figures.items():
        text = f"{_number(before)} -> {_number(after)}"
        if before and after is not None and before != after:
            text += f"  ({(after - before) / before:+.0%})"
        yield from wrap(f"  {name:{widest}}  ", text, width)
    yield ""


def _number(value: float | None) -> str:
    if value is None:
        return _ABSENT
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _end(found: Comparison) -> Iterator[str]:
    trends = [change.trend for change in found.rules]
    text = ", ".join(
        f"{counted(trends.count(trend), 'rule')} {word}"
        for trend, word in ((Trend.WORSE, "worse"), (Trend.BETTER, "better"), (Trend.OTHER, "with other changes"))
        if trend in trends
    )
    before, after = found.exit_codes
    codes = "" if before == after else f"exit code {before} -> {after}"
    parts = "; ".join(filter(None, (text, codes)))
    yield ("WORSE" if found.worse else "NOT WORSE") + f": {parts or 'all rules have the same verdict'}"
