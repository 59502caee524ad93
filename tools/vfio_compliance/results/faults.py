# SPDX-License-Identifier: GPL-2.0-only
"""The failed cases that a reader has to act on, by rule, and what a report says about each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ..rules import Rule
from .case import Case
from .events import Programs
from .failure import Failure
from .setting import KernelWarning, Waiver
from .summary import TROUBLE, Summary
from .verdict import Verdict

#: What the rules that judge the suite itself are called.
OF_THE_SUITE: Final = "the suite itself"

#: How many of the calls of a failing case are shown, and how many of a rule's other failing cases.
MOST_CALLS: Final = 12
MOST_CASES: Final = 8

#: The same numbers for a rule that depends on one that failed.
_DEPENDENT_CALLS: Final = 4
_DEPENDENT_CASES: Final = 2


class Entry(NamedTuple):
    """A line of a report, and the label before it."""

    label: str
    text: str
    #: Its lines are columns of a table, a command or a program's output, and stay as they are.
    kept: bool = False


class Fault(NamedTuple):
    """Cases of a rule with the same verdict."""

    rule: str
    verdict: Verdict
    cases: list[Case]
    #: The failed rules that this rule depends on.
    causes: list[str]

    @property
    def calls(self) -> int:
        """How many calls of its first case are shown: fewer if the cause is another fault."""
        return _DEPENDENT_CALLS if self.causes else MOST_CALLS

    @property
    def others(self) -> int:
        """How many of its other cases are shown."""
        return _DEPENDENT_CASES if self.causes else MOST_CASES


def faults(summary: Summary) -> list[Fault]:
    """The faults of a run; a rule comes before the rules that depend on it."""
    causes = {rule: summary.causes(rule) for rule in (*summary.device_verdicts, *summary.suite_verdicts)}
    by_rule = {
        rule: [
            Fault(rule, troubled, cases, causes[rule])
            for troubled in TROUBLE
            if (cases := [case for case in summary.cases_of(rule) if case.verdict is troubled])
        ]
        for rule in causes
    }
    roots = {rule: [cause for cause in causes[rule] if by_rule.get(cause)] for rule in by_rule}
    first = [rule for rule in by_rule if not roots[rule]]
    order = [rule for root in first for rule in (root, *(each for each in by_rule if roots[each][:1] == [root]))]
    order += [rule for rule in by_rule if rule not in order]  # rules that depend on each other: the journal is damaged
    return [fault for rule in order for fault in by_rule[rule]]


def numbers(found: Iterable[Fault]) -> dict[str, int]:
    """The number of the first fault of each failed rule; faults are numbered from 1."""
    made: dict[str, int] = {}
    for number, fault in enumerate(found, 1):
        made.setdefault(fault.rule, number)
    return made


def explained(rule: Rule) -> Iterator[Entry]:
    """What a rule says, and its source."""
    yield Entry("rule", rule.says)
    kind = f"{rule.level}, {rule.status}" if rule.blocking else f"{rule.level}, {rule.status}, does not block"
    yield Entry("clause", f"{', '.join(rule.clauses)} ({kind}), {rule.source}")


def seen(failure: Failure) -> Iterator[Entry]:
    """What was done, and the result."""
    yield from _path(failure.path)
    for label, text in (
        ("did", failure.what),
        ("expected", failure.expected),
        ("seen", failure.seen),
        ("also", failure.also or None),
        ("then", failure.then or None),
        ("server", failure.server or None),
        ("kernel", failure.kernel or None),
        ("remedy", failure.remedy or None),
        ("waiver", failure.waiver or None),
    ):
        if text is not None:
            yield Entry(label, text)
    for further in failure.further:
        yield Entry("moreover", str(further))
        yield from _path(further.path)
    if failure.traceback:
        yield Entry("", failure.traceback, kept=True)


def _path(path: str) -> Iterator[Entry]:
    """A table in columns of its own."""
    if path:
        yield Entry("path", path, kept=True)


def programs(summary: Summary, case: Case) -> Programs | None:
    """Programs that show the failure of a case, or of another one of its rule; None if the run did not ask for any."""
    return next((each.programs for each in (case, *summary.cases_of(case.rule)) if each.programs), None)


def unlike(case: Case, first: Case) -> str:
    """The name of a case, what was done unless it is the same as in ``first``, and what was seen."""
    what, observed = case.why.what, case.why.seen
    name = case.id.partition("[")[2].rstrip("]") or case.name
    did = what if what != first.why.what or not observed else ""
    return ": ".join(filter(None, ("" if did.startswith(name) else name, did, observed)))


def waiving(waiver: Waiver) -> Iterator[Entry]:
    """All that a waiver of a rule says."""
    limits = (("shows", waiver.shows), ("case", waiver.case), ("kernel", waiver.kernel), ("driver", waiver.driver))
    return _known(*_why_waived(waiver), *limits, *_last_of(waiver))


def waiving_warning(waiver: KernelWarning) -> Iterator[Entry]:
    """All that a waiver of a warning of the kernel says."""
    return _known(*_why_waived(waiver), ("kernel", waiver.kernel), *_last_of(waiver))


def _known(*pairs: tuple[str, str | None]) -> Iterator[Entry]:
    return (Entry(label, text) for label, text in pairs if text is not None)


def _why_waived(waiver: Waiver | KernelWarning) -> Iterator[tuple[str, str | None]]:
    yield "reason", waiver.reason
    yield "link", waiver.link
    yield "owner", waiver.owner
    yield "expires", f"after {waiver.expires}" if waiver.expires else None


def _last_of(waiver: Waiver | KernelWarning) -> Iterator[tuple[str, str | None]]:
    yield "sometimes", "it does not show in every run" if waiver.sometimes else None
    yield "from", waiver.where or None
