# SPDX-License-Identifier: GPL-2.0-only
"""The profile's ways to make a device fail while it migrates, or to give it work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from ..device import DeviceError, DmaMap, Unreachable
from ..device.dma import DMA_SIZE
from ..profiles import Step
from ..run.checks import NotApplicable
from ..run.stimulus import Activity, Actor
from ..transport import TransportError
from ..uapi.migration_v1 import DEVICE_STATE, VFIO_DEVICE_STATE_MASK, VFIO_DEVICE_STATE_RUNNING
from .profile import MigrationRunning, MigrationStimulus, Work
from .region import REGION_TYPE
from .states import name


class Hidden(NotApplicable):
    """Whether the device runs cannot be seen in its present state."""


class MigrationActor(Actor):
    """What the profile denies raises NotApplicable, what it does not mention raises Silent."""

    #: A refusal is that of the next write to device_state, which follows at once.
    ends_with_its_case = Actor.ends_with_its_case | {"stimulus.refusal"}

    @property
    def _faults(self) -> MigrationStimulus:
        return self.profile.stimulus_of(MigrationStimulus)

    def counter(self) -> Activity:
        """As in Actor; sampling it raises Hidden in a state in which it cannot be read."""
        activity, running = super().counter(), self._stimulus.running
        hidden = running.unreadable_in if isinstance(running, MigrationRunning) else ()
        if not hidden:
            return activity

        def sample() -> int:
            state = name(self._state())
            if state in hidden:
                raise Hidden(f"stimulus.running.unreadable_in says that the sample cannot be read in {state}")
            return activity.sample()

        return replace(activity, sample=sample)

    def _state(self) -> int:
        """The state in device_state. Raises DeviceError; Unreachable if there is no migration region."""
        for region in self._device.regions_of_type(REGION_TYPE):
            return region.read(DEVICE_STATE.offset, DEVICE_STATE.width) & VFIO_DEVICE_STATE_MASK
        raise Unreachable("looking for the migration region", "one", "none")

    def runs(self) -> bool:
        """Whether device_state reads running. Raises DeviceError, TransportError."""
        return self._state() == VFIO_DEVICE_STATE_RUNNING

    @contextmanager
    def interrupts(self) -> Iterator[Activity]:
        """Interrupts that come repeatedly, by ``stimulus.interrupts``, until the block ends.

        The block may leave the device in any state: it is reset before the interrupts are stopped.
        """
        its = self.wanted("interrupts", self._faults.interrupts)
        self.enable_irq(its.index, its.vector)
        transport = self._device.transport
        with DmaMap(transport, *self.memory_for(DMA_SIZE)) as memory:
            variables = {"$iova": memory.iova, "$length": memory.size}
            self.run("stimulus.interrupts.start", its.start, variables)
            try:
                yield Activity(
                    f"interrupt {its.index}, vector {its.vector}",
                    lambda: self.count_irq(its.index, its.vector),
                    its.comes_within,
                    transport.pause,
                )
            finally:
                with suppress(DeviceError, TransportError):
                    if not self.runs():
                        self._device.try_reset()
                    self.run("stimulus.interrupts.stop", its.stop, variables)

    def provoke_error(self) -> None:
        """Make the next write to device_state fail with the error state."""
        self.run("stimulus.error", self.wanted("error", self._faults.error), {})

    def provoke_refusal(self) -> None:
        """Make the next write to device_state fail, with the device keeping its state."""
        self.run("stimulus.refusal", self.wanted("refusal", self._faults.refusal), {})

    def start_work(self, iova: int, length: int) -> None:
        """Give the device work, for which it may write some memory."""
        self.run("stimulus.work.start", self._work().start, {"$iova": iova, "$length": length})

    def await_work(self) -> None:
        """Wait until the device reports it as done or aborted. Raises Unreachable if that does not happen."""
        self.run("stimulus.work.ended", self._work().ended, {})

    def _work(self) -> Work:
        return self.wanted("work", self._faults.work)

    def provoke_save_fault(self) -> None:
        """Make the device fail while it is saved, from now on."""
        self.run("stimulus.save_fault", self.wanted("save_fault", self._faults.save_fault), {})

    def provoke_resume_fault(self) -> None:
        """Make the device fail while it is resumed, from now on."""
        self.run("stimulus.resume_fault", self.need_resume_fault(), {})

    def need_resume_fault(self) -> tuple[Step, ...]:
        """How that is done, for callers that move a state first. Raises NotApplicable, Silent."""
        return self.wanted("resume_fault", self._faults.resume_fault)
