# SPDX-License-Identifier: GPL-2.0-only
"""How often a case is run.

Within a rule a device is not reset before each case. What goes wrong on one that was left by an earlier case is tried
after a reset. What goes wrong there, too, counts. If it does not, and goes wrong once more without a reset, what an
earlier case leaves is to blame: that is another rule's matter, and is noted. If it does not go wrong a third time, it
comes and goes, and the first try counts. So nothing that was seen is passed over because a second try went well.
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
    #: The calls of those that were followed by another one, and the earlier calls that it stood on.
    calls: list[tuple[Calls, list[Span]]] = field(default_factory=list)
    #: Whether it went wrong by what the device did: no other reason goes away by a reset.
    device_blamed: bool = False
    #: The case is to be run once more.
    again: bool = False

    @property
    def verdicts(self) -> list[Verdict]:
        """How each of them ended."""
        return [gravest(phase.verdict for phase in phases) for phases in self.phases]

    @property
    def counts(self) -> int:
        """Which of them counts, as an index."""
        match self.verdicts:
            case [Verdict.FAIL, Verdict.NOT_RUN]:
                return 0
            case [_, _]:
                return 1
            case [_, _, last] if last not in GOOD:
                return 1
        return 0

    def over(self, phases: list[Phase], opened: Session, *, in_time: bool) -> bool:
        """One of them is over: whether there is to be another one; it begins where the session has the device then."""
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
        """The calls of the one that counts, now that all are over, and the earlier calls that it stands on.

        Of the others those from which something was made that is shared: it was not made again.
        """
        tries = [*self.calls, (tracer.take(), tracer.spans)]
        calls, spans = tries.pop(self.counts)
        kept = [call for others, _ in tries for call in others.records if _is_of(tracer.sources, call["serial"])]
        if kept:
            calls = Calls(sorted([*kept, *calls.records], key=itemgetter("serial")))
        return calls, spans

    @property
    def blames_another(self) -> bool:
        """Whether it goes wrong only where an earlier case has left something."""
        return len(self.phases) == 3 and self.counts == 1


def _is_of(spans: Iterable[Span], serial: int) -> bool:
    return any(span.first <= serial <= span.last for span in spans)


#: Those of a case.
TRIES: pytest.StashKey[Tries] = pytest.StashKey()
