# SPDX-License-Identifier: GPL-2.0-only
"""What can be chosen about the device when it is started (DEVICE.md, Options)."""

from __future__ import annotations

from typing import NamedTuple

DATA_SECTIONS = ("mapped", "trapped", "partitioned")


class Options(NamedTuple):
    """How this device is built; the default is the device that keeps every rule."""

    #: Which part of the data section may be mapped: one of DATA_SECTIONS.
    data_section: str = "mapped"
    #: Whether a transition that the interface does not draw is refused.
    refuse_undrawn: bool = False
    #: Whether a write to a read-only register is refused rather than ignored.
    refuse_read_only: bool = False
    #: Names of the defects that are in force.
    defects: frozenset[str] = frozenset()
