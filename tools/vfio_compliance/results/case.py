# SPDX-License-Identifier: GPL-2.0-only
"""One case of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ..common.calls import Call, Span
from .events import Death, Programs, Rerun
from .failure import Failure
from .flows import Measures
from .totals import Totals
from .verdict import Verdict

_COUNTS_ALWAYS = (Verdict.HANG, Verdict.KERNEL, Verdict.BROKEN)


#: The reason why a case that was never run has no verdict.
ENDED: Final = "the run ended before"

#: How many earlier cases a command names that runs a failing case after them.
NAMED: Final = 4

#: Verdicts of a rerun case that show its failure again, or something graver.
_SHOWS = (Verdict.FAIL, Verdict.WAIVED, Verdict.KERNEL, Verdict.HANG)


def shows(verdict: Verdict) -> bool:
    """Whether the rerun of a case that failed shows the failure."""
    return verdict in _SHOWS


def key(case: str, number: int) -> str:
    """A name that distinguishes a case from the same case in another round."""
    return case if number == 1 else f"{case} (round {number})"


@dataclass
class Case:
    """One parametrised case of a rule's test."""

    id: str
    rule: str
    #: The round of the run, counted from 1.
    round: int = 1
    verdict: Verdict = Verdict.NOT_RUN
    seconds: float = 0.0
    #: Why it did not pass; None if it did, or if that is unknown.
    failure: Failure | None = None
    calls: Sequence[Call] = ()
    #: Running number of the call that shows the failure; 0 without one.
    failed_call: int = 0
    #: Calls of other cases that its verdict is based on.
    stands_on: tuple[Span, ...] = ()
    #: Lines that the kernel logged during the case and that show a fault in it.
    kernel_log: list[str] = field(default_factory=list)
    #: The ends of servers during the case.
    deaths: list[Death] = field(default_factory=list)
    #: Whether what it did depends on the seed of the run.
    seeded: bool = False
    #: How often the whole state of a device was saved.
    passes: int = 0
    #: The time and bytes of its calls.
    totals: Totals = field(default_factory=Totals)
    measures: Measures = field(default_factory=Measures)
    #: The outcome of its rerun.
    reruns: list[Rerun] = field(default_factory=list)
    #: The programs that show its failure again; None if none were asked for.
    programs: Programs | None = None
    #: Whether its end, or that of its test process, is recorded.
    over: bool = False

    @property
    def key(self) -> str:
        """A name unlike that of any other case of the run, including the same case in another round."""
        return key(self.id, self.round)

    @property
    def why(self) -> Failure:
        """Why it did not pass."""
        return self.failure or Failure(ENDED)

    @property
    def name(self) -> str:
        """The name without its folders."""
        return key(self.id.rpartition("/")[2], self.round)

    @property
    def broke(self) -> bool:
        """Whether the rule was seen to be broken, waived or not; an expired waiver does not excuse it."""
        broken = self.verdict in (Verdict.FAIL, Verdict.KERNEL, Verdict.WAIVED)
        return broken or (self.verdict is Verdict.STALE and not self.needless)

    @property
    def needless(self) -> bool:
        """Whether it is stale because its rule held and the waiver is not needed, not because the waiver expired."""
        return self.verdict is Verdict.STALE and not self.why.waiver

    @property
    def passes_alone(self) -> bool:
        """Whether it failed, and did not fail again when it was run alone."""
        return any(not rerun.after and not shows(rerun.verdict) for rerun in self.reruns)

    @property
    def needs(self) -> tuple[str, ...]:
        """The fewest earlier cases after which it failed again, if it passes alone; none if unknown."""
        found = [rerun.after for rerun in self.reruns if rerun.after and shows(rerun.verdict)]
        return min(found, key=len) if found and self.passes_alone else ()

    @property
    def counts_always(self) -> bool:
        """Whether it counts although its rule does not block: its verdict is not about the rule."""
        return self.verdict in _COUNTS_ALWAYS or (self.verdict is Verdict.FAIL and bool(self.deaths))
