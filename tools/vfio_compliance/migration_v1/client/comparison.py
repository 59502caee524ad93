# SPDX-License-Identifier: GPL-2.0-only
"""What a resuming client wrote, compared with everything that a saving client read (kabi v23, lines 239-241).

Which of the saved states it writes is the client's choice. Every candidate is followed until only one fits what is
written; what fits none is an offence. What is written need not have been saved in the same trace: a state may come from
elsewhere. It counts against the client if that is known not to be so, if a buffer of it was saved here, or if it has as
many bytes as were saved last.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from ...common.words import counted
from ...run.ledger import Ledger
from .history import ELSEWHERE, UNSEEN, Chain, History
from .stream import Transaction

UNKNOWN = "the content of buffers is not in the trace, or was moved in different pieces"

#: Offences that may turn out not to be offences.
_MOST_HELD = 64

GIVING = ("RSM-05", "RSM-06", "RSM-07")


class Comparison:
    """Judges RSM-05 (order), RSM-06 (sizes) and RSM-07 (content), buffer by buffer as they are written."""

    def __init__(self, ledger: Ledger, history: History, sure: bool) -> None:
        """``sure``: it is known that a state of this history is written."""
        self._ledger = ledger
        self._history = history
        self._chains = history.chains()
        self._candidates = [_Candidate(chain, start) for chain in self._chains for start in chain.starts[::-1]]
        self._doubt = history.doubt or ("" if self._candidates else ELSEWHERE)
        self._sure = sure
        #: What is an offence if a state of this history is written, with the number of the access.
        self._held: list[tuple[int, _Outcome]] = []
        self._given = self._bytes = 0

    def take(self, buffer: Transaction) -> None:
        """The next buffer that was written to the device."""
        self._given += 1
        self._bytes += buffer.size
        if not self._sure and buffer.key and any(buffer.key in chain.places for chain in self._chains):
            self._release()
        outcomes = [(candidate, candidate.take(buffer)) for candidate in self._candidates]
        fitting = [(candidate, outcome) for candidate, outcome in outcomes if not outcome.clause]
        if fitting:
            self._candidates = [candidate for candidate, _ in fitting]
            _, best = max(fitting, key=lambda each: len(each[1].kept))
        elif self._doubt:
            self.lose(self._doubt)
            return
        else:
            # If the size is the same, it is that buffer with different bytes.
            chosen, best = max(outcomes, key=lambda each: len(each[1].kept))
            self._candidates = [chosen]
            if best.clause != "RSM-05" and any(buffer.key in chain.places for chain in self._chains):
                best = chosen.foreign(buffer)
        if best.clause and not self._sure:
            if len(self._held) < _MOST_HELD:
                self._held.append((self._ledger.number, best))
            return
        self._decide(self._ledger.number, best)

    def _decide(self, number: int, outcome: _Outcome) -> None:
        for clause in outcome.kept:
            self._ledger.keep(clause)
        if outcome.why:
            self._ledger.undecided(outcome.why, *(clause for clause in GIVING if clause not in outcome.kept))
        if outcome.clause and outcome.seen:
            self._ledger.offend(outcome.clause, outcome.expected, outcome.seen, at=number)

    def _release(self) -> None:
        """It is a state of this history."""
        self._sure = True
        for number, outcome in self._held:
            self._decide(number, outcome)
        self._held = []

    def lose(self, why: str) -> None:
        """What is written from here on cannot be compared."""
        self._ledger.undecided(why, *GIVING)
        self._candidates, self._held = [], []
        self._doubt = why

    def end(self, running: bool) -> None:
        """Resuming was left; if the device was set to ``running``, everything must have been written."""
        if self._held and self._history.complete and self._bytes == self._history.bytes:
            self._release()
        elif self._held:
            self._ledger.undecided(ELSEWHERE, *GIVING)
            return
        if running:
            self._all_given()

    def _all_given(self) -> None:
        if not self._given and not self._history.complete:
            return  # the last attempt to save was abandoned, and so was this
        missing = [candidate for candidate in self._candidates if candidate.missing]
        if not self._candidates or len(missing) < len(self._candidates):
            return
        if self._doubt or not self._sure:
            self._ledger.undecided(self._doubt or ELSEWHERE, "RSM-05")
            return
        candidate = missing[0]
        last = f"the last {candidate.missing}" if self._given else f"any of the {candidate.missing} that were saved"
        self._ledger.offend(
            "RSM-05",
            f"all {counted(candidate.count, 'buffer')} of the source, in their order",
            f"the device was set running without {last}",
        )


class _Outcome(NamedTuple):
    """The result of one buffer for a candidate."""

    kept: tuple[str, ...] = ()
    #: Why not all three clauses can be judged.
    why: str = ""
    #: The clause that it breaks. Without ``seen``, it was already reported.
    clause: str = ""
    expected: str = ""
    seen: str = ""


class _Candidate:
    """A saved state, from one of its sessions on, as what the client may be writing."""

    def __init__(self, chain: Chain, start: int) -> None:
        self._chain = chain
        self._source = chain.buffers
        self._start = self._due = start
        #: Buffers that were passed over; their coming later is not a new offence.
        self._late: set[int] = set()
        #: Bytes written beyond (below 0: short of) whole buffers of the source, while sizes differ; else None.
        self._balance: int | None = None

    @property
    def count(self) -> int:
        """How many buffers it has."""
        return len(self._source) - self._start

    @property
    def missing(self) -> int:
        """How many buffers of a complete state have not been written."""
        if not self._chain.complete or self._lost or self._balance is not None:
            return 0
        done = any(start >= self._start and end == self._due for start, end in self._chain.whole)
        return 0 if done else len(self._source) - self._due

    @property
    def _lost(self) -> bool:
        return self._chain.known is not None and self._due >= self._chain.known

    def take(self, buffer: Transaction) -> _Outcome:
        """The next buffer that was written."""
        if self._lost:
            return _Outcome(why=UNSEEN)
        place = self._find(buffer)
        if self._balance is not None:
            if place is None or place < self._due - 1:
                self._align(self._balance + buffer.size)
                return _Outcome()
            # From here on, it again matches the source.
            self._due, self._balance = place, None
        if self._due < len(self._source):
            due = self._source[self._due]
            same = buffer.same(due)
            if buffer.size == due.size and same is not False:
                self._due += 1
                return _Outcome(GIVING) if same else _Outcome(("RSM-06",), UNKNOWN)
            if place is not None:
                return self._out_of_order(place)
            if buffer.size == due.size:
                return self._changed(buffer)
            return self._resized(buffer, due)
        if place is not None:
            return self._out_of_order(place)
        return _Outcome(
            clause="RSM-05",
            expected=f"no more than the {self._counted()} of the source",
            seen=f"a buffer of {counted(buffer.size, 'byte')} was given after all of them",
        )

    def foreign(self, buffer: Transaction) -> _Outcome:
        """A buffer that seemed to differ in content or size belongs to another state."""
        return _Outcome(
            clause="RSM-05",
            expected=f"the {self._counted()} of one saved state, in their order",
            seen=f"a buffer of {counted(buffer.size, 'byte')} that was saved as part of another one",
        )

    def _counted(self) -> str:
        return counted(self.count, "buffer")

    def _find(self, buffer: Transaction) -> int | None:
        """Which buffer of the source this is: the next one due with this content, else the last before."""
        places = self._chain.places.get(buffer.key) if buffer.key else None
        if not places:
            return None
        place = places[min(bisect_left(places, self._due), len(places) - 1)]
        return place if place >= self._start else None

    def _out_of_order(self, place: int) -> _Outcome:
        if place in self._late:
            self._late.discard(place)
            return _Outcome(clause="RSM-05")
        if self._due < len(self._source):
            expected = f"buffer {self._due - self._start + 1} of the source"
        else:
            expected = f"nothing after the {self._counted()} of the source"
        again = " again" if place < self._due else ""
        if place > self._due:
            self._late.update(range(self._due, place))
        self._due = max(self._due, place + 1)
        seen = f"buffer {place - self._start + 1} of the source was given{again}"
        return _Outcome(clause="RSM-05", expected=expected, seen=seen)

    def _changed(self, buffer: Transaction) -> _Outcome:
        self._due += 1
        size, number = counted(buffer.size, "byte"), self._due - self._start
        expected = f"the {size} of buffer {number} as they were read at the source"
        return _Outcome(("RSM-06",), "", "RSM-07", expected, "other bytes were written")

    def _resized(self, buffer: Transaction, due: Transaction) -> _Outcome:
        number = self._due - self._start + 1
        self._due += 1
        self._align(buffer.size - due.size)
        return _Outcome(
            clause="RSM-06",
            expected=f"{counted(due.size, 'byte')}, the size of buffer {number} of the source",
            seen=f"{counted(buffer.size, 'byte')} given",
        )

    def _align(self, balance: int) -> None:
        """Pass over the buffers of the source that were written in other sizes."""
        while balance > 0 and self._due < len(self._source):
            balance -= self._source[self._due].size
            self._due += 1
        self._balance = balance or None
