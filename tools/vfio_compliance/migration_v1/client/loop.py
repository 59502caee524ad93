# SPDX-License-Identifier: GPL-2.0-only
"""What the loops of saving and of resuming have in common."""

from __future__ import annotations

from ...run.client import Access
from ...run.ledger import Ledger
from .access import register_of


class Loop:
    """Steps that move data, in one stay in a state. An error ends the loop (ERR-02; kabi v23, lines 220-224)."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        #: Whether any step was taken.
        self.begun = False
        #: Whether the driver ever reported an error in it.
        self.troubled = False
        self._failed = ""

    def step(self, access: Access) -> bool:
        """Record a step; return whether the driver carried it out."""
        if self._failed:
            self.ledger.offend(
                "ERR-02",
                "the loop to end with the error, and the state to be left or the device to be reset",
                f"another step of the loop was made after {self._failed}",
                after_all=True,
            )
            self._failed = ""
        self.begun = True
        if access.value < 0:
            self.fail(f"a {access.verb} of {register_of(access) or 'data'} that failed")
        return access.value >= 0

    def fail(self, how: str) -> None:
        """The driver reported an error; from here on no step may follow."""
        if not self._failed:
            self.ledger.keep("ERR-02")
        self._failed = how
        self.troubled = True
