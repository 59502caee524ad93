# SPDX-License-Identifier: GPL-2.0-only
"""Runs side by side: the verdict on each rule in each run, to show differences between kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import NamedTuple

from ..common.words import counted, plural
from .summary import TROUBLE, Summary
from .verdict import Verdict

_ABSENT = "-"
_GAP = 2
#: The mark before a row in which runs differ.
_MARK = "! "


@dataclass(frozen=True)
class Column:
    """One run: its name and target, the verdict on each rule of the device, its answers to open questions."""

    #: The lines of the column's heading: the kernel, and what else distinguishes it from other runs of the target.
    name: tuple[str, ...]
    target: str
    verdicts: Mapping[str, Verdict]
    answers: Mapping[str, str]

    @property
    def title(self) -> str:
        """Its name in one line."""
        return " ".join(filter(None, self.name))


def column(kernel: str, summary: Summary) -> Column:
    """The column of a run that is named by its kernel alone."""
    answers = {question: ", ".join(sorted(seen)) for question, seen in summary.observed.items()}
    return Column((kernel,), summary.run.profile.name, summary.device_verdicts, answers)


def render(columns: Iterable[Column], width: int, *, whole: bool = False, what: str = "kernel") -> list[str]:
    """Lines for the terminal, none longer than ``width`` if one column fits into it.

    Rows with pass in every column are only counted, unless ``whole``. Rows in which the columns of a target differ come
    first. ``what``: the word for a column.
    """
    columns = by_target(columns)
    unlike, other, passing = ordered(columns)
    rules, shown = [*unlike, *other, *passing], [*other, *(passing if whole else ())]
    lines = []
    for part in _parts(columns, rules, width) if unlike or shown else ():
        lines += ["", *_head(part, rules)]
        lines += [_row(part, rule, rules, _MARK) for rule in unlike]
        lines += [_row(part, rule, rules, " " * len(_MARK)) for rule in shown]
    if passing:
        lines += ["", f"{counted(len(passing), 'rule')}: pass everywhere"]
    several = len({each.name for each in columns}) > 1
    if several and rules:
        differ = f"the {plural(what)} differ"
        marked = f"{counted(len(unlike), 'rule')}: {differ} (marked {_MARK.strip()})"
        lines.append(marked if unlike else f"no rule on which {differ}")
    return [*lines, *_silence(columns, what)]


def by_target(columns: Iterable[Column]) -> list[Column]:
    """The columns grouped by target, in the order of first appearance; the runs of a target stay in order."""
    given = list(columns)
    targets = list(dict.fromkeys(each.target for each in given))
    return sorted(given, key=lambda each: targets.index(each.target))


class Order(NamedTuple):
    """The rules of several runs."""

    #: The runs of one target differ on them.
    unlike: list[str]
    other: list[str]
    #: They pass everywhere.
    passing: list[str]


def ordered(columns: Sequence[Column]) -> Order:
    """The rules in the order in which they are shown."""
    rules = list(dict.fromkeys(rule for each in columns for rule in each.verdicts))
    unlike = [rule for rule in rules if _differ(columns, rule)]
    rest = [rule for rule in rules if rule not in unlike]
    passing = [rule for rule in rest if _passes(columns, rule)]
    return Order(unlike, [rule for rule in rest if rule not in passing], passing)


class Unlike(NamedTuple):
    """A question that the specification leaves open, and the answers of one target's runs, each with its runs."""

    target: str
    question: str
    answers: Mapping[str, Sequence[str]]


def unlike_answers(columns: Sequence[Column]) -> Iterator[Unlike]:
    """The questions on which runs of one target differ; the columns are grouped by target."""
    for target, group in groupby(columns, key=lambda each: each.target):
        same = list(group)
        for question in dict.fromkeys(question for each in same for question in each.answers):
            answers: dict[str, list[str]] = {}
            for each in same:
                answers.setdefault(each.answers.get(question, "not asked"), []).append(each.title)
            if len(answers) > 1:
                yield Unlike(target, question, answers)


def _differ(columns: Sequence[Column], rule: str) -> bool:
    seen: dict[str, set[Verdict | None]] = {}
    for each in columns:
        seen.setdefault(each.target, set()).add(each.verdicts.get(rule))
    return any(len(verdicts) > 1 for verdicts in seen.values())


def _passes(columns: Sequence[Column], rule: str) -> bool:
    return all(each.verdicts.get(rule, Verdict.PASS) is Verdict.PASS for each in columns)


# -- how it looks -----------------------------------------------------------------------------------------------------


def _parts(columns: Sequence[Column], rules: Sequence[str], width: int) -> Iterator[list[tuple[Column, int]]]:
    """The columns with their widths, as many at a time as fit beside the rules."""
    room, part = width - _label(rules), list[tuple[Column, int]]()
    for each, wide in zip(columns, _widths(columns), strict=True):
        if part and sum(taken for _, taken in part) + wide > room:
            yield part
            part = []
        part.append((each, wide))
    yield part


def _label(rules: Sequence[str]) -> int:
    return len(_MARK) + max(map(len, rules), default=0)


def _widths(columns: Sequence[Column]) -> Iterator[int]:
    """The width of each column, enough for any verdict and its name, and together for the name of the target."""
    verdict = max(len(verdict.value) for verdict in Verdict)
    for target, group in groupby(columns, key=lambda each: each.target):
        same = list(group)
        widest = max(verdict, *(len(line) for each in same for line in each.name)) + _GAP
        yield from [max(widest, -(-(len(target) + _GAP) // len(same)))] * len(same)


def _head(part: Sequence[tuple[Column, int]], rules: Sequence[str]) -> Iterator[str]:
    start = " " * _label(rules)
    targets = ((name, sum(wide for _, wide in group)) for name, group in groupby(part, key=lambda pair: pair[0].target))
    yield _line(start, targets)
    for lines in zip_longest(*(each.name for each, _ in part), fillvalue=""):
        if any(lines):
            yield _line(start, zip(lines, (wide for _, wide in part), strict=True))


def _row(part: Sequence[tuple[Column, int]], rule: str, rules: Sequence[str], mark: str) -> str:
    words = ((_word(each.verdicts.get(rule)), wide) for each, wide in part)
    return _line((mark + rule).ljust(_label(rules)), words)


def _line(start: str, cells: Iterable[tuple[str, int]]) -> str:
    return (start + "".join(" " * _GAP + word.ljust(wide - _GAP) for word, wide in cells)).rstrip()


def _word(verdict: Verdict | None) -> str:
    if verdict is None:
        return _ABSENT
    word: str = verdict.value
    return word.upper() if verdict in TROUBLE else word


def _silence(columns: Sequence[Column], what: str) -> Iterator[str]:
    """Where the specification is silent: what one target does differently from column to column."""
    for index, (target, question, answers) in enumerate(unlike_answers(columns)):
        if not index:
            yield from ("", f"Where the specification is silent, the {plural(what)} differ")
        yield f"  {target}: {question}"
        yield from (f"    {', '.join(names)}: {answer}" for answer, names in answers.items())
