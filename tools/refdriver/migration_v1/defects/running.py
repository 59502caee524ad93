# SPDX-License-Identifier: GPL-2.0-only
"""Running and stopping."""

from __future__ import annotations

from time import monotonic_ns

from ...device.machine import Machine
from ...overlays import defect, part_of
from ..region import MigrationRegion
from ..states import PRE_COPY, RESUMING, RUNNING, STOP_AND_COPY
from ..stream import Outgoing

_LATE_NS = 20_000_000


class Lingering(Machine):
    """May run on for a while after it was stopped."""

    lingers = False
    #: The time at which it will stop.
    _halt_at: int | None = None

    def halt(self) -> None:
        self._settle()
        if self._since is None or self._halt_at is not None:
            return
        if self.lingers:
            self._halt_at = monotonic_ns() + _LATE_NS
        else:
            super().halt()

    def run(self) -> None:
        self._settle()
        self._halt_at = None
        super().run()

    def reset(self) -> None:
        if self._halt_at is not None:
            self._since = self._halt_at = None
        super().reset()

    @property
    def working(self) -> bool:
        self._settle()
        return super().working

    def _counter(self) -> int:
        self._settle()
        return super()._counter()

    def _settle(self) -> None:
        """Stop when it is due."""
        if self._since is not None and self._halt_at is not None and monotonic_ns() >= self._halt_at:
            self._end_work(self._since, self._halt_at)
            self._halt_at = None


@defect("running-bit-inverted", "the device runs while bit 0 is clear and is stopped while it is set")
class RunningBitInverted(MigrationRegion):
    def _works(self, state: int) -> bool:
        return not super()._works(state)


@defect("stop-late", "the device runs on for 20 ms after the write that stops it has returned")
class StopLate(Lingering):
    lingers = True


@defect("pre-copy-exit-late", "the device runs on for 20 ms after the write that leaves pre-copy has returned")
class PreCopyExitLate(MigrationRegion):
    def _move(self, new: int) -> None:
        machine = self._machine
        assert isinstance(machine, Lingering)
        kept, machine.lingers = machine.lingers, machine.lingers or self.state == PRE_COPY
        super()._move(new)
        machine.lingers = kept


part_of("pre-copy-exit-late")(Lingering)


@defect("stop-dma-continues", "the DMA stream continues while the device is stopped")
class DmaContinues(Machine):
    @property
    def streaming(self) -> bool:
        return self.stream_is_on


@defect("stop-one-late-dma", "one write of the DMA stream comes 20 ms after the device was stopped")
class OneLateDma(Machine):
    _one_more = False

    def reset(self) -> None:
        super().reset()
        self._one_more = False

    def halt(self) -> None:
        if self.working and self.streaming:
            self._one_more, self._stream_due = True, monotonic_ns() + _LATE_NS
        super().halt()

    @property
    def streaming(self) -> bool:
        return super().streaming or (self.stream_is_on and self._one_more)

    def _write_stream(self) -> None:
        self._one_more = False
        super()._write_stream()


def working(in_state: int, works: bool) -> type[MigrationRegion]:
    """A region that has the device run in a state in which it must be stopped, or the other way round."""

    class Working(MigrationRegion):
        def _works(self, state: int) -> bool:
            return works if state == in_state else super()._works(state)

    return Working


defect("stop-and-copy-keeps-running", "stop-and-copy does not stop the device")(working(STOP_AND_COPY, True))


@defect("stop-and-copy-works-at-data", "in stop-and-copy the device runs again once a buffer is asked for")
class WorksAtData(MigrationRegion):
    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        if self.state == STOP_AND_COPY:
            self._machine.run()


defect("resuming-keeps-running", "the device runs in RESUMING")(working(RESUMING, True))
defect("pre-copy-stops", "the device is stopped in pre-copy")(working(PRE_COPY, False))


@defect("pre-copy-stops-at-data", "in pre-copy the device is stopped once a buffer is asked for")
class StopsAtData(MigrationRegion):
    def _put(self, outgoing: Outgoing) -> None:
        super()._put(outgoing)
        if self.state == PRE_COPY:
            self._machine.halt()


def standing_still(old: int, new: int) -> type[MigrationRegion]:
    """A region that halts the device after a transition."""

    class StandingStill(MigrationRegion):
        def _make_transition(self, state: int) -> None:
            made = self.state, state
            super()._make_transition(state)
            if made == (old, new):
                self._machine.halt()

    return StandingStill


defect("resumed-stays-stopped", "after RESUMING -> RUNNING the device stays stopped")(standing_still(RESUMING, RUNNING))
defect("cancelled-stays-stopped", "after stop-and-copy -> RUNNING the device stays stopped")(
    standing_still(STOP_AND_COPY, RUNNING)
)
