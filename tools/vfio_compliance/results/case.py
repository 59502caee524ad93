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


#: Why there is no verdict on a case that was never run.
ENDED: Final = "the run ended before"

#: So many earlier cases are named in a command that runs a failing case after them.
NAMED: Final = 4

#: Verdicts of a case that is run once more which show its failure again, or something graver.
_SHOWS = (Verdict.FAIL, Verdict.WAIVED, Verdict.KERNEL, Verdict.HANG)


def shows(verdict: Verdict) -> bool:
    """Whether a case that failed and was run once more came out so that it can be called failing."""
    return verdict in _SHOWS


def key(case: str, number: int) -> str:
    """The name that tells a case from the same one in another round."""
    return case if number == 1 else f"{case} (round {number})"


@dataclass
class Case:
    """One parametrised case of a rule's test."""

    id: str
    rule: str
    #: Which time it is that the run runs it, from 1.
    round: int = 1
    verdict: Verdict = Verdict.NOT_RUN
    seconds: float = 0.0
    #: Why it did not pass; None where it did, and where nothing is known of it.
    failure: Failure | None = None
    calls: Sequence[Call] = ()
    #: Running number of the call that shows the failure; 0 where there is none.
    failed_call: int = 0
    #: Calls of other cases that it was judged from.
    stands_on: tuple[Span, ...] = ()
    #: What the kernel logged meanwhile that shows a fault in it.
    kernel_log: list[str] = field(default_factory=list)
    #: The ends of servers meanwhile.
    deaths: list[Death] = field(default_factory=list)
    #: Whether what it did came from the seed of the run.
    seeded: bool = False
    #: How often the whole state of a device was saved.
    passes: int = 0
    #: What its calls amount to.
    totals: Totals = field(default_factory=Totals)
    measures: Measures = field(default_factory=Measures)
    #: What came of it when it was run once more.
    reruns: list[Rerun] = field(default_factory=list)
    #: The programs that show its failure again; None where nobody asked for them.
    programs: Programs | None = None
    #: Whether its end is recorded: its own, or that of its test process.
    over: bool = False

    @property
    def key(self) -> str:
        """What tells it from all others of the run, the same one in another round too."""
        return key(self.id, self.round)

    @property
    def why(self) -> Failure:
        """Why it did not pass."""
        return self.failure or Failure(ENDED)

    @property
    def name(self) -> str:
        """Without its folders."""
        return key(self.id.rpartition("/")[2], self.round)

    @property
    def broke(self) -> bool:
        """Whether the rule was seen to be broken, by a waiver or not; an expired one has not excused it."""
        broken = self.verdict in (Verdict.FAIL, Verdict.KERNEL, Verdict.WAIVED)
        return broken or (self.verdict is Verdict.STALE and not self.needless)

    @property
    def needless(self) -> bool:
        """Whether it is stale because its rule held, so that the waiver is not needed; not because that has expired."""
        return self.verdict is Verdict.STALE and not self.why.waiver

    @property
    def passes_alone(self) -> bool:
        """Whether it failed, and did not fail again when it was run alone."""
        return any(not rerun.after and not shows(rerun.verdict) for rerun in self.reruns)

    @property
    def needs(self) -> tuple[str, ...]:
        """The fewest earlier cases after which it was seen to fail again, where it passes alone; none if not known."""
        found = [rerun.after for rerun in self.reruns if rerun.after and shows(rerun.verdict)]
        return min(found, key=len) if found and self.passes_alone else ()

    @property
    def counts_always(self) -> bool:
        """Whether it counts though its rule does not block: that is no matter of rules."""
        return self.verdict in _COUNTS_ALWAYS or (self.verdict is Verdict.FAIL and bool(self.deaths))
