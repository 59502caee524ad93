# SPDX-License-Identifier: GPL-2.0-only
"""What a QEMU is made to do with the device, and what it and the device show."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ..common.words import counted
from ..device import DeviceError
from ..profiles import Profile
from ..run.checks import NotApplicable, Silent
from ..run.errors import ProfileFault
from ..run.stimulus import Actor
from ..transport import TransportError
from .answer import ARRIVED, KEPT, Answer, Outcome, has
from .conduct import EVENTS_FILE, STRACE_FILE, Recording
from .errors import Aborted, Closed, Failed, Hung, QemuError, Untried
from .guest import actor as actor_in
from .machine import Machine
from .recording import Strace

LIVE = "live migration"
BACK = "back to the source"
PAUSED = "migration of a paused guest"
CANCEL = "cancel, then migrate"
ALL = (LIVE, BACK, PAUSED, CANCEL)

_OUTCOMES: dict[type[QemuError], Outcome] = {
    Aborted: Outcome.ABORTED,
    Closed: Outcome.FAILED,
    Failed: Outcome.FAILED,
    Hung: Outcome.HUNG,
    Untried: Outcome.UNTRIED,
}


class _Bad(Exception):
    """QEMU sees nothing wrong, but the device shows that something is."""

    def __init__(self, outcome: Outcome, why: str, where: str = "") -> None:
        super().__init__(f"{where}: {why}" if where else why)
        self.outcome = outcome


@dataclass
class Place:
    """A device: its folder in /sys, and the values that a profile's paths may refer to."""

    sysfs: str
    places: dict[str, str]


@dataclass
class Guest:
    """A running QEMU, and what the profile can do with the device through it."""

    machine: Machine
    actor: Actor
    #: Why the state is not looked at, and whether that is because the profile does not say how.
    unseen: str = ""
    silent: bool = False
    shown: list[int] | None = None

    def put(self, value: int) -> None:
        """Change the state, and take note of what the device shows."""
        if self.actor.can_put:
            self.machine.watched(lambda: self.actor.put(value), "while the device's state was changed")
            self.shown = self.look()
        else:
            reason = self.actor.unseen()
            self.unseen, self.silent = str(reason), isinstance(reason, Silent)

    def look(self) -> list[int]:
        """What the device shows."""
        return self.machine.watched(self.actor.show, "while the device's state was read")

    def compare(self, expected: list[int] | None, where: str = "") -> None:
        """Raise _Bad for a state other than the expected one, and for a device that no longer runs."""
        if expected is not None and (seen := self.look()) != expected:
            raise _Bad(Outcome.LOST, _difference(expected, seen), where)
        self.watch(where)

    def watch(self, where: str = "") -> None:
        """Raise _Bad for a device that does not run."""
        if self._works() is False:
            raise _Bad(Outcome.STILL, "stimulus.running does not change", where)

    def stand_still(self) -> None:
        """Raise _Bad for a device that runs although its guest is paused."""
        if self._works():
            raise _Bad(Outcome.EARLY, "stimulus.running changes while the guest is paused")

    def _works(self) -> bool | None:
        """None if the profile does not say how that is seen."""
        if not self.actor.can_watch:
            return None
        return self.machine.watched(lambda: self.actor.counter().continues(), "while the device was watched")


