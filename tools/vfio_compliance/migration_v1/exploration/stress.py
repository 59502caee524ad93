# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of random operations ask for: each of them gets a part of the time, and gives what went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ...common.words import counted
from ...results.events import Explored
from ...transport import TransportError
from ..migration import Migration
from .explorer import Explorer
from .path import Line, Strayed, render
from .threads import Threads

#: Seconds between two signs of life.
_SIGN_OF_LIFE = 1.0

#: Parts of the time: of walks by one thread, and of each of the four things that two threads do.
_ALONE, _TOGETHER = 0.6, 0.1


@dataclass(frozen=True)
class Trouble:
    """How a device left what the text allows."""

    did: str
    expected: str
    seen: str
    #: All that was done, a line for each step.
    path: str
    #: Options by which a run does the same.
    options: str


class Stress:
    """Uses one device at random for ``seconds`` in all, and as long as ``shortening`` more where something is found."""

    def __init__(self, migration: Migration, seed: int, seconds: float, shortening: float) -> None:
        self._migration = migration
        self._session = migration.session
        self._seed = seed
        self._seconds = seconds
        self._shortening = shortening
        self._next_sign = 0.0

    def explore(self) -> Trouble | None:
        """One thread takes any steps in any order. Raises CallTimeout, and what Session.prepare() raises."""
        explorer = Explorer(self._migration, self._seed, self._sign_of_life)
        finding = None
        try:
            finding = explorer.explore(self._seconds * _ALONE, self._shortening)
        except TransportError as error:
            if explorer.finding:
                error.path = render(explorer.finding.lines)
            raise
        finally:
            tally = explorer.tally
            states = ", ".join(f"{count} in {state}" for state, count in tally.states.most_common())
            did = f"{counted(tally.steps, 'step')} on {counted(tally.walks, 'walk')}"
            self._session.note(f"explored: {did} ({states}; --seed {self._seed})")
        if finding is None:
            return None
        if not finding.repeatable:
            self._session.note("the path that was found did not go wrong a second time: what came before it matters")
        return self._trouble(finding.lines, finding.seed)

    def watch(self) -> Trouble | None:
        """One thread changes the state, another reads it. Raises as explore() does."""
        return self._threads("watched", Threads.watch)

    def disturb(self) -> Trouble | None:
        """One thread saves and restores, while another reads what has no side effects."""
        return self._threads("saved and restored beside a reader", Threads.disturb)

    def race(self) -> Trouble | None:
        """Two threads change the state at once."""
        return self._threads("changed the state from two threads", Threads.race)

    def share(self) -> Trouble | None:
        """Two threads read the same buffer at once."""
        return self._threads("read a state twice at once", Threads.share)

    def _threads(self, did: str, act: Callable[[Threads, float], int]) -> Trouble | None:
        threads = Threads(self._migration, self._seed, self._sign_of_life)
        try:
            rounds = act(threads, self._seconds * _TOGETHER)
        except Strayed as strayed:
            return self._trouble(strayed.lines, self._seed)
        self._session.note(f"{did}: {counted(rounds, 'round')} (--seed {self._seed})")
        return None

    def _trouble(self, lines: list[Line], seed: int) -> Trouble:
        return Trouble(*lines[-1], render(lines), f"--stress {self._seconds:g}s --seed {seed}")

    def _sign_of_life(self, steps: int) -> None:
        """Tell the supervisor now and then that this goes on: it ends what says nothing for too long."""
        now = time.monotonic()
        if now >= self._next_sign:
            self._next_sign = now + _SIGN_OF_LIFE
            self._session.tell(Explored(steps))
