# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of random operations use: each gets a part of the time, and returns its findings."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...common.words import counted
from ...results.events import Explored
from ...run.checks import RuleBroken
from ...run.exploring import Line, Strayed, render
from ...transport import TransportError
from ..migration import Migration
from .explorer import MOST_FINDINGS, Explorer
from .threads import Threads

#: Seconds between two signs of life.
_SIGN_OF_LIFE = 1.0

#: Parts of the time: of walks by one thread, and of each of the four things that two threads do.
_ALONE, _TOGETHER = 0.6, 0.1


class Stress:
    """Uses one device at random for ``seconds`` in all, and up to ``shortening`` more if something is found."""

    def __init__(self, migration: Migration, seed: int, seconds: float, shortening: float) -> None:
        self._migration = migration
        self._session = migration.session
        self._seed = seed
        self._seconds = seconds
        self._shortening = shortening
        self._next_sign = 0.0

    def explore(self) -> list[RuleBroken]:
        """One thread takes any steps in any order. Raises CallTimeout, and what Migration.require_running() raises."""
        explorer = Explorer(self._migration, self._seed, self._sign_of_life)
        try:
            findings = explorer.explore(self._seconds * _ALONE, self._shortening, MOST_FINDINGS)
        except TransportError as error:
            for finding in explorer.findings[:-1]:
                self._session.note(f"before that: {Strayed((), finding.lines[-1])}")
            for finding in explorer.findings[-1:]:
                error.path = render(finding.lines)
            raise
        finally:
            tally = explorer.tally
            states = ", ".join(f"{count} in {state}" for state, count in tally.states.most_common())
            did = f"{counted(tally.steps, 'step')} on {counted(tally.walks, 'walk')}"
            self._session.note(f"explored: {did} ({states}; --seed {self._seed})")
        if not all(finding.repeatable for finding in findings):
            self._session.note("a path was not seen to go wrong a second time: what came before it may matter")
        troubles = [self._trouble(finding.lines, finding.seed) for finding in findings]
        for trouble, finding in zip(troubles, findings, strict=True):
            trouble.after = finding.call
        return troubles

    def watch(self) -> list[RuleBroken]:
        """One thread changes the state, another reads it. Raises like explore()."""
        return self._threads("watched", Threads.watch)

    def disturb(self) -> list[RuleBroken]:
        """One thread saves and restores, while another reads registers without side effects."""
        return self._threads("saved and restored beside a reader", Threads.disturb)

    def race(self) -> list[RuleBroken]:
        """Two threads change the state at once."""
        return self._threads("changed the state from two threads", Threads.race)

    def share(self) -> list[RuleBroken]:
        """Two threads read the same buffer at once."""
        return self._threads("read a state twice at once", Threads.share)

    def _threads(self, did: str, act: Callable[[Threads, float], int]) -> list[RuleBroken]:
        threads = Threads(self._migration, self._seed, self._sign_of_life)
        try:
            rounds = act(threads, self._seconds * _TOGETHER)
        except Strayed as strayed:
            return [self._trouble(strayed.lines, self._seed)]
        self._session.note(f"{did}: {counted(rounds, 'round')} (--seed {self._seed})")
        return []

    def _trouble(self, lines: list[Line], seed: int) -> RuleBroken:
        return RuleBroken(*lines[-1], path=render(lines), options=f"--stress {self._seconds:g}s --seed {seed}")

    def _sign_of_life(self, steps: int) -> None:
        """Signal progress to the supervisor now and then: it ends a process that is silent for too long."""
        now = time.monotonic()
        if now >= self._next_sign:
            self._next_sign = now + _SIGN_OF_LIFE
            self._session.emit(Explored(steps))
