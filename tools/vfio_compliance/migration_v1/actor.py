# SPDX-License-Identifier: GPL-2.0-only
"""The profile's ways to make a device fail while it migrates, or have something to do then."""

from __future__ import annotations

from ..profiles import Step
from ..run.stimulus import Actor
from .profile import MigrationStimulus, Work


class MigrationActor(Actor):
    """What the profile denies raises NotApplicable, what it says nothing about Silent."""

    @property
    def _faults(self) -> MigrationStimulus:
        return self.profile.stimulus_of(MigrationStimulus)

    def provoke_error(self) -> None:
        """Make the next write of device_state fail with the error state."""
        self.run("stimulus.error", self.wanted("error", self._faults.error), {})

    def provoke_refusal(self) -> None:
        """Make the next write of device_state fail with the state that the device is in."""
        self.run("stimulus.refusal", self.wanted("refusal", self._faults.refusal), {})

    def start_work(self, iova: int, length: int) -> None:
        """Give the device something to do, for which it may write some memory."""
        self.run("stimulus.work.start", self._work().start, {"$iova": iova, "$length": length})

    def await_work(self) -> None:
        """Wait until the device says that it is done, or was aborted. Raises Unreachable when that does not come."""
        self.run("stimulus.work.ended", self._work().ended, {})

    def _work(self) -> Work:
        return self.wanted("work", self._faults.work)

    def provoke_save_fault(self) -> None:
        """Make the device fail while it saves its state, once it has been told to."""
        self.run("stimulus.save_fault", self.wanted("save_fault", self._faults.save_fault), {})

    def provoke_resume_fault(self) -> None:
        """Make the device fail while it is given a state, once it has been told to."""
        self.run("stimulus.resume_fault", self.need_resume_fault(), {})

    def need_resume_fault(self) -> tuple[Step, ...]:
        """How that is done, for those who move a state first. Raises NotApplicable, Silent."""
        return self.wanted("resume_fault", self._faults.resume_fault)
