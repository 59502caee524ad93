# SPDX-License-Identifier: GPL-2.0-only
"""A device that runs only while its user takes its interrupts (DEVICE.md, needs-interrupt)."""

from __future__ import annotations

from .interrupts import DONE
from .machine import Machine


class Attended(Machine):
    """Stays stopped, although its user has it run, until the vector of the doorbell is enabled."""

    _to_run = False

    def run(self) -> None:
        """Run from now on, or as soon as the user takes interrupts."""
        self._to_run = True
        self.attended()

    def halt(self) -> None:
        """Stop, whether or not the user takes interrupts."""
        self._to_run = False
        super().halt()

    def attended(self) -> None:
        """Continue, or stop because the user no longer takes interrupts."""
        if self._to_run and self.interrupts.vectors[DONE].attached:
            super().run()
        else:
            super().halt()
