# SPDX-License-Identifier: GPL-2.0-only
"""Drivers that accept anything written while resuming, and check it when RESUMING is left."""

from __future__ import annotations

from errno import EIO

from ..refusal import Failure, Refusal
from .stream import Incoming


class _LateCheck(Incoming):
    #: Whether a buffer was damaged or out of order.
    bad = False

    def take(self, buffer: memoryview) -> None:
        """Accept anything as a buffer."""
        try:
            super().take(buffer)
        except Refusal:
            self.bad = True


class Dropping(_LateCheck):
    """An incomplete state is ignored: the registers keep their previous values."""

    def registers(self) -> bytes | None:
        """The registers of the whole state; None if it is incomplete."""
        try:
            return None if self.bad else super().registers()
        except Refusal:
            return None


class Failing(_LateCheck):
    """An incomplete state puts the device into the error state, which only a reset leaves."""

    def registers(self) -> bytes | None:
        """The registers of the whole state; None if no data ever came. Raises Failure."""
        try:
            if not self.bad:
                return super().registers()
        except Refusal:
            pass
        raise Failure(EIO)


#: By the value of the option.
BAD_DATA: dict[str, type[Incoming]] = {"refuse": Incoming, "drop": Dropping, "fail": Failing}
