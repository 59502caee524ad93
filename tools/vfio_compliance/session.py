# SPDX-License-Identifier: GPL-2.0-only
"""One open device for the length of a run, and the way back to a known state before each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .device import Device, DeviceError, MigrationRegion, Unreachable
from .profiles import KernelGroupDevice, Profile, VfioUserDevice
from .results.journal import Journal
from .stimulus import Actor, steps_of
from .transport import KernelGroupSettings, Transport, TransportError, VfioUserSettings, create
from .uapi.migration_v1 import DeviceState


class Broken(Exception):
    """The run cannot start or go on, and not because a rule was broken; ``remedy`` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class Session:
    """Opens the profile's device once; hands it to one test after the other in a known state."""

    def __init__(self, profile: Profile, defects: Sequence[str], journal: Journal | None) -> None:
        """Raises Broken when defects are asked for that the profile has no way to switch on."""
        self.profile = profile
        self.transport = _transport(profile, defects)
        self.device = Device(self.transport)
        self.actor = Actor(self.device, profile.stimulus)
        self._journal = journal
        self._defects = list(defects)
        self._defects_before: str | None = None
        #: Why no test can have the migration region, once that is known.
        self._no_migration: str | None = None
        self._migration: MigrationRegion | None = None
        #: The device has to be opened again: the connection is lost.
        self.lost = False

    # -- begin and end --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Switch on the defects, open the device, and see that the profile speaks of this device. Raises Broken."""
        self._switch_defects()
        try:
            self.device.open()
        except TransportError as error:
            raise Broken(error.message, error.remedy) from None
        try:
            self._find_migration()
            self._check_profile()
        except TransportError as error:
            raise Broken(error.message, error.remedy) from None
        self.note_target()

    def note_target(self) -> None:
        """Put what the device is into the journal."""
        if self._journal is not None:
            self._journal.write(
                "target",
                identity=self.transport.identity(),
                migration=self._migration.region.index if self._migration else None,
            )

    def finish(self) -> None:
        """Close the device and put the host back as it was found. Never raises."""
        try:
            self.device.close()
        except (TransportError, OSError) as error:
            self.note(f"closing the device: {error}")
        self.transport.shutdown()
        if self._defects_before is not None and isinstance(self.profile.device, KernelGroupDevice):
            Path(str(self.profile.device.defects and self.profile.device.defects.parameter)).write_text(
                self._defects_before
            )

    def note(self, text: str) -> None:
        """Put ``text`` into the journal."""
        if self._journal is not None:
            self._journal.write("note", text=text)

    # -- what tests get -------------------------------------------------------------------------------------------

    def migration(self) -> MigrationRegion:
        """The migration region, whatever state the device is in. Raises Unreachable when there is none to use."""
        if self._migration is None:
            raise Unreachable("looking for the migration region", "one", self._no_migration or "none")
        return self._migration

    def prepare(self) -> MigrationRegion:
        """The migration region of a device that was brought to RUNNING. Raises Unreachable, Broken, TransportError.

        The documented way is a reset. Where that does not help, the device is opened again, a vfio-user server that
        the profile can start is started again, and the profile's recovery command is run; each is noted.
        """
        migration = self.migration()
        if self._no_migration:
            raise Unreachable("bringing the device to running", "running after a reset", self._no_migration)
        if not self.lost:
            outcome = self.device.try_reset()
            problem = self._problem(migration)
            if outcome.ok and not problem:
                return migration
            self.note(f"a reset did not bring the device to running: {problem or 'it was refused'}")
        for remedy in (self._reopen, self._restart, self._recover):
            if remedy():
                problem = self._problem(migration)
                if not problem:
                    return migration
        self._no_migration = problem
        raise Unreachable("bringing the device to running", "running after a reset", problem)

    def plain(self) -> Device:
        """The device, open, and reset if it can be. Raises TransportError."""
        if self.lost:
            self._reopen()
        self.device.try_reset()
        return self.device

    # -- the ways back --------------------------------------------------------------------------------------------

    def _problem(self, migration: MigrationRegion) -> str:
        try:
            state = migration.state()
        except DeviceError as error:
            return str(error)
        return "" if state & 7 == DeviceState.RUNNING else f"device_state reads 0x{state:x}"

    def _reopen(self) -> bool:
        self.device.reopen()
        self.lost = False
        return True

    def _restart(self) -> bool:
        if not isinstance(self.profile.device, VfioUserDevice) or not self.profile.device.command:
            return False
        self.note("the server was started again to get the device back to running")
        self.device.close()
        self.transport.shutdown()
        self.device.open()
        return True

    def _recover(self) -> bool:
        command = self.profile.device.recovery
        if not command:
            return False
        self.note(f"the recovery command was run: {' '.join(command)}")
        self.device.close()
        try:
            subprocess.run(command, check=True, timeout=self.profile.limits.test, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise Broken(
                f"the recovery command failed: {error}", f"see {self.profile.where('device.recovery')}"
            ) from None
        self.device.open()
        return True

    # -- beginning ------------------------------------------------------------------------------------------------

    def _find_migration(self) -> None:
        try:
            found = self.device.migration_regions()
        except DeviceError as error:
            self._no_migration = str(error)
            return
        if not found:
            self._no_migration = (
                f"none of the {len(self.device.regions)} regions announces type 3, subtype 1: is migration "
                "switched on in the driver, and is this the right device?"
            )
            return
        self._migration = MigrationRegion(found[0])

    def _check_profile(self) -> None:
        if self._no_migration:
            return
        for place, step in steps_of(self.profile.stimulus):
            if step.region >= len(self.device.regions):
                seen = f"the device has regions 0 to {len(self.device.regions) - 1}"
            elif step.offset + step.width > self.device.regions[step.region].size:
                seen = f"region {step.region} has {self.device.regions[step.region].size} bytes"
            else:
                continue
            raise Broken(
                f"{self.profile.where(place)}: {place} accesses {step.width} bytes at 0x{step.offset:x} of region "
                f"{step.region}, but {seen}",
                "correct the stimulus in the profile",
            )

    def _switch_defects(self) -> None:
        device = self.profile.device
        if not self._defects or not isinstance(device, KernelGroupDevice):
            return
        parameter = Path(str(device.defects and device.defects.parameter))
        try:
            self._defects_before = parameter.read_text().strip()
            parameter.write_text(",".join(self._defects))
        except OSError as error:
            raise Broken(
                f"cannot switch on defects: {parameter}: {error.strerror}",
                "load the reference module, and name only defects that it knows",
            ) from None


def _transport(profile: Profile, defects: Sequence[str]) -> Transport:
    device = profile.device
    if defects and device.defects is None:
        raise Broken(
            f"{profile.path}: this device has no way to switch on defects",
            "use --defect with the reference device only",
        )
    if isinstance(device, KernelGroupDevice):
        return create(KernelGroupSettings(name=device.name, group=device.group, sysfs=device.sysfs))
    option = device.defects.option if device.defects else None
    return create(
        VfioUserSettings(
            socket=device.socket,
            command=device.command,
            call_deadline=profile.limits.call,
            start_deadline=profile.limits.call,
            extra_arguments=tuple(str(option).replace("{name}", name) for name in defects),
        )
    )


def kernel_release() -> str:
    """System name and release of the running kernel."""
    name = os.uname()
    return f"{name.sysname} {name.release}"
