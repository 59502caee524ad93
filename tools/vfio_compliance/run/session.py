# SPDX-License-Identifier: GPL-2.0-only
"""One open device for the length of a run, and the way back to a known state before each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from ..device import Container, Device, DeviceError, Unreachable
from ..device.errors import errno_name
from ..device.region import Region
from ..dirty_type1.guest_memory import GuestMemory
from ..dirty_type1.histories import Histories
from ..migration_v1.flows import Journeys
from ..migration_v1.reach import Reach
from ..migration_v1.region import MigrationRegion
from ..migration_v1.states import name
from ..profiles import (
    KernelGroupDevice,
    Profile,
    SecondInKernel,
    SecondServer,
    SpareInKernel,
    SpareServer,
    VfioUserDevice,
)
from ..results import events
from ..transport import (
    CallTimeout,
    Death,
    KernelGroupSettings,
    PeerGone,
    Transport,
    TransportError,
    VfioUserSettings,
    create,
)
from ..uapi.migration_v1 import DeviceState
from .stimulus import Actor, steps_of


class Broken(Exception):
    """The run cannot start or go on, and not because a rule was broken; ``remedy`` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


class Lost(Exception):
    """This process cannot reach the device any more; another one may, by a way that is left."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Destination(NamedTuple):
    """Where a state is restored."""

    device: Device
    migration: MigrationRegion
    actor: Actor


#: A device that could not be brought to running so many times in a row is not tried again; nor is a reset that hangs.
_MOST_FAILURES = 3


class Session:
    """Opens the profile's device once; hands it to one test after the other in a known state."""

    def __init__(self, profile: Profile, defects: Sequence[str]) -> None:
        """Raises Broken when defects are asked for that the profile has no way to switch on."""
        self.profile = profile
        self._defects = list(defects)
        #: The spare device that has taken the place of the device.
        self._taken: SpareInKernel | SpareServer | None = None
        self._defects_before: str | None = None
        self._use(_to(profile, profile.device, defects))
        self.journeys = Journeys(self)
        self.histories = Histories(self)
        self.reach = Reach(self)
        #: Puts an event into the journal, once there is one.
        self.tell: Callable[[events.Event], None] = lambda event: None
        #: Why no test can have the migration region, once that is known.
        self._no_migration: str | None = None
        self._migration: MigrationRegion | None = None
        #: The regions, as a device just opened describes them; empty where it could not be asked.
        self._described: list[Region] = []
        #: device_state as it was first read, after the device was opened; RUNNING until then.
        self.opened_in = DeviceState.RUNNING
        #: The device announces that it can be reset; one that does not is left as it is.
        self._resettable = False
        self._bad_resets = 0
        #: Why the device could not be brought to running the last time, and how many times in a row.
        self._stuck, self._failures = "", 0
        #: The way by which the device is reached, as an index of _ways().
        self._way = 0
        #: The device has to be opened again: a call on it did not end as calls do.
        self.lost = True
        self._noted: set[str] = set()

    def _use(self, transport: Transport) -> None:
        """Reach the device by ``transport``, and the second one beside it: they share what a container shares."""
        self.transport = transport
        self.device = Device(transport, self._set_up)
        self.container = Container(transport)
        self.actor = Actor(self.device, self.profile)
        second = self.profile.device.second
        self._second = self._beside(second) if second else None

    def _beside(self, where: SecondInKernel | SecondServer | SpareInKernel | SpareServer) -> Device:
        return Device(_to(self.profile, where, self._defects, self.transport), self._set_up)

    # -- begin and end --------------------------------------------------------------------------------------------

    def start(self, way: int = 0) -> None:
        """Switch on the defects, open the device, and see that the profile speaks of this device.

        ``way`` is the first of the ways to open it that is tried: opening it, the recovery command before that, each
        spare device. Raises Broken, TransportError.
        """
        self._switch_defects()
        self._reach(way)
        self.lost = False
        try:
            self._described = self.device.regions
            self._find_migration()
            self._check_profile()
            if self._migration:
                self.opened_in = self._migration.state()
        except DeviceError as error:
            self._no_migration = self._no_migration or str(error)
        with suppress(DeviceError):
            self._resettable = self.device.announces_reset
        identity = self.transport.identity() | ({"restored on": self._restored_on()} if self._migration else {})
        self.tell(events.Target(identity, self._migration.region.index if self._migration else None))

    def _reach(self, first: int) -> None:
        """Open the device by one way after the other. Raises what the last of them raises."""
        ways = self._ways()
        for self._way, way in enumerate(ways):
            if self._way < first and self._way < len(ways) - 1:
                continue
            if len(ways) > 1:
                self.tell(events.Way(self._way, len(ways)))
            try:
                way()
                return
            except (Broken, TransportError) as error:
                if self._way == len(ways) - 1:
                    raise
                self.tell_trouble(error)
                self.note(f"the device cannot be opened: {error.message}")

    def _ways(self) -> list[Callable[[], None]]:
        """The ways to open the device."""
        recovered = [self._open_recovered] if self.profile.device.recovery else []
        return [
            self.device.open,
            *recovered,
            *(partial(self._open_spare, spare) for spare in self.profile.device.spares),
        ]

    def _open_recovered(self) -> None:
        self._run_recovery(self.profile.device.recovery or (), "device.recovery")
        self.device.open()

    def _open_spare(self, spare: SpareInKernel | SpareServer) -> None:
        self.note(f"a spare device takes the place of the device: {spare}")
        transport = _to(self.profile, spare, self._defects)
        transport.tracer = self.transport.tracer
        self._use(transport)
        self._taken = spare
        self.device.open()

    def finish(self) -> None:
        """Close the device and put the host back as it was found; what does not succeed becomes a note."""
        problems = []
        second = [self._second.transport.shutdown] if self._second else []
        for undo in (*second, self.transport.shutdown, self._restore_defects):
            try:
                undo()
            except (TransportError, OSError, RuntimeError) as error:
                problems.append(error)
        for problem in problems:
            self.note(f"at the end of the run: {problem}")

    def note(self, text: str) -> None:
        """Put ``text`` into the journal."""
        self.tell(events.Note(text))

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    # -- what tests get -------------------------------------------------------------------------------------------

    def migration(self) -> MigrationRegion:
        """The migration region, whatever state the device is in. Raises Unreachable when there is none to use."""
        if self._migration is None:
            raise Unreachable("looking for the migration region", "one", self._no_migration or "none")
        return self._migration

    def prepare(self) -> MigrationRegion:
        """The migration region of the device, which is RUNNING now. Raises Unreachable, Broken, Lost, CallTimeout.

        The documented way there is the reset. Where that did not help, the device is opened again, a vfio-user server
        that the profile can start is started again, and the profile's recovery command is run; each is noted.
        """
        migration = self.migration()
        migration.mapped, migration.refused = self._maps_only, None
        if self._failures < _MOST_FAILURES:
            self._stuck = self._bring_back(migration, self._as_it_is)
            self._failures = self._failures + 1 if self._stuck else 0
        if self._stuck:
            raise Unreachable("bringing the device to running", "running after a reset", self._stuck)
        return migration

    def plain(self) -> Device:
        """The device, open, after a reset or what has to stand in for it. Raises Broken, Lost, CallTimeout."""
        self._bring_back(None, self._reset)
        return self.device

    def renew(self) -> None:
        """Forget what the device was brought to: reset it or, where it has no reset, open it again.

        Raises Broken, Lost, CallTimeout.
        """
        self._bring_back(None, self._reset if self._resettable else self._reopen)

    def tell_deaths(self, case: str | None = None) -> None:
        """Put into the journal the ends of servers that nobody asked for; ``case`` is the test that was running."""
        for death in self._take_deaths():
            self.tell(events.Death(*death, case))

    def _take_deaths(self) -> list[Death]:
        """Those that have come since this was last called; remarks on the way become notes."""
        transports = [self.transport, *([self._second.transport] if self._second else [])]
        for remark in (remark for transport in transports for remark in transport.remarks):
            self._note_once(remark)
        return [death for transport in transports for death in transport.take_deaths()]

    def tell_trouble(self, error: Exception) -> None:
        """Put into the journal what ``error``, met on the way to a test, says of the device: a hang, a dead server.

        It is no verdict on the test, and the run is not to pass it over.
        """
        self.tell_deaths()
        if isinstance(error, CallTimeout):
            self.tell(events.Unanswered(error.message, error.remedy))

    @contextmanager
    def guest(self) -> Iterator[GuestMemory]:
        """Memory of a guest, until the block ends. Raises NotApplicable where no pages are tracked."""
        memory = GuestMemory(self.transport, self.actor, self.profile.claims.dirty_scope)
        try:
            with memory:
                yield memory
        finally:
            self.lost |= memory.unsure

    # -- where a state is restored --------------------------------------------------------------------------------

    @contextmanager
    def second(self) -> Iterator[Device | None]:
        """Another device of the same kind, open and RUNNING, until the block ends; None where the profile names none.

        Behind a kernel it is in the same container.

        Raises Broken when it cannot be opened or is of another kind, Unreachable when it is not RUNNING.
        """
        if self._second is None:
            yield None
            return
        if self._out_of_reach:
            self.plain()
        try:
            yield self._open_second(self._second)
        finally:
            self._second.close()

    @contextmanager
    def destination(self) -> Iterator[Destination]:
        """The device on which a state is restored, RUNNING after a reset: the second one, or else the device itself."""
        with self.second() as device:
            if device is None:
                yield Destination(self.plain(), self.prepare(), self.actor)
            else:
                yield Destination(device, self._migration_of(device), Actor(device, self.profile))

    def _open_second(self, device: Device) -> Device:
        """Raises Broken, Unreachable."""
        place = f"{self.profile.where('device.second')}: the second device"
        problem, remedy = "", ""
        errors: list[TransportError] = []
        spares = [spare for spare in self.profile.device.spares if spare is not self._taken]
        ways: list[Callable[[Device], bool]] = [
            lambda device: True,
            self._restart,
            self._recover_second,
            *(partial(self._replace_second, spare) for spare in spares),
        ]
        for way in ways:
            try:
                if not way(device):
                    continue
                device = self._second or device
                device.open()
                problem = self._prepare_second(device, place)
            except TransportError as error:
                errors.append(error)
                device.transport.shutdown()
                problem, remedy = error.message, error.remedy.replace("device.", "device.second.")
            if not problem:
                for met in errors:
                    self.tell_trouble(met)
                return device
            self.note(f"the second device did not get to running: {problem}")
        if not device.transport.is_open:
            raise Broken(f"{place} cannot be opened: {problem}", remedy)
        raise Unreachable("bringing the second device to running", "running after a reset", problem)

    def _prepare_second(self, device: Device, place: str) -> str:
        """Bring the second device, which is open, to RUNNING; what is wrong with it, or nothing. Raises Broken."""
        if other := _difference(self._described or self.device.regions, device.regions):
            raise Broken(f"{place} is of another kind: {other}", "name a device of the same kind")
        if self._resettable:
            try:
                device.try_reset()
            except (CallTimeout, PeerGone) as error:
                self.tell_trouble(error)
                self._reset_failed(error)
                device.transport.shutdown()
                device.open()
        if self._migration is None:
            return ""
        if self._problem(self._migration_of(device)):
            device.reopen()
        return self._problem(self._migration_of(device), insist=True)

    def _recover_second(self, device: Device) -> bool:
        second = self.profile.device.second
        if not second or not second.recovery:
            return False
        device.transport.shutdown()
        self._run_recovery(second.recovery, "device.second.recovery")
        return True

    def _replace_second(self, spare: SpareInKernel | SpareServer, device: Device) -> bool:
        device.transport.shutdown()
        self.note(f"a spare device takes the place of the second device: {spare}")
        self._second = self._beside(spare)
        return True

    def _migration_of(self, device: Device) -> MigrationRegion:
        found = device.migration_regions()
        if not found:
            raise Unreachable("looking for the migration region", "one", self._no_migration or "none")
        region = MigrationRegion(found[0], self.profile.limits.largest_state)
        region.mapped = self._maps_only
        return region

    @property
    def _maps_only(self) -> bool:
        return self.profile.claims.data_section == "mapped-only"

    def _restored_on(self) -> str:
        second = self.profile.device.second
        if second is None:
            return "the device itself, after a reset"
        if isinstance(second, SecondInKernel):
            return second.name
        return second.socket or "a second server, started by the same command"

    # -- the ways back --------------------------------------------------------------------------------------------

    def _bring_back(self, migration: MigrationRegion | None, first: Callable[[], bool]) -> str:
        """Take one way after the other, ``first`` first, until the device is open and, given ``migration``, RUNNING.

        What is wrong with it after the last of them; nothing when all is well. Raises Broken when it cannot even be
        opened, Lost where another process still has a way.
        """
        problem = remedy = ""
        for way in (first, self._reopen, self._restart_device, self._recover):
            try:
                if not way():
                    continue
                problem = self._problem(migration, insist=way != first)
            except DeviceError as error:
                problem = str(error)
            except (Broken, TransportError) as error:
                self.tell_trouble(error)
                self.lost, problem, remedy = True, error.message, error.remedy
            if not problem:
                return ""
            self._note_once(f"the device did not get to running: {problem}")
        if not self.lost:
            return problem
        if self._way < len(self._ways()) - 1:
            raise Lost(f"the device cannot be opened again: {problem}")
        raise Broken(f"the device cannot be opened again: {problem}", remedy)

    def _problem(self, migration: MigrationRegion | None, *, insist: bool = False) -> str:
        """What keeps the device from being used as one that is RUNNING; nothing when it can be.

        RUNNING is written where the device is in the state in which it opens or, to ``insist``, in any.
        """
        if migration is None:
            return ""
        try:
            state = migration.state()
            if state not in (DeviceState.RUNNING, DeviceState.ERROR) and (insist or state == self.opened_in):
                self._note_once(f"device_state reads {name(state)} after open or reset; running is written then")
                migration.try_set_state(DeviceState.RUNNING)
                state = migration.state()
        except DeviceError as error:
            return str(error)
        return "" if state == DeviceState.RUNNING else f"device_state reads {name(state)}"

    @property
    def _out_of_reach(self) -> bool:
        return self.lost or self.transport.gone

    def _as_it_is(self) -> bool:
        return not self._out_of_reach

    def _reset(self) -> bool:
        if self._out_of_reach:
            return False
        if not self._resettable:
            return True  # there is no way to a known state, and what a container holds its user puts away
        try:
            outcome = self.device.try_reset()
        except (CallTimeout, PeerGone) as error:
            self._reset_failed(error)
            raise
        if not outcome.ok:
            self._note_once(f"the device refused a reset: {errno_name(outcome.errno)}")
        return outcome.ok

    def _reset_failed(self, error: TransportError) -> None:
        """A reset did not end as calls do; when that is so again and again it is not part of the set-up any more."""
        self._bad_resets += 1
        if self._bad_resets == _MOST_FAILURES:
            self._resettable = False
            self.note(f"the device is not reset before a case any more: {error.message}, {_MOST_FAILURES} times")

    def _reopen(self) -> bool:
        self.lost = True
        self.device.reopen()
        self.lost = False
        return True

    def _restart_device(self) -> bool:
        return self._restart(self.device) and self._reopen()

    def _restart(self, device: Device) -> bool:
        """End the server of ``device``, where opening it again starts another one."""
        if not isinstance(self.profile.device, VfioUserDevice) or not self.profile.device.command:
            return False
        self.note("the server was started again to get the device back to running")
        device.transport.shutdown()
        return True

    def _recover(self) -> bool:
        command = self.profile.device.recovery
        if not command:
            return False
        self.transport.shutdown()
        self._run_recovery(command, "device.recovery")
        return self._reopen()

    def _run_recovery(self, command: Sequence[str], place: str) -> None:
        """Raises Broken."""
        self.note(f"the recovery command was run: {' '.join(command)}")
        try:
            subprocess.run(
                command, check=True, timeout=self.profile.limits.test, stdin=subprocess.DEVNULL, capture_output=True
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise Broken(f"the recovery command failed: {error}", f"see {self.profile.where(place)}") from None

    def _set_up(self, device: Device, moment: str) -> None:
        """The steps of the profile after each open and each reset. Raises DeviceError."""
        Actor(device, self.profile).set_up(moment)

    # -- beginning ------------------------------------------------------------------------------------------------

    def _find_migration(self) -> None:
        found = self.device.migration_regions()
        if not found:
            self._no_migration = (
                f"none of the {len(self.device.regions)} regions announces type 3, subtype 1: is migration "
                "switched on in the driver, and is this the right device?"
            )
            return
        self._migration = self._migration_of(self.device)

    def _check_profile(self) -> None:
        """Raises Broken where the stimulus fits no device such as this one."""
        if self._no_migration and "migration_v1" in self.profile.interfaces:
            return  # the wrong device, most likely: each case says so
        for place, step in steps_of(self.profile):
            if step.region >= len(self.device.regions):
                seen = f"the device has {len(self.device.regions)} regions, counted from 0"
            elif step.offset + step.width > (size := self.device.regions[step.region].size):
                seen = f"region {step.region} has {size} bytes"
            else:
                continue
            raise Broken(
                f"{self.profile.where(place)}: {place} accesses {step.width} bytes at 0x{step.offset:x} of region "
                f"{step.region}, but {seen}",
                "correct the stimulus in the profile",
            )

    def _switch_defects(self) -> None:
        parameter = self._parameter
        if not self._defects or parameter is None:
            return
        try:
            before = parameter.read_text().strip()
            # Told first: whoever watches this process puts it back if this process cannot.
            self.tell(events.Changed(str(parameter), before))
            self._defects_before = before
            parameter.write_text(",".join(self._defects))
        except OSError as error:
            raise Broken(
                f"cannot switch on defects: {parameter}: {error.strerror}",
                "load the reference module, and name only defects that it knows",
            ) from None

    def _restore_defects(self) -> None:
        if self._parameter is not None and self._defects_before is not None:
            self._parameter.write_text(f"{self._defects_before}\n")  # to write nothing at all would change nothing
            self.tell(events.Restored(str(self._parameter)))

    @property
    def _parameter(self) -> Path | None:
        device = self.profile.device
        if isinstance(device, KernelGroupDevice) and device.defects is not None:
            return Path(device.defects.parameter)
        return None


#: Where a device is reached.
Where: TypeAlias = KernelGroupDevice | SpareInKernel | VfioUserDevice | SecondServer | SpareServer


def _difference(first: list[Region], second: list[Region]) -> str:
    """In what two devices with these regions are not of the same kind; nothing when they are. Raises DeviceError."""
    if len(first) != len(second):
        return f"it has {len(second)} regions, not {len(first)}"
    for mine, its in zip(first, second, strict=True):
        if mine.size != its.size:
            return f"its region {its.index} has {its.size} bytes, not {mine.size}"
        if mine.type != its.type:
            return f"its region {its.index} has type {its.type}, not {mine.type}"
    return ""


def _to(profile: Profile, where: Where, defects: Sequence[str], beside: Transport | None = None) -> Transport:
    """A way to the device, the second one or a spare one, as ``where`` says, or ``beside`` the way to another."""
    device = profile.device
    if defects and device.defects is None:
        raise Broken(
            f"{profile.path}: this device has no way to switch on defects",
            "use --defect with the reference device only",
        )
    if isinstance(where, (KernelGroupDevice, SpareInKernel)):
        return create(KernelGroupSettings(name=where.name, group=where.group, sysfs=where.sysfs), beside)
    assert isinstance(device, VfioUserDevice)
    option = device.defects.option if device.defects else None
    return create(
        VfioUserSettings(
            socket=where.socket,
            command=None if isinstance(where, SpareServer) else device.command,
            call_deadline=profile.limits.call,
            start_deadline=profile.limits.test,
            extra_arguments=tuple(str(option).replace("{name}", name) for name in defects),
        ),
        beside,
    )


def kernel_release() -> str:
    """System name and release of the running kernel."""
    name = os.uname()
    return f"{name.sysname} {name.release}"
