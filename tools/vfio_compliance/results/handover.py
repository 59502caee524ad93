# SPDX-License-Identifier: GPL-2.0-only
"""What one test process leaves to the next if it ended before it had run every case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Handover(NamedTuple):
    """The progress of a run when a new test process continues it."""

    #: Number of the new process, counted from 1.
    number: int
    #: Why it is needed, in words.
    why: str
    #: Cases that are not run again.
    done: frozenset[str]
    #: How many cases of each rule hung or ended their process.
    cut: dict[str, int]
    #: The way to reach the device that is tried first, counted from 0.
    way: int
    #: Seconds since the first process of this round began.
    seconds: float
    #: The round of the run, counted from 1.
    round: int = 1

    def write(self, path: Path) -> None:
        """Raises OSError."""
        path.write_text(json.dumps(self._replace(done=sorted(self.done))._asdict()), encoding="utf-8")  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Handover:
        """Raises OSError, ValueError."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**fields, "done": frozenset(fields["done"])})