@dataclass
class Flows:
    """The flows, for one device and one QEMU."""

    program: str
    profile: Profile
    source: Place
    #: Where the state goes; None: the device itself, once the source has ended.
    target: Place | None
    #: Where traces of QEMU and, for a time, saved states go.
    folder: Path
    scratch: Path
    #: What records the QEMUs, in addition to their own trace events.
    strace: Strace | None = None
    answers: list[Answer] = field(default_factory=list)
    messages: dict[str, None] = field(default_factory=dict)
    recordings: list[Recording] = field(default_factory=list)
    version: str = ""
    _source: Guest | None = None
    #: The name of its recording.
    _saved_by: str = ""

    def __enter__(self) -> Flows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_source()

    def carry_out(self, names: Collection[str] = ALL) -> Iterator[Answer]:
        """The flows of these names; yields each answer as soon as it is known.

        The source stays up from one flow to the next, unless something goes wrong. Nothing is tried after a hang.
        """
        flows: dict[tuple[str, ...], Callable[[], Sequence[Answer]]] = {
            (LIVE, BACK): lambda: self._live_and_back(names),
            (PAUSED,): lambda: [self._flow(PAUSED, self._paused)],
            (CANCEL,): lambda: [self._flow(CANCEL, self._cancel)],
        }
        hung = False
        for those, flow in flows.items():
            if not set(names).isdisjoint(those):
                answers = [Answer(each, Outcome.UNTRIED, "QEMU hung before") for each in those] if hung else flow()
                hung = hung or has(answers, Outcome.HUNG)
                yield from (answer for answer in answers if answer.flow in names)

    def end_source(self) -> None:
        """End the QEMU on the source; the next flow starts another one."""
        if self._source is not None:
            source, self._source = self._source, None
            self._finish(source.machine)

    # -- flows --------------------------------------------------------------------------------------------------------

    def _live_and_back(self, names: Collection[str]) -> list[Answer]:
        """One migration serves both: the source is continued once its state is saved."""
        live, back = Answer(LIVE), Answer(BACK)
        file = self.scratch / "live"
        saved: list[Guest] = []

        def save() -> None:
            guest = self._running(live, 1)
            live.numbers = guest.machine.save(file)
            saved.append(guest)

        def go_back() -> None:
            (guest,) = saved
            self._note_unseen(back, guest)
            guest.machine.order("cont")
            guest.compare(guest.shown)
            back.state = back.state or KEPT

        self._judge(live, save)
        if not saved:
            back.outcome, back.why = Outcome.UNTRIED, "the migration before it did not complete"
            return [live, back]
        self._judge(back, go_back)
        if LIVE in names:
            self._judge(live, lambda: self._load(live, file, saved[0].shown, paused=False))
        return [live, back]

    def _paused(self, answer: Answer) -> None:
        guest = self._running(answer, 2)
        guest.machine.order("stop")
        file = self.scratch / "paused"
        answer.numbers = guest.machine.save(file)
        self._load(answer, file, guest.shown, paused=True)

    def _cancel(self, answer: Answer) -> None:
        """In pre-copy, and with a paused guest, for which QEMU saves in stop-and-copy from the beginning."""
        guest = self._running(answer, 3)
        for migration, paused in (("the migration", False), ("the migration of a paused guest", True)):
            if paused:
                guest.machine.order("stop")
            guest.machine.cancel(self.scratch / "cancelled")
            if paused:
                guest.machine.order("cont")
            guest.compare(guest.shown, f"on the source, once {migration} is cancelled")
        file = self.scratch / "whole"
        answer.numbers = guest.machine.save(file)
        self._load(answer, file, guest.shown, paused=False)

    # -- parts of flows -----------------------------------------------------------------------------------------------

    def _running(self, answer: Answer, number: int) -> Guest:
        """The source, running, once its device is seen to run; with a different state for each flow."""
        guest = self._source
        if guest is None or not guest.machine.alive:
            self.end_source()
            guest = self._source = self._start("source", self.source, incoming=False)
        elif not guest.machine.runs():
            guest.machine.order("cont")
        guest.watch("on the source, before it is migrated")
        guest.put(_value(number))
        self._note_unseen(answer, guest)
        return guest

    def _load(self, answer: Answer, file: Path, expected: list[int] | None, *, paused: bool) -> None:
        """Load what was saved on the target, which had a different state before, and compare."""
        if self.target is None:
            self.end_source()
        with self._started("target", self.target or self.source) as guest:
            guest.put(_value(0))
            guest.machine.load(file)
            if paused:
                if guest.machine.runs():
                    raise Failed("the guest was paused, but runs on the target")
                guest.stand_still()
                guest.machine.order("cont")
            guest.compare(expected)
        if expected is not None:
            answer.state = ARRIVED

    @staticmethod
    def _note_unseen(answer: Answer, guest: Guest) -> None:
        answer.state = f"not compared: {guest.unseen}" if guest.unseen else ""
        answer.silent = guest.silent

    def _flow(self, name: str, flow: Callable[[Answer], None]) -> Answer:
        answer = Answer(name)
        self._judge(answer, lambda: flow(answer))
        return answer

    def _judge(self, answer: Answer, act: Callable[[], None]) -> None:
        """Carry out a part of a flow. A failure becomes its outcome; then the source is started again."""
        try:
            act()
        except _Bad as error:
            answer.outcome, answer.why = error.outcome, str(error)
            self.end_source()
        except QemuError as error:
            answer.outcome, answer.why = _OUTCOMES[type(error)], str(error)
            self.end_source()
        except (DeviceError, TransportError, NotApplicable, Silent, ProfileFault) as error:
            answer.outcome, answer.why = Outcome.UNTRIED, f"the device's state cannot be seen through QEMU: {error}"

    # -- processes ----------------------------------------------------------------------------------------------------

    def _start(self, role: str, place: Place, *, incoming: bool) -> Guest:
        recording = Recording(f"{role}-{len(self.recordings) + 1}", self._saved_by if incoming else "")
        self.recordings.append(recording)
        log = self.folder / (recording.name + EVENTS_FILE)
        log.touch()
        strace = self.strace.command(recording.name + STRACE_FILE) if self.strace else []
        patience = self.profile.limits.test
        machine = Machine(self.program, place.sysfs, self.scratch, f"QEMU on the {role}", log, patience, strace)
        if not incoming:
            self._saved_by = recording.name
        try:
            machine.start(incoming)
            self.version = machine.version
            doer = machine.watched(lambda: actor_in(machine.bus, self.profile, place.places), "during its set-up")
        except BaseException:
            self._finish(machine)
            raise
        return Guest(machine, doer)

    @contextmanager
    def _started(self, role: str, place: Place) -> Iterator[Guest]:
        with ExitStack() as stack:
            guest = self._start(role, place, incoming=True)
            stack.callback(self._finish, guest.machine)
            yield guest

    def _finish(self, machine: Machine) -> None:
        machine.end()
        self.messages.update(dict.fromkeys(machine.messages()))


def _difference(expected: list[int], seen: list[int]) -> str:
    """How two states differ: in how many of their values, and the first of these."""
    if len(expected) != len(seen):
        return f"expected {counted(len(expected), 'value')}, seen {len(seen)}"
    differing = [pair for pair in zip(expected, seen, strict=True) if pair[0] != pair[1]]
    first = f"expected {differing[0][0]:#x}, seen {differing[0][1]:#x}"
    return (
        first if len(seen) == 1 else f"it differs in {len(differing)} of {counted(len(seen), 'value')}; first: {first}"
    )


def _value(number: int) -> int:
    """A number of 64 bits that no other flow uses; 0 is what a target shows before."""
    return int.from_bytes(hashlib.sha256(f"state {number}".encode()).digest()[:8], "little")
