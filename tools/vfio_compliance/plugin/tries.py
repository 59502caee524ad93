# SPDX-License-Identifier: GPL-2.0-only
"""How often a case is run.

Within a rule, the device is not reset before each case. A case that fails on a device left by an earlier case is tried
again after a reset. If it fails then as well, that counts. If it does not, but fails once more without a reset, what
an earlier case left is to blame: that is judged by another rule, and is noted. If it does not fail the third time, it
is intermittent, and the first try counts. So no failure is passed over because a second try succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter

import pytest

from ..common.calls import Calls, Span
from ..results.verdict import Verdict, gravest
from ..run.session import Session
from ..transport import Tracer
from .stash import Phase

#: Verdicts of a case in which nothing went wrong.
GOOD = (Verdict.PASS, Verdict.NOT_APPLICABLE)


@dataclass
class Tries:
    """The tries of one case."""

    #: The phases of each.
    phases: list[list[Phase]] = field(default_factory=list)
    #: The calls of each try that was followed by another, and the earlier calls that it stood on.
    calls: list[tuple[Calls, list[Span]]] = field(default_factory=list)
    #: Whether the device caused the failure: no other cause goes away with a reset.
    device_blamed: bool = False
    #: The case must be run once more.
    again: bool = False

    @property
    def verdicts(self) -> list[Verdict]:
        """How each try ended."""
        return [gravest(phase.verdict for phase in phases) for phases in self.phases]

    @property
    def counts(self) -> int:
        """Which try counts, as an index."""
        match self.verdicts:
            case [Verdict.FAIL, Verdict.NOT_RUN]:
                return 0
            case [_, _]:
                return 1
            case [_, _, last] if last not in GOOD:
                return 1
        return 0

    def over(self, phases: list[Phase], opened: Session, *, in_time: bool) -> bool:
        """A try is over; whether there must be another one, which begins with the device as the session then has it."""
        self.phases.append(phases)
        verdicts = self.verdicts
        if len(verdicts) == 1:
            wrong = verdicts[0] in (Verdict.FAIL, Verdict.NOT_RUN) and self.device_blamed
            self.again = wrong and in_time and opened.left_over and not opened.lost
            if self.again:
                opened.start_over()
        elif len(verdicts) == 2:
            self.again = verdicts[0] is Verdict.FAIL and verdicts[1] in GOOD
        return self.again

    def take(self, tracer: Tracer) -> tuple[Calls, list[Span]]:
        """The calls of the try that counts, now that all are over, and the earlier calls that it depends on.

        Calls of the other tries are included if they made something that is shared, as it was not made again.
        """
        tries = [*self.calls, (tracer.take(), tracer.spans)]
        calls, spans = tries.pop(self.counts)
        kept = [call for others, _ in tries for call in others.records if _is_of(tracer.sources, call["serial"])]
        if kept:
            calls = Calls(sorted([*kept, *calls.records], key=itemgetter("serial")))
        return calls, spans

    @property
    def blames_another(self) -> bool:
        """Whether it fails only after an earlier case has left something behind."""
        return len(self.phases) == 3 and self.counts == 1


def _is_of(spans: Iterable[Span], serial: int) -> bool:
    return any(span.first <= serial <= span.last for span in spans)


#: The tries of a case.
TRIES: pytest.StashKey[Tries] = pytest.StashKey()
