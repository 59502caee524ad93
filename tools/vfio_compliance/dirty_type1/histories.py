# SPDX-License-Identifier: GPL-2.0-only
"""Histories of guest memory, each played once per run and judged by several rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from ..device import DeviceError
from ..run.checks import NotApplicable, RuleBroken, Unjudged, compared_by
from ..run.errors import Broken
from ..run.shorten import fewer
from ..transport import PeerGone, ProtocolViolation, TransportError
from . import grammar
from .guest_memory import Answer
from .interface import Dirtying
from .scripts import SCRIPTS

#: Seconds in which a script that showed something wrong is made short, and all of a run are, and plays of it at most.
_ONE, _ALL, _PLAYS = 4.0, 12.0, 200

Check = Callable[[Answer], None]


class Played(NamedTuple):
    """The outcome of a script."""

    answers: list[Answer]
    #: The steps, by their place, whose outcome the specification leaves open.
    left_open: set[int]
    #: Why it did not come to its end.
    ended: NotApplicable | DeviceError | PeerGone | ProtocolViolation | None


class Histories:
    """The scripts, played on the device of a run."""

    def __init__(self, dirtying: Dirtying, seed: int) -> None:
        """``seed`` is that of the scripts that this run draws."""
        self._dirtying = dirtying
        self._session = dirtying.session
        self._seed = seed
        self._left = _ALL
        #: What judge() was given, and whether the call fails, if a script has shown it broken.
        self._shown: set[tuple[Check, bool | None, bool]] = set()
        #: Where page 0 of the guest was the last time.
        self.base = 0
        self._played = self._session.transport.tracer.shared(self._play)

    def survives(self, name: str) -> None:
        """The other side lives until a script ends, and keeps to its protocol. Raises PeerGone, ProtocolViolation."""
        ended = self._played(name).ended
        if isinstance(ended, (PeerGone, ProtocolViolation)):
            raise ended

    def judge(self, name: str, check: Check, *, left_open: bool | None = None) -> None:
        """Check every bitmap of a script.

        A script of the grammar that goes wrong is made short. With ``left_open`` it counts only if it takes a range
        that the specification leaves open, with False only if it takes none; everything else is judged by another rule.

        Raises RuleBroken, NotApplicable, and Unjudged if the driver did not cooperate to the end.
        """
        answers, taken, ended = self._played(name)
        # After a failing call, bits may be elsewhere for a separate reason.
        apart = name in SCRIPTS or name in grammar.FAILING or check is Answer.complete
        alone = check if apart else _unless_missing(check)
        if error := wrong(answers, alone):
            if name in SCRIPTS:
                raise error
            matter = (check, left_open, name in grammar.FAILING)
            blamed = self._blamed(name, alone, error, left_open, taken=bool(taken), shown=matter in self._shown)
            if isinstance(blamed, RuleBroken):
                self._shown.add(matter)
            raise blamed
        if isinstance(ended, NotApplicable):
            raise ended
        if ended is not None:
            raise Unjudged(f"the script did not come to its end: {ended}")

    def _blamed(
        self, name: str, check: Check, error: RuleBroken, left_open: bool | None, *, taken: bool, shown: bool
    ) -> Exception:
        """What to raise for what is wrong; the time for this is limited in a run.

        Without any left, the failure is raised as it is, unless only a shorter script can show which rule judges it: if
        one that takes a range that is left open (``taken``) fails, and another one has not ``shown`` the same.
        """
        if self._left <= 0 and left_open and not taken:
            return _of_another(error)
        if self._left <= 0 and (left_open is None or not taken or shown):
            return self.blamed(name, error, self.script(name).split("; "))
        began = time.monotonic()
        try:
            return _Shortening(self, name, check, error, min(_ONE, self._left)).shortened(left_open)
        finally:
            self._left -= time.monotonic() - began

    def blamed(self, name: str, error: RuleBroken, steps: Sequence[str]) -> RuleBroken:
        """What is wrong, with the steps that showed it."""
        path = "\n".join([f"pages of the guest count from IOVA 0x{self.base:x}:", *steps])
        options, compared = self.options(name), compared_by(error)
        blamed = RuleBroken(error.what, error.expected, error.seen, path=path, options=options, compared=compared)
        blamed.after = error.after
        return blamed

    def script(self, name: str) -> str:
        """The script of this name."""
        if name in grammar.DRAWN:
            return grammar.drawn(name, self._seed)
        for those in (SCRIPTS, grammar.PROMISED, grammar.OPEN, grammar.FAILING, grammar.DEEP):
            if name in those:
                return those[name]
        raise KeyError(name)

    def options(self, name: str) -> str:
        """Options with which a run has the same script under this name."""
        return f"--seed {self._seed}" if name in grammar.DRAWN else ""

    def _play(self, name: str) -> Played:
        self._session.as_after_reset()
        return self._play_now(self.script(name))

    def forget_calls(self) -> None:
        """Of many plays of a script, only the last one can be of interest."""
        tracer = self._session.transport.tracer
        tracer.forget()
        tracer.spans.clear()

    def play_steps(self, script: str) -> Played:
        """Play a script after a reset. Raises RuleBroken for what does not show in any bitmap, and CallTimeout."""
        self._session.after_reset()
        return self._play_now(script)

    def _play_now(self, script: str) -> Played:
        memory = None
        try:
            with self._dirtying.guest() as memory:
                self.base = memory.base
                memory.play(script)
                return Played(memory.answers, memory.left_open, None)
        except (NotApplicable, DeviceError, PeerGone, ProtocolViolation) as error:
            self._session.in_doubt |= not isinstance(error, NotApplicable)
            return Played(memory.answers if memory else [], memory.left_open if memory else set(), error)


def wrong(answers: list[Answer], check: Check) -> RuleBroken | None:
    """What is wrong first."""
    for answer in answers:
        try:
            check(answer)
        except RuleBroken as error:
            return error
    return None


def _unless_missing(check: Check) -> Check:
    """A check of bitmaps without missing pages: if some are missing, they may be set elsewhere: one fault."""

    def judge(answer: Answer) -> None:
        if not answer.missing:
            check(answer)

    return judge


def _of_another(error: RuleBroken) -> NotApplicable:
    return NotApplicable(f"the same fails with whole mappings only, which another rule judges: {error}")


class _OutOfTime(Exception):
    """The time is up."""


class _Shortening:
    """Shortens a failing script, and makes its numbers small, for as long as it shows the same failure."""

    def __init__(self, histories: Histories, name: str, check: Check, error: RuleBroken, seconds: float) -> None:
        self._histories = histories
        self._name = name
        self._check = check
        self._error = error
        self._script = histories.script(name).split("; ")
        self._open: set[int] = set()
        #: Whether the script may have ranges that are left open; a shorter one may get them by what is left out.
        self._may_open = True
        self._plays = 0
        self._end = time.monotonic() + seconds

    def shortened(self, left_open: bool | None) -> Exception:
        """What to raise: RuleBroken as the shortest script shows it, or NotApplicable if another rule judges it."""
        again, needs_open = False, False
        with suppress(TransportError, Broken):
            if again := self._goes_wrong(self._script):
                needs_open = self._may_open = bool(self._open) and not self._goes_wrong_without()
                with suppress(_OutOfTime):
                    fewer(self._script, self._try)
                    for attempt in self._smaller():
                        self._try(attempt)
                self._goes_wrong(self._script)  # so that its calls are the last ones
        error = self._error
        if again and left_open and not needs_open:
            return _of_another(error)
        if again and left_open is False and needs_open:
            return NotApplicable(f"it fails only with ranges that are left open, which another rule judges: {error}")
        lines = [*self._script]
        if not again:
            lines.append("(this did not go wrong a second time: what came before it matters)")
        return self._histories.blamed(self._name, error, lines)

    def _try(self, steps: list[str]) -> bool:
        """Whether the steps fail, while there is time to see. Raises _OutOfTime."""
        self._plays += 1
        if self._plays > _PLAYS or time.monotonic() > self._end:
            raise _OutOfTime
        self._histories.forget_calls()
        return self._goes_wrong(steps)

    def _goes_wrong(self, steps: list[str]) -> bool:
        """Whether the steps fail; if so, they are what is reported."""
        error, left_open = self._wrong(steps)
        if not error or (left_open and not self._may_open):
            return False
        self._error, self._script, self._open = error, steps, left_open
        return True

    def _wrong(self, steps: list[str]) -> tuple[RuleBroken | None, set[int]]:
        try:
            played = self._histories.play_steps("; ".join(steps))
        except RuleBroken as error:
            return error, set()
        except Unjudged:
            return None, set()
        return wrong(played.answers, self._check), played.left_open

    def _goes_wrong_without(self) -> bool:
        """Whether it also fails with each mapping in place of what is left open; if so, that is reported."""
        self._may_open = False
        return self._goes_wrong(["check" if place in self._open else step for place, step in enumerate(self._script)])

    def _smaller(self) -> Iterator[list[str]]:
        """The script with one number made smaller, repeatedly."""
        for place in range(len(self._script)):
            for index in range(2, len(self._script[place].split())):  # after the verb and the first page
                for divisor in (1 << 30, 2):
                    words = self._script[place].split()
                    less = max(1, int(words[index]) // divisor)
                    if less < int(words[index]):
                        words[index] = str(less)
                        yield [*self._script[:place], " ".join(words), *self._script[place + 1 :]]
