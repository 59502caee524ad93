# SPDX-License-Identifier: GPL-2.0-only
"""The outcome for one kernel and for all, and the table that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vfio_compliance.results.verdict import EXIT_OK, worst_exit

from ..common.words import columns, counted

STAGES = ("fetch", "unpack", "build", "boot", "run")


@dataclass
class Outcome:
    """One kernel: seconds per stage, each command's exit code, and what its log showed.

    ``ending`` is empty for a guest that ended by itself, else says how it ended; ``log`` is None if the
    log could not be read.
    """

    label: str
    release: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)
    log: list[str] | None = None
    ending: str = ""
    code: int = EXIT_OK

    def add(self, code: int) -> None:
        """Makes the outcome at least as bad as an exit code."""
        self.code = worst_exit([self.code, code])


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines for the terminal: a row per kernel."""
    rows = [["kernel", "release", *STAGES, "exit", "kernel log"]]
    for o in outcomes:
        times = [f"{o.seconds[s]:.1f} s" if s in o.seconds else "-" for s in STAGES]
        exits = ",".join(map(str, o.exits)) or "-"
        rows.append([o.label, o.release or "-", *times, exits, _log_cell(o)])
    return columns(rows, right=range(2, 2 + len(STAGES)))


def _log_cell(outcome: Outcome) -> str:
    if outcome.ending:
        return outcome.ending
    if outcome.log is None:
        return "-"
    return counted(len(outcome.log), "finding") if outcome.log else "clean"
