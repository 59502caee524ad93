# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of a stopped device. It no longer writes memory: nothing else shows that it runs."""

from __future__ import annotations

from time import monotonic_ns

from ...overlays import defect
from ..interrupts import STREAMED
from ..machine import Machine

_LATE_NS = 20_000_000


class Raising(Machine):
    """A stopped device raises the interrupts of its stream, if ``_raises`` says so."""

    @property
    def _raises(self) -> bool:
        return False

    @property
    def streaming(self) -> bool:
        return super().streaming or (self.stream_is_on and self._raises)

    def _write_stream(self) -> None:
        if self.working:
            super()._write_stream()
        else:
            self.interrupts.fire(STREAMED)


@defect("stopped-interrupts", "the interrupts of the DMA stream continue while the device is stopped")
class InterruptsContinue(Raising):
    @property
    def _raises(self) -> bool:
        return True


@defect("stop-one-late-interrupt", "one interrupt of the DMA stream comes 20 ms after the device was stopped")
class OneLateInterrupt(Raising):
    _one_more = False

    def reset(self) -> None:
        super().reset()
        self._one_more = False

    def halt(self) -> None:
        if self.working and self.streaming:
            self._one_more, self._stream_due = True, monotonic_ns() + _LATE_NS
        super().halt()

    @property
    def _raises(self) -> bool:
        return self._one_more

    def _write_stream(self) -> None:
        super()._write_stream()
        self._one_more = False
