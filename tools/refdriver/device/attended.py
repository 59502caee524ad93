# SPDX-License-Identifier: GPL-2.0-only
"""A device that works only while somebody takes its interrupts (DEVICE.md, needs-interrupt)."""

from __future__ import annotations

from .interrupts import DONE
from .machine import Machine


class Attended(Machine):
    """Stands still, though its user has it run, until the vector of the doorbell is enabled."""

    _to_run = False

    def run(self) -> None:
        """Work from now on, or as soon as somebody attends."""
        self._to_run = True
        self.attended()

    def halt(self) -> None:
        """Stand still, whoever attends."""
        self._to_run = False
        super().halt()

    def attended(self) -> None:
        """Go on, or stop for want of somebody."""
        if self._to_run and self.interrupts.vectors[DONE].attached:
            super().run()
        else:
            super().halt()
