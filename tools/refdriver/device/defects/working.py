# SPDX-License-Identifier: GPL-2.0-only
"""Work that was in flight when the device was stopped, and its reported result."""

from __future__ import annotations

from ...overlays import defect
from ..machine import IMAGE, STATUS, Machine


@defect("work-forgotten-at-stop", "the result of the last doorbell is forgotten when the device stops")
class ForgottenAtStop(Machine):
    def halt(self) -> None:
        if self.working:
            self._values[STATUS] = 0
        super().halt()


@defect("work-status-not-saved", "the result of the last doorbell is not part of the saved state")
class StatusNotSaved(Machine):
    def save(self) -> bytes:
        control, counter, address, length, _status, *scratch = IMAGE.unpack(super().save())
        return IMAGE.pack(control, counter, address, length, 0, *scratch)
