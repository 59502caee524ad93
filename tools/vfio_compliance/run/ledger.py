# SPDX-License-Identifier: GPL-2.0-only
"""What a judge has found: how often each clause was kept, each time that it was not, and what could not be told."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple


class Offence(NamedTuple):
    """A clause that the client broke, at the access with this number."""

    clause: str
    access: int
    expected: str
    #: A sentence.
    seen: str


class Ledger:
    """Kept by all parts of a judge together."""

    def __init__(self) -> None:
        #: How often each clause was put to the test and kept.
        self.kept: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        #: Of each clause why it could not be told whether it was kept, with how often.
        self.unclear: defaultdict[str, Counter[str]] = defaultdict(Counter)
        #: What a reader should know, and holds nothing against the client, with how often.
        self.remarks: Counter[str] = Counter()
        #: Offences that nobody has fetched yet.
        self.found: list[Offence] = []
        #: Number of the access that is being judged.
        self.number = 0

    def keep(self, clause: str) -> None:
        """The clause was put to the test, and it held so far."""
        self.kept[clause] += 1

    def offend(self, clause: str, expected: str, seen: str, *, after_all: bool = False, at: int | None = None) -> None:
        """The clause was broken, ``at`` an access or the present one; ``after_all``: take back keep()."""
        if after_all:
            self.kept[clause] -= 1
        self.broken[clause] += 1
        self.found.append(Offence(clause, self.number if at is None else at, expected, seen))

    def untold(self, why: str, *clauses: str) -> None:
        """The clauses were put to the test, and the trace does not show how it ended."""
        for clause in clauses:
            self.unclear[clause][why] += 1

    def remark(self, text: str) -> None:
        """Something that a reader should know."""
        self.remarks[text] += 1

    def fetch(self) -> list[Offence]:
        """The offences found since the last time."""
        found, self.found = self.found, []
        return found
