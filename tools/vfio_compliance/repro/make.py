# SPDX-License-Identifier: GPL-2.0-only
"""From a failing case to the program that shows why, as short as a device lets it be made."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..common.words import counted
from ..results.case import Case
from ..results.summary import Summary
from .live import SHOWS, Target
from .minimise import Limits, minimise
from .program import Program, program_of
from .trace import NoProgram, earlier


@dataclass(frozen=True)
class Made:
    """A program, and what there is to say of it."""

    program: Program
    #: Whether it was seen to show the fault, or nobody tried.
    reproducible: bool = True
    remark: str = ""


def make(
    summary: Summary, cases: Sequence[Case], folder: Path | None, target: Target | None, limits: Limits | None = None
) -> Made:
    """The program of the first of the cases of which one is seen to show the failure. Raises NoProgram, SetupError."""
    made: Made | None = None
    reasons: list[NoProgram] = []
    for case in cases:
        try:
            other = _make(summary, case, folder, target, limits)
        except NoProgram as reason:
            reasons.append(reason)
            continue
        if other.reproducible:
            return other
        made = made or other
    if made is None:
        raise reasons[0]
    return made


def _make(summary: Summary, case: Case, folder: Path | None, target: Target | None, limits: Limits | None) -> Made:
    """The program of a case, tried out and made short on ``target`` where there is one.

    Where the fault does not show by the calls of the case alone, those of the cases before it come first. Raises
    NoProgram, SetupError.
    """
    known = [*case.needs]
    program = program_of(summary, case, folder, known)
    if target is None:
        return Made(program, remark="not tried on a device: all calls of the case are in it")
    limits = limits or Limits()
    made = minimise(program, target.play, limits)
    if not made.reproducible and not known:
        for before in earlier(summary, case):
            with suppress(NoProgram):
                longer = minimise(program_of(summary, case, folder, before), target.play, limits)
                if longer.reproducible:
                    made = longer
                    break
    if made.reproducible and target.play_anew(made.program) != SHOWS:
        # The device remembers what earlier programs did: each is to be tried on one that does not.
        made = minimise(program, target.play_anew, limits)
    counts = f"{made.shown} of {counted(made.tried, 'try')}"
    if not made.reproducible:
        return Made(program, False, f"not reproducible: the fault showed in {counts}")
    left = f"{counted(len(made.program.steps), 'call')} of {len(program.steps)} left"
    return Made(made.program, remark=f"{left}; the fault showed in {counts}")
