# SPDX-License-Identifier: GPL-2.0-only
"""One open device for the length of a run, and the way back to a known state before each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TypeVar

from ..common.words import counted
from ..device import Container, Device, DeviceError, Region
from ..profiles import Profile, SpareInKernel, SpareServer
from ..results import events
from ..results.registers import recorded
from ..results.setting import UsedRegion
from ..transport import (
    CallTimeout,
    Death,
    Transport,
    TransportError,
)
from .defects import DefectSwitch
from .errors import Broken
from .interface import Attachment, Interface
from .reaching import Where, way_to
from .recovery import Recovery
from .second import SecondDevice
from .stimulus import Actor, steps_of

A = TypeVar("A", bound=Attachment)


class Session:
    """Opens the profile's device once; hands it to one test after the other in a known state."""

    def __init__(self, profile: Profile, defects: Sequence[str], interfaces: Sequence[Interface]) -> None:
        """Raises Broken when defects are asked for that the profile has no way to switch on."""
        self.profile = profile
        self.interfaces = interfaces
        #: Puts an event into the journal, once there is one.
        self.tell: Callable[[events.Event], None] = lambda event: None
        #: The regions, as a device just opened describes them; empty where it could not be asked.
        self.described: list[Region] = []
        #: The device has to be opened again: a call on it did not end as calls do.
        self.lost = True
        self.recovery = Recovery(self)
        self._defects = list(defects)
        self._switch = DefectSwitch(profile, self._defects, lambda event: self.tell(event))
        #: The spare device that has taken the place of the device.
        self._taken: SpareInKernel | SpareServer | None = None
        #: The way by which the device is reached, as an index of _ways().
        self._way = 0
        self._noted: set[str] = set()
        self._use(way_to(profile, profile.device, defects))
        self.attachments = [interface.attach(self) for interface in interfaces]

    def of(self, kind: type[A]) -> A:
        """What an interface knows of the device, by its class."""
        return next(each for each in self.attachments if isinstance(each, kind))

    def _use(self, transport: Transport) -> None:
        """Reach the device by ``transport``, and the second one beside it: they share what a container shares."""
        self.transport = transport
        self.device = Device(transport, self._set_up)
        self.container = Container(transport)
        self.actor = self.actor_of(self.device)
        self._second = SecondDevice(self)

    def beside(self, where: Where) -> Device:
        """Another device, which shares with the device what a container shares."""
        return Device(way_to(self.profile, where, self._defects, self.transport), self._set_up)

    def actor_of(self, device: Device) -> Actor:
        """The profile's stimulus, for this device or the second one."""
        return Actor(device, self.profile)

    def _set_up(self, device: Device, moment: str) -> None:
        """The steps of the profile after each open and each reset. Raises DeviceError."""
        self.actor_of(device).set_up(moment, self._find)

    def _find(self, device: Device) -> list[Region]:
        """The regions through which interfaces use a device. Raises DeviceError."""
        return [region for interface in self.interfaces for region in interface.find(device)]

    # -- begin and end --------------------------------------------------------------------------------------------

    def start(self, way: int = 0) -> None:
        """Switch on the defects, open the device, and see that the profile speaks of this device.

        ``way`` is the first of the ways to open it that is tried: opening it, the recovery command before that, each
        spare device. Raises Broken, TransportError.
        """
        self._switch.on()
        self._reach(way)
        self.lost = False
        for attachment in self.attachments:
            attachment.look()
        with suppress(DeviceError):
            self.described = self.device.regions
            self._check_profile()
        with suppress(DeviceError):
            self.recovery.resettable = self.device.announces_reset
        identity = self.transport.identity()
        for attachment in self.attachments:
            identity |= attachment.identity()
        self.tell(events.Target(identity, tuple(self._used_regions())))

    def _used_regions(self) -> Iterator[UsedRegion]:
        for attachment in self.attachments:
            interface = attachment.interface
            registers = tuple(map(recorded, interface.registers))
            yield from (UsedRegion(region.index, interface.name, registers) for region in attachment.regions)

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

    @property
    def has_another_way(self) -> bool:
        """Whether another test process has a way to open the device that this one has not tried."""
        return self._way < len(self._ways()) - 1

    def _open_recovered(self) -> None:
        self.recovery.run("device.recovery", self.profile.device.recovery or ())
        self.device.open()

    def _open_spare(self, spare: SpareInKernel | SpareServer) -> None:
        self.note(f"a spare device takes the place of the device: {spare}")
        transport = way_to(self.profile, spare, self._defects)
        transport.tracer = self.transport.tracer
        self._use(transport)
        self._taken = spare
        self.device.open()

    @property
    def spares(self) -> list[SpareInKernel | SpareServer]:
        """The spare devices that are left."""
        return [spare for spare in self.profile.device.spares if spare is not self._taken]

    def _check_profile(self) -> None:
        """Raises Broken where the stimulus fits no device such as this one."""
        if any(each.missing for each in self.attachments if each.interface.name in self.profile.interfaces):
            return  # the wrong device, most likely: each case says so
        for place, step in steps_of(self.profile):
            if step.region >= len(self.device.regions):
                seen = f"the device has {counted(len(self.device.regions), 'region')}, counted from 0"
            elif step.offset + step.width > (size := self.device.regions[step.region].size):
                seen = f"region {step.region} has {counted(size, 'byte')}"
            else:
                continue
            raise Broken(
                f"{self.profile.where(place)}: {place} is for {counted(step.width, 'byte')} at 0x{step.offset:x} "
                f"of region {step.region}, but {seen}",
                "correct the stimulus in the profile",
            )

    def finish(self) -> None:
        """Close the device and put the host back as it was found; what does not succeed becomes a note."""
        problems = []
        for undo in (*(each.shutdown for each in reversed(self._transports())), self._switch.restore):
            try:
                undo()
            except (TransportError, OSError, RuntimeError) as error:
                problems.append(error)
        for problem in problems:
            self.note(f"at the end of the run: {problem}")

    def _transports(self) -> list[Transport]:
        second = self._second.transport
        return [self.transport, *([second] if second else [])]

    # -- what the journal is told ---------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Put ``text`` into the journal."""
        self.tell(events.Note(text))

    def note_once(self, text: str) -> None:
        """Put ``text`` into the journal unless it is there already."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    def tell_deaths(self, case: str | None = None) -> None:
        """Put into the journal the ends of servers that nobody asked for; ``case`` is the test that was running."""
        for death in self._take_deaths():
            self.tell(events.Death(*death, case))

    def _take_deaths(self) -> list[Death]:
        """Those that have come since this was last called; remarks on the way become notes."""
        transports = self._transports()
        for remark in (remark for transport in transports for remark in transport.remarks):
            self.note_once(remark)
        return [death for transport in transports for death in transport.take_deaths()]

    def tell_trouble(self, error: Exception) -> None:
        """Put into the journal what ``error``, met on the way to a test, says of the device: a hang, a dead server.

        It is no verdict on the test, and the run is not to pass it over.
        """
        self.tell_deaths()
        if isinstance(error, CallTimeout):
            self.tell(events.Unanswered(error.message, error.remedy))

    # -- what tests get -------------------------------------------------------------------------------------------

    @property
    def out_of_reach(self) -> bool:
        """The device has to be opened again before it can be used."""
        return self.lost or self.transport.gone

    def plain(self) -> Device:
        """The device, open, after a reset or what has to stand in for it. Raises Broken, Lost, CallTimeout."""
        self.recovery.reset()
        return self.device

    def second(self) -> AbstractContextManager[Device | None]:
        """Another device of the same kind, open and ready, until the block ends; None where the profile names none.

        Raises Broken when it cannot be opened or is of another kind, Unreachable when it is not RUNNING.
        """
        return self._second.opened()

    @property
    def second_name(self) -> str:
        """What a report calls the second device; nothing where the profile names none."""
        return self._second.name
