# SPDX-License-Identifier: GPL-2.0-only
"""What a resuming client gave, against what a saving client got (kabi v23, lines 239-241)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from ...common.words import counted
from .ledger import Ledger
from .stream import Stream, Transaction

UNKNOWN = "the content of buffers is not in the trace, or was moved in different pieces: order and content not judged"


class Comparison:
    """Judges RSM-05 (order), RSM-06 (sizes) and RSM-07 (content), buffer by buffer as they are given."""

    def __init__(self, ledger: Ledger, source: Stream) -> None:
        self._ledger = ledger
        self._source = source.buffers
        self._places: defaultdict[tuple[int, bytes, bytes], list[int]] = defaultdict(list)
        for place, buffer in enumerate(self._source):
            if buffer.key:
                self._places[buffer.key].append(place)
        self._due = 0
        self._given = 0
        #: Buffers that were passed over; that they come later is no new offence.
        self._late: set[int] = set()
        #: Bytes given beyond (below 0: short of) whole buffers of the source, while sizes differ; else None.
        self._balance: int | None = None

    def take(self, buffer: Transaction) -> None:
        """The next buffer that was given to the device."""
        self._given += 1
        place = self._find(buffer)
        if self._balance is not None:
            if place is None or place < self._due - 1:
                self._align(self._balance + buffer.size)
                return
            # From here on it is as it was at the source again.
            self._due, self._balance = place, None
        if self._due < len(self._source):
            due = self._source[self._due]
            same = buffer.same(due)
            if buffer.size == due.size and same is not False:
                self._matches(same)
            elif place is not None:
                self._out_of_order(place)
            elif buffer.size == due.size:
                self._changed(buffer)
            else:
                self._resized(buffer, due)
        elif place is not None:
            self._out_of_order(place)
        else:
            self._ledger.offend(
                "RSM-05",
                f"no more than the {counted(len(self._source), 'buffer')} of the source",
                f"a buffer of {counted(buffer.size, 'byte')} was given after all of them",
            )

    def end(self) -> None:
        """The device was set running: all must have been given."""
        if self._given and self._balance is None and self._due < len(self._source):
            self._ledger.offend(
                "RSM-05",
                f"all {counted(len(self._source), 'buffer')} of the source, in their order",
                f"the device was set running without the last {len(self._source) - self._due}",
            )

    def _find(self, buffer: Transaction) -> int | None:
        """Which buffer of the source this is: the next one due with this content, else the last before."""
        places = self._places.get(buffer.key) if buffer.key else None
        if not places:
            return None
        return places[min(bisect_left(places, self._due), len(places) - 1)]

    def _matches(self, same: bool | None) -> None:
        self._due += 1
        self._ledger.keep("RSM-06")
        if same:
            self._ledger.keep("RSM-05")
            self._ledger.keep("RSM-07")
        else:
            self._ledger.remark(UNKNOWN)

    def _out_of_order(self, place: int) -> None:
        if place in self._late:
            self._late.discard(place)
            return
        if self._due < len(self._source):
            expected = f"buffer {self._due + 1} of the source"
        else:
            expected = f"nothing after the {counted(len(self._source), 'buffer')} of the source"
        again = " again" if place < self._due else ""
        self._ledger.offend("RSM-05", expected, f"buffer {place + 1} of the source was given{again}")
        if place > self._due:
            self._late.update(range(self._due, place))
        self._due = max(self._due, place + 1)

    def _changed(self, buffer: Transaction) -> None:
        self._ledger.keep("RSM-06")
        self._ledger.offend(
            "RSM-07",
            f"the {counted(buffer.size, 'byte')} of buffer {self._due + 1} as they were read at the source",
            "other bytes were written",
        )
        self._due += 1

    def _resized(self, buffer: Transaction, due: Transaction) -> None:
        self._ledger.offend(
            "RSM-06",
            f"{counted(due.size, 'byte')}, the size of buffer {self._due + 1} of the source",
            f"{counted(buffer.size, 'byte')} given",
        )
        self._due += 1
        self._align(buffer.size - due.size)

    def _align(self, balance: int) -> None:
        """Pass over the buffers of the source that were given in other sizes."""
        while balance > 0 and self._due < len(self._source):
            balance -= self._source[self._due].size
            self._due += 1
        self._balance = balance or None
