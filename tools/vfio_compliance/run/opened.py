# SPDX-License-Identifier: GPL-2.0-only
"""The device of a run, however it is reached, and what the journal records about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..device import Container, Device, Region
from ..profiles import Profile, SpareInKernel, SpareServer
from ..results import events
from ..transport import CallTimeout, Death, Transport, TransportError
from .errors import Broken, ProfileFault
from .reaching import Where, run_recovery, way_to
from .stimulus import Actor


class OpenDevice:
    """Reaches the device; knows nothing about interfaces or recovery."""

    def __init__(self, profile: Profile, defects: Sequence[str], find: Callable[[Device], Sequence[Region]]) -> None:
        """``find`` gives the regions of a device that the profile's set-up maps.

        Raises Broken if defects are requested that the profile has no way to switch on.
        """
        self.profile = profile
        #: Puts an event into the journal, once there is one.
        self.emit: Callable[[events.Event], None] = lambda event: None
        #: The regions, as the newly opened device describes them; empty if it could not be asked.
        self.described: list[Region] = []
        #: The device must be opened again: a call on it did not end normally.
        self.lost = True
        #: It must be opened again before the next case: what outlives a reset may be in an unknown state.
        self.spoilt = False
        self._defects, self._find = list(defects), find
        #: The spare device that has replaced the device.
        self._taken: SpareInKernel | SpareServer | None = None
        #: The way by which the device is reached, as an index of _ways().
        self._way = 0
        self._noted: set[str] = set()
        self._use(way_to(profile, profile.device, defects))

    def _use(self, transport: Transport) -> None:
        """Reach the device by ``transport``."""
        self.transport = transport
        self.device = Device(transport, self._set_up)
        self.container = Container(transport)
        self.actor = Actor(self.device, self.profile)
        #: The ways to all devices that share its container.
        self.transports = [transport]

    def beside(self, where: Where) -> Device:
        """Another device, which shares the container with the device."""
        transport = way_to(self.profile, where, self._defects, self.transport)
        self.transports.append(transport)
        return Device(transport, self._set_up)

    def _set_up(self, device: Device, moment: str) -> None:
        """The steps of the profile after each open and each reset. Raises DeviceError, Broken."""
        try:
            Actor(device, self.profile).set_up(moment, self._find)
        except ProfileFault as fault:
            raise Broken(fault.message, fault.remedy) from None

    # -- ways -----------------------------------------------------------------------------------------------------

    def reach(self, first: int) -> None:
        """Open the device by one way after another, from ``first`` on. Raises Broken, TransportError."""
        ways = self._ways()
        for self._way, way in enumerate(ways):
            if self._way < first and self._way < len(ways) - 1:
                continue
            if len(ways) > 1:
                self.emit(events.Way(self._way, len(ways)))
            try:
                way()
                return
            except (Broken, TransportError) as error:
                if self._way == len(ways) - 1:
                    raise
                self.report_trouble(error)
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
        self.run_recovery("device.recovery", self.profile.device.recovery or ())
        self.device.open()

    def _open_spare(self, spare: SpareInKernel | SpareServer) -> None:
        self.note(f"a spare device replaces the device: {spare}")
        transport = way_to(self.profile, spare, self._defects)
        transport.tracer = self.transport.tracer
        self._use(transport)
        self._taken = spare
        self.device.open()

    @property
    def spares(self) -> list[SpareInKernel | SpareServer]:
        """The remaining spare devices."""
        return [spare for spare in self.profile.device.spares if spare is not self._taken]

    @property
    def out_of_reach(self) -> bool:
        """The device must be opened again before it can be used."""
        return self.lost or self.transport.gone

    def run_recovery(self, place: str, command: Sequence[str]) -> None:
        """Run a recovery command, which is at ``place`` in the profile. Raises Broken."""
        self.note(f"the recovery command was run: {' '.join(command)}")
        run_recovery(self.profile, command, place)

    # -- records in the journal -----------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Put ``text`` into the journal."""
        self.emit(events.Note(text))

    def note_once(self, text: str) -> None:
        """Put ``text`` into the journal unless it is already there."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    def report_deaths(self, case: str | None = None) -> None:
        """Put unexpected ends of servers into the journal; ``case`` is the test that was running."""
        for death in self._take_deaths():
            self.emit(events.Death(*death, case))

    def _take_deaths(self) -> list[Death]:
        """The deaths since this was last called; remarks become notes."""
        transports = self.transports
        for remark in (remark for transport in transports for remark in transport.remarks):
            self.note_once(remark)
        return [death for transport in transports for death in transport.take_deaths()]

    def report_trouble(self, error: Exception) -> None:
        """Put into the journal what ``error``, met on the way to a test, says about the device: a hang, a dead server.

        It is not a verdict on the test, but the run must not ignore it.
        """
        self.report_deaths()
        if isinstance(error, CallTimeout):
            self.emit(events.Unanswered(error.message, error.remedy))
