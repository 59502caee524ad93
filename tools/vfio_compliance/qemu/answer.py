# SPDX-License-Identifier: GPL-2.0-only
"""The results of QEMU's flows, and what follows from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from ..results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_HANG, EXIT_NOTHING, EXIT_OK
from .conduct import Conduct
from .machine import Numbers


class Outcome(Enum):
    """How a flow ended; the value is its word in qemu.json."""

    COMPLETED = "completed"
    #: QEMU reports success, but something is wrong.
    LOST = "state-lost"
    STILL = "stands-still"
    EARLY = "runs-early"
    FAILED = "failed"
    ABORTED = "aborted"
    HUNG = "hung"
    UNTRIED = "not-tried"


#: In words; details follow them.
SAYS = {
    Outcome.COMPLETED: "QEMU completes",
    Outcome.LOST: "QEMU completes, but the device's state is lost",
    Outcome.STILL: "QEMU sees no error, but the device does not run",
    Outcome.EARLY: "QEMU sees no error, but the device runs before its guest does",
    Outcome.FAILED: "QEMU fails",
    Outcome.ABORTED: "QEMU aborts",
    Outcome.HUNG: "QEMU hangs",
    Outcome.UNTRIED: "could not be tried",
}

#: The words for the expected state, on the target and on the source.
ARRIVED, KEPT = SEEN = ("arrives", "is kept")

_BAD = {Outcome.LOST, Outcome.STILL, Outcome.EARLY, Outcome.FAILED, Outcome.ABORTED}


@dataclass
class Answer:
    """One flow."""

    flow: str
    outcome: Outcome = Outcome.COMPLETED
    #: More about the outcome: what QEMU said, what was seen of the device.
    why: str = ""
    #: What was seen of the state: one of SEEN, or why it was not looked at; empty if the flow did not get that far.
    state: str = ""
    #: Whether the profile does not say how the state is seen: then a completed migration does not prove enough.
    silent: bool = False
    numbers: Numbers = field(default_factory=Numbers)


@dataclass
class Findings:
    """Everything that a call found."""

    device: str
    target: str
    kernel: str
    program: str = ""
    version: str = ""
    machine: str = ""
    #: Why nothing could be tried; whether that is because it is not applicable here.
    why: str = ""
    not_applicable: bool = False
    hung: bool = False
    answers: list[Answer] = field(default_factory=list)
    #: What the QEMUs printed, each line once.
    messages: list[str] = field(default_factory=list)
    #: How the QEMUs were recorded, and why strace was not used.
    recorded: str = ""
    no_strace: str = ""
    #: How each of them kept the clauses of a client. The verdict on the device does not depend on that.
    conduct: list[Conduct] = field(default_factory=list)

    @property
    def works(self) -> bool | None:
        """Whether the device works with this QEMU; None if unknown."""
        if any(answer.outcome in _BAD for answer in self.answers):
            return False
        good = self.answers and all(
            answer.outcome is Outcome.COMPLETED and not answer.silent for answer in self.answers
        )
        return True if good else None

    @property
    def exit_code(self) -> int:
        """As of a run: 0 works, 1 does not, 2 could not be tried, 3 hung, 4 not applicable."""
        if self.not_applicable:
            return EXIT_NOTHING
        if self.works is not None:
            return EXIT_OK if self.works else EXIT_FAIL
        return EXIT_HANG if self.hung or has(self.answers, Outcome.HUNG) else EXIT_BROKEN


def has(answers: Sequence[Answer], outcome: Outcome) -> bool:
    """Whether a flow ended this way."""
    return any(answer.outcome is outcome for answer in answers)
