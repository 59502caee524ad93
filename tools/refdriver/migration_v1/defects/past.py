# SPDX-License-Identifier: GPL-2.0-only
"""What one migration leaves behind that is in the way of the next one."""

from __future__ import annotations

from ...overlays import defect
from ..region import MigrationRegion
from ..states import PRE_COPY, RESUMING, STOP, STOP_AND_COPY
from ..stream import Image, Incoming


@defect("saving-given-up-lingers", "the memory of a pre-copy that was given up is what the next migration saves")
class GivenUpLingers(MigrationRegion):
    _left_over: bytes | None = None

    def _move(self, new: int) -> None:
        if self.state == PRE_COPY and new not in (PRE_COPY, STOP_AND_COPY):
            self._left_over = bytes(self._machine.memory.content)
        if new == STOP:
            self._left_over = None
        super()._move(new)

    def _whole_state(self) -> Image:
        whole = super()._whole_state()
        return whole if self._left_over is None else Image(memoryview(self._left_over), self._machine.save())


@defect("second-resume-ignored", "of two states given without a reset between them the second is taken and dropped")
class SecondResumeIgnored(MigrationRegion):
    _has_resumed = False

    def _force(self, state: int) -> None:
        super()._force(state)
        self._has_resumed = False

    def _move(self, new: int) -> None:
        super()._move(new)
        if new == RESUMING and self._has_resumed:
            self._incoming = self._buffers.resuming(memoryview(bytearray(len(self._machine.memory.content))))

    def _finish_resuming(self, incoming: Incoming) -> None:
        if self._has_resumed:
            incoming.registers()
        else:
            super()._finish_resuming(incoming)
            self._has_resumed = incoming.touched
