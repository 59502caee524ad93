# SPDX-License-Identifier: GPL-2.0-only
"""What can be chosen about the device when it is started (DEVICE.md, Options)."""

from __future__ import annotations

from typing import NamedTuple

DATA_SECTIONS = ("mapped", "trapped", "partitioned")

MOST_MEMORY = 2 << 30
#: Half a section has to be whole pages, so that either half can be mapped.
SECTION_UNIT = 8 << 10
MOST_SECTION = 64 << 20
LEAST_BUFFER = 8
MOST_SLOW = 10_000_000


class Options(NamedTuple):
    """How this device is built; the default is the device that keeps every rule."""

    #: Bytes of device memory, at most MOST_MEMORY.
    memory: int = 64 << 10
    #: Bytes of the data section: a multiple of SECTION_UNIT, at most MOST_SECTION.
    section: int = 16 << 10
    #: Bytes of a buffer at most: from LEAST_BUFFER to the whole section.
    buffer: int = 16 << 10
    #: Whether data_offset changes from buffer to buffer.
    moving: bool = False
    #: Which part of the data section may be mapped: one of DATA_SECTIONS.
    data_section: str = "mapped"
    #: Whether the device memory is offered in pre-copy.
    pre_copy_data: bool = True
    #: Microseconds for making a buffer available, and for consuming one.
    slow: int = 0
    #: Whether COUNTER is left out of the state.
    quiet: bool = False
    #: Whether a transition that the interface does not draw is refused.
    refuse_undrawn: bool = False
    #: Whether a write to a read-only register is refused rather than ignored.
    refuse_read_only: bool = False
    #: Whether every mapped page counts as dirty, rather than those written or pinned.
    everything_dirty: bool = False
    #: Whether the device memory and the SCRATCH registers survive a reset.
    reset_keeps: bool = False
    #: Names of the defects that are in force.
    defects: frozenset[str] = frozenset()

    def problems(self) -> list[str]:
        """One line for each number that is out of its bounds."""
        lines = []
        if not 0 <= self.memory <= MOST_MEMORY:
            lines.append(f"--memory={self.memory}: it is 0 to {MOST_MEMORY} bytes")
        if self.section % SECTION_UNIT or not 0 < self.section <= MOST_SECTION:
            lines.append(f"--section={self.section}: it is a multiple of {SECTION_UNIT}, at most {MOST_SECTION} bytes")
        if not LEAST_BUFFER <= self.buffer <= self.section:
            lines.append(f"--buffer={self.buffer}: it is {LEAST_BUFFER} bytes to the section's {self.section}")
        if not 0 <= self.slow <= MOST_SLOW:
            lines.append(f"--slow={self.slow}: it is 0 to {MOST_SLOW} microseconds")
        return lines
