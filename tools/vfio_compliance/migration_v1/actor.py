# SPDX-License-Identifier: GPL-2.0-only
"""The profile's ways to make a device fail while it migrates."""

from __future__ import annotations

from ..run.stimulus import Actor
from .profile import MigrationStimulus


class MigrationActor(Actor):
    """What the profile denies raises NotApplicable, what it says nothing about Silent."""

    @property
    def _faults(self) -> MigrationStimulus:
        return self.profile.stimulus_of(MigrationStimulus)

    def provoke_error(self) -> None:
        """Make the next write of device_state fail with the error state."""
        self.run("stimulus.error", self.wanted("error", self._faults.error), {})

    def provoke_save_fault(self) -> None:
        """Make the device fail while it saves its state, once it has been told to."""
        self.run("stimulus.save_fault", self.wanted("save_fault", self._faults.save_fault), {})
