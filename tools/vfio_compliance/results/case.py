# SPDX-License-Identifier: GPL-2.0-only
"""One case of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..common.calls import Call, Span
from .events import Death
from .failure import Failure
from .verdict import Verdict

_COUNTS_ALWAYS = (Verdict.HANG, Verdict.KERNEL, Verdict.BROKEN)


@dataclass
class Case:
    """One parametrised case of a rule's test."""

    id: str
    rule: str
    verdict: Verdict = Verdict.NOT_RUN
    seconds: float = 0.0
    #: Why it did not pass; None where it did, and where nothing is known of it.
    failure: Failure | None = None
    calls: tuple[Call, ...] = ()
    #: Running number of the call that shows the failure; 0 where there is none.
    failed_call: int = 0
    #: Calls of other cases that it was judged from.
    stands_on: tuple[Span, ...] = ()
    #: What the kernel logged meanwhile that shows a fault in it.
    kernel_log: list[str] = field(default_factory=list)
    #: The ends of servers meanwhile.
    deaths: list[Death] = field(default_factory=list)
    #: Whether its end is recorded: its own, or that of its test process.
    over: bool = False

    @property
    def why(self) -> Failure:
        """Why it did not pass."""
        return self.failure or Failure("the run ended before")

    @property
    def name(self) -> str:
        """Without its folders."""
        return self.id.rpartition("/")[2]

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
    def counts_always(self) -> bool:
        """Whether it counts though its rule does not block: that is no matter of rules."""
        return self.verdict in _COUNTS_ALWAYS or (self.verdict is Verdict.FAIL and bool(self.deaths))
