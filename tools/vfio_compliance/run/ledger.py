# SPDX-License-Identifier: GPL-2.0-only
"""A judge's findings: how often each clause was kept, each time that it was not, and what was unclear."""

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
    """Shared by all parts of a judge."""

    def __init__(self) -> None:
        #: How many times each clause applied and was kept.
        self.kept: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        #: For each clause, why it is unclear whether it was kept, and how many times.
        self.unclear: defaultdict[str, Counter[str]] = defaultdict(Counter)
        #: What a reader should know, without blaming the client, and how many times.
        self.remarks: Counter[str] = Counter()
        #: Offences that have not been fetched yet.
        self.found: list[Offence] = []
        #: Number of the access that is being judged.
        self.number = 0

    def keep(self, clause: str) -> None:
        """The clause applied, and was kept."""
        self.kept[clause] += 1

    def offend(self, clause: str, expected: str, seen: str, *, after_all: bool = False, at: int | None = None) -> None:
        """The clause was broken, ``at`` an access or the present one; ``after_all``: take back keep()."""
        if after_all:
            self.kept[clause] -= 1
        self.broken[clause] += 1
        self.found.append(Offence(clause, self.number if at is None else at, expected, seen))

    def undecided(self, why: str, *clauses: str) -> None:
        """The clauses applied, but the trace does not show whether they were kept."""
        for clause in clauses:
            self.unclear[clause][why] += 1

    def remark(self, text: str) -> None:
        """Something that a reader should know."""
        self.remarks[text] += 1

    def fetch(self) -> list[Offence]:
        """The offences found since the last time."""
        found, self.found = self.found, []
        return found
