# SPDX-License-Identifier: GPL-2.0-only
"""Histories of guest memory, each played once per run and judged by several rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..device import DeviceError
from ..device.dma import IOVA
from ..run.checks import NotApplicable, RuleBroken, Unjudged
from ..run.errors import Broken
from ..run.shorten import fewer
from ..transport import PeerGone, ProtocolViolation, TransportError
from . import grammar
from .guest_memory import Answer
from .interface import Dirtying
from .scripts import SCRIPTS

#: Seconds, and plays, in which a script that showed something wrong is made short.
_SHORTENING, _PLAYS = 5.0, 200

Check = Callable[[Answer], None]


class Histories:
    """The scripts, played on the device of a run."""

    def __init__(self, dirtying: Dirtying, seed: int) -> None:
        """``seed`` is that of the scripts which this run draws."""
        self._dirtying = dirtying
        self._session = dirtying.session
        self._seed = seed
        self._played = self._session.transport.tracer.shared(self._play)

    def play(self, name: str) -> list[Answer]:
        """The bitmaps of a script. Raises NotApplicable, and Unjudged where the driver did not go along to its end."""
        played = self._played(name)
        if isinstance(played, (PeerGone, ProtocolViolation)):
            raise Unjudged(f"the script did not come to its end: {played.message}")
        if isinstance(played, Exception):
            raise played
        return played

    def survives(self, name: str) -> None:
        """The other side lives until a script ends, and keeps to its protocol. Raises PeerGone, ProtocolViolation."""
        played = self._played(name)
        if isinstance(played, (PeerGone, ProtocolViolation)):
            raise played

    def judge(self, name: str, check: Check, *, around: bool = False) -> None:
        """Check every bitmap of a script. Raises as play() does, and RuleBroken.

        A script of the grammar is made short then. With ``around`` what goes wrong just so when no range is used but
        those that the text promises is another rule's matter.
        """
        try:
            for answer in self.play(name):
                check(answer)
        except RuleBroken as error:
            if name in SCRIPTS:
                raise
            raise _Shortening(self, name, check, error).shortened(around) from None

    def script(self, name: str) -> str:
        """The script of this name."""
        if name in grammar.DRAWN:
            return grammar.drawn(name, self._seed)
        for those in (SCRIPTS, grammar.PROMISED, grammar.OPEN, grammar.FAILING, grammar.DEEP):
            if name in those:
                return those[name]
        raise KeyError(name)

    def options(self, name: str) -> str:
        """Options by which a run has the same script by this name."""
        return f"--seed {self._seed}" if name in grammar.DRAWN else ""

    def _play(self, name: str) -> list[Answer] | Exception:
        try:
            return self.play_steps(self.script(name))[0]
        except NotApplicable as reason:
            return reason
        except DeviceError as error:
            return Unjudged(f"{error}")
        except (PeerGone, ProtocolViolation) as error:
            return error

    def forget_calls(self) -> None:
        """Of many plays of a script only the last one can be of interest."""
        self._session.transport.tracer.take()

    def play_steps(self, script: str) -> tuple[list[Answer], set[int]]:
        """The bitmaps of a script that is played now, and the steps of it that the text leaves open."""
        self._session.plain()
        with self._dirtying.guest() as memory:
            return memory.play(script), memory.left_open


class _OutOfTime(Exception):
    """It has taken long enough."""


class _Shortening:
    """Makes a script short that shows something wrong, and its numbers small, as long as it shows the same."""

    def __init__(self, histories: Histories, name: str, check: Check, error: RuleBroken) -> None:
        self._histories = histories
        self._name = name
        self._check = check
        self._error = error
        self._script = histories.script(name).split("; ")
        self._open: set[int] = set()
        self._plays = 0
        self._end = time.monotonic() + _SHORTENING

    def shortened(self, around: bool) -> Exception:
        """What to raise: RuleBroken as the shortest script shows it, or Unjudged."""
        again = False
        with suppress(_OutOfTime, TransportError, Broken):
            if again := self._goes_wrong(self._script):
                fewer(self._script, self._goes_wrong)
                for attempt in self._smaller():
                    self._goes_wrong(attempt)
                if around and self._open and self._goes_wrong_without():
                    return Unjudged(f"the same goes wrong with whole mappings alone: {self._error}")
                self._goes_wrong(self._script)  # so that its calls are the last ones
        error = self._error
        head = f"pages of the guest count from IOVA 0x{IOVA:x}:"
        lines = [head, *self._script]
        if not again:
            lines.append("(the script did not go wrong a second time: what came before it matters)")
        told = RuleBroken(
            error.what,
            error.expected,
            error.seen,
            path="\n".join(lines),
            options=self._histories.options(self._name),
        )
        told.after = error.after
        return told

    def _goes_wrong(self, steps: list[str]) -> bool:
        """Whether the steps show something wrong; then they are what is told."""
        error, left_open = self._wrong(steps)
        if error:
            self._error, self._script, self._open = error, steps, left_open
        return error is not None

    def _wrong(self, steps: list[str]) -> tuple[RuleBroken | None, set[int]]:
        self._plays += 1
        if self._plays > _PLAYS or time.monotonic() > self._end:
            raise _OutOfTime
        self._histories.forget_calls()
        try:
            answers, left_open = self._histories.play_steps("; ".join(steps))
        except (NotApplicable, DeviceError, Unjudged):
            return None, set()
        except RuleBroken as error:
            return error, set()
        for answer in answers:
            try:
                self._check(answer)
            except RuleBroken as error:
                return error, left_open
        return None, set()

    def _goes_wrong_without(self) -> bool:
        """Whether it goes wrong, too, where each mapping is asked for instead of what the text leaves open."""
        steps = ["check" if place in self._open else step for place, step in enumerate(self._script)]
        return self._wrong(steps)[0] is not None

    def _smaller(self) -> Iterator[list[str]]:
        """The script with one number made smaller, again and again."""
        for place in range(len(self._script)):
            verb, *numbers = self._script[place].split()
            for index in range(1, len(numbers)):  # all but the first page
                for less in (1, int(numbers[index]) // 2):
                    now = self._script[place].split()
                    if 0 < less < int(now[index + 1]):
                        now[index + 1] = str(less)
                        yield [*self._script[:place], " ".join(now), *self._script[place + 1 :]]
