# SPDX-License-Identifier: GPL-2.0-only
"""What a judge has found: how often each clause was kept, and each time that it was not."""

from __future__ import annotations

from collections import Counter

from ...run.client import Offence


class Ledger:
    """Kept by all parts of a judge together."""

    def __init__(self) -> None:
        #: How often each clause was put to the test and kept.
        self.kept: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        #: What could not be judged, and why, with how often.
        self.remarks: Counter[str] = Counter()
        #: Offences that nobody has fetched yet.
        self.found: list[Offence] = []
        #: Number of the access that is being judged.
        self.number = 0

    def keep(self, clause: str) -> None:
        """The clause was put to the test, and it held so far."""
        self.kept[clause] += 1

    def offend(self, clause: str, expected: str, seen: str, *, after_all: bool = False) -> None:
        """The clause was broken; ``after_all`` takes back a keep() of it."""
        if after_all:
            self.kept[clause] -= 1
        self.broken[clause] += 1
        self.found.append(Offence(clause, self.number, expected, seen))

    def remark(self, text: str) -> None:
        """Something could not be judged."""
        self.remarks[text] += 1
