# SPDX-License-Identifier: GPL-2.0-only
"""Drivers that take whatever is written while resuming, and judge it when RESUMING is left."""

from __future__ import annotations

from errno import EIO

from ..refusal import Failure, Refusal
from .stream import Incoming


class _Lenient(Incoming):
    #: Whether a buffer was damaged or out of order.
    bad = False

    def take(self, buffer: memoryview) -> None:
        """Take one buffer in, or what passes for one."""
        try:
            super().take(buffer)
        except Refusal:
            self.bad = True


class Dropping(_Lenient):
    """What is not a whole state counts for nothing: the registers are those from before."""

    def registers(self) -> bytes | None:
        """The registers of the whole state; None when there is none."""
        try:
            return None if self.bad else super().registers()
        except Refusal:
            return None


class Failing(_Lenient):
    """What is not a whole state is an error of the device, which only a reset leaves."""

    def registers(self) -> bytes | None:
        """The registers of the whole state; None when no data ever came. Raises Failure."""
        try:
            if not self.bad:
                return super().registers()
        except Refusal:
            pass
        raise Failure(EIO)


#: By what is chosen.
BAD_DATA: dict[str, type[Incoming]] = {"refuse": Incoming, "drop": Dropping, "fail": Failing}
