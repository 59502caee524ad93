# SPDX-License-Identifier: GPL-2.0-only
"""Version 1 on the device of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import NamedTuple

from ..common.words import counted
from ..device import Device, DeviceError, Unreachable
from ..run.interface import Attachment
from ..uapi.migration_v1 import DeviceState
from .actor import MigrationActor
from .profile import MigrationClaims
from .region import REGION_TYPE, MigrationRegion
from .states import name


class Destination(NamedTuple):
    """Where a state is restored."""

    device: Device
    migration: MigrationRegion
    actor: MigrationActor


class Migration(Attachment):
    """The migration region of the device, and what was found out about it; it is provided in a known state."""

    #: device_state as it was first read, after the device was opened; RUNNING until then.
    opened_in = DeviceState.RUNNING
    _region: MigrationRegion | None = None

    @cached_property
    def claims(self) -> MigrationClaims:
        """What the profile claims."""
        return self.session.profile.claims_of(MigrationClaims)

    @property
    def actor(self) -> MigrationActor:
        """The profile's stimulus for the device."""
        return MigrationActor(self.session.device, self.session.profile)

    def look(self) -> None:
        """Find the region, and the state in which the device opens."""
        try:
            self.regions = self.session.device.regions_of_type(REGION_TYPE)
            if not self.regions:
                regions = counted(len(self.session.device.regions), "region")
                self.missing = (
                    f"none of the {regions} announces type 3, subtype 1: is migration switched on in the driver, and "
                    "is this the right device?"
                )
                return
            self._region = self._region_of(self.session.device)
        except DeviceError as error:
            self.missing = str(error)
            return
        with suppress(DeviceError):
            self.opened_in = self._region.state()

    def identity(self) -> dict[str, str]:
        """Where states are restored."""
        return {} if self.missing else {"restored on": self.session.second_name or "the device itself, after a reset"}

    def unready(self, device: Device, *, insist: bool) -> str:
        """RUNNING is written if the device is in the state in which it opens or, with ``insist``, in any."""
        if self.missing:
            return ""
        try:
            region = self.region() if device is self.session.device else self._region_of(device)
            state = region.state()
            if state not in (DeviceState.RUNNING, DeviceState.ERROR) and (insist or state == self.opened_in):
                self.session.note_once(f"device_state reads {name(state)} after open or reset; running is written then")
                region.try_set_state(DeviceState.RUNNING)
                state = region.state()
        except DeviceError as error:
            return str(error)
        return "" if state == DeviceState.RUNNING else f"device_state reads {name(state)}"

    def reads_as_reset(self) -> bool:
        """Whether it is RUNNING, or in the state in which it opens."""
        try:
            return self._region is None or self._region.state() in (DeviceState.RUNNING, self.opened_in)
        except DeviceError:
            return False

    def brought_back(self) -> bool:
        """Whether it is RUNNING again: the profile may claim a transition. What resuming has left must not run."""
        try:
            if self._region is None or (state := self._region.state()) == DeviceState.RUNNING:
                return True
            if state == DeviceState.RESUMING or (name(state), name(DeviceState.RUNNING)) not in self.claims.transitions:
                return False
            return self._region.try_set_state(DeviceState.RUNNING).ok and self._region.state() == DeviceState.RUNNING
        except DeviceError:
            return False

    def has_failed(self) -> bool:
        """Whether it is in the error state, or does not report its state."""
        try:
            return self._region is not None and self._region.state() == DeviceState.ERROR
        except DeviceError:
            return True

    def region(self) -> MigrationRegion:
        """The migration region, whatever state the device is in. Raises Unreachable without one to use."""
        if self._region is None:
            raise Unreachable("looking for the migration region", "one", self.missing or "none")
        return self._region

    def require_running(self) -> MigrationRegion:
        """The migration region of the device, which is RUNNING now. Raises Unreachable, Broken, Lost, CallTimeout."""
        region = self._configured()
        self.session.recovery.make_usable(self)
        return region

    def _configured(self) -> MigrationRegion:
        region = self.region()
        region.mapped, region.refused = self._maps_only, None
        return region

    def begin(self) -> MigrationRegion:
        """As require_running(), after a reset or, if the device has none, a new open.

        Raises Unreachable, Broken, Lost, CallTimeout.
        """
        self.session.renewed()
        return self.require_running()

    def next_case(self) -> MigrationRegion:
        """As begin(), but from case to case of a rule without a reset: brought back to RUNNING."""
        self.session.as_after_reset()
        return self.require_running() if self.session.recovery.resettable else self.begin()

    def rest_in(self, state: DeviceState) -> MigrationRegion:
        """The migration region of the device in ``state``, in which an earlier case of the rule may have left it.

        Raises Unreachable, Broken, Lost, CallTimeout.
        """
        session = self.session
        with suppress(DeviceError):
            if session.continues and self.region().state() == state:
                session.left_over = True
                return self._configured()
        session.as_after_reset()
        region = self.require_running()
        lasting = session.transport.lasting
        region.enter(state)
        session.transport.lasting = lasting  # it received nothing there
        return region

    @contextmanager
    def destination(self, *, keep: bool = False) -> Iterator[Destination]:
        """Where a state is restored, RUNNING: the second device, just opened, or the device itself, just reset.

        With ``keep``, a second device is left open, and reused as it is for the next cases of the same rule.
        """
        session = self.session
        with session.second(keep=keep) as device:
            if device is None:
                yield Destination(session.after_reset(), self.require_running(), self.actor)
            else:
                yield Destination(device, self._region_of(device), MigrationActor(device, session.profile))

    def _region_of(self, device: Device) -> MigrationRegion:
        found = device.regions_of_type(REGION_TYPE)
        if not found:
            raise Unreachable("looking for the migration region", "one", self.missing or "none")
        region = MigrationRegion(found[0], self.session.profile.limits.largest_state)
        region.mapped = self._maps_only
        return region

    @property
    def _maps_only(self) -> bool:
        return self.claims.data_section == "mapped-only"
