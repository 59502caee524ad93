# SPDX-License-Identifier: GPL-2.0-only
"""From a failing case to a program that shows why, as short as trying on a device can make it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from ..common.words import counted
from ..results.case import Case
from ..results.summary import Summary
from .live import SHOWS, Target
from .minimise import Limits, Minimised, minimise
from .program import Program, program_of
from .trace import NoProgram, earlier


@dataclass(frozen=True)
class Made:
    """A program, and a remark on it."""

    program: Program
    #: Whether it was seen to show the fault, or was not tried.
    reproducible: bool = True
    remark: str = ""


def make(
    summary: Summary, cases: Sequence[Case], folder: Path | None, target: Target | None, limits: Limits | None = None
) -> Made:
    """The program of the first case whose program is seen to show the failure. Raises NoProgram, SetupError."""
    made: Made | None = None
    reasons: list[NoProgram] = []
    limits = limits or Limits()
    # First each by itself: with the calls before it, a program is long.
    for how in (_alone, _after_others):
        for case in cases:
            try:
                other = how(summary, case, folder, target, limits)
            except NoProgram as reason:
                reasons.append(reason)
                continue
            if other and other.reproducible:
                return other
            made = made or other
    if made is None:
        raise reasons[0]
    return made


def _alone(summary: Summary, case: Case, folder: Path | None, target: Target | None, limits: Limits) -> Made:
    """The program of a case, from its own calls and those of other cases that are known to be needed.

    Tried and shortened on ``target``, if there is one. Raises NoProgram, SetupError.
    """
    program = program_of(summary, case, folder, [*case.needs])
    if target is None:
        return Made(program, remark="not tried on a device: it has all calls of the case")
    return _tried(program, minimise(program, target.play, limits), target, limits)


def _after_others(
    summary: Summary, case: Case, folder: Path | None, target: Target | None, limits: Limits
) -> Made | None:
    """The same with the calls of the cases before it, since it is unknown which are needed; None if none are.

    Raises NoProgram, SetupError.
    """
    if target is None or case.needs:
        return None
    end = monotonic() + limits.seconds
    for before in earlier(summary, case):
        if monotonic() > end:
            break
        with suppress(NoProgram):
            program = program_of(summary, case, folder, before)
            made = minimise(program, target.play, limits)
            if made.reproducible:
                return _tried(program, made, target, limits)
    return None


def _tried(program: Program, made: Minimised, target: Target, limits: Limits) -> Made:
    """The result. Raises SetupError."""
    if made.reproducible and target.play_anew(made.program) != SHOWS:
        # The device remembers what earlier programs did: each has to be tried on one that does not.
        made = minimise(program, target.play_anew, limits)
    counts = f"{made.shown} of {counted(made.tried, 'try')}"
    if not made.reproducible:
        return Made(program, False, f"not reproducible: the fault showed in {counts}")
    left = f"{counted(len(made.program.steps), 'call')} of {len(program.steps)} left"
    return Made(made.program, remark=f"{left}; the fault showed in {counts}")
