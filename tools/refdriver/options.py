# SPDX-License-Identifier: GPL-2.0-only
"""What can be chosen about the device when it is started (DEVICE.md, Options)."""

from __future__ import annotations

from typing import NamedTuple

from .manner import Manner, out_of_bounds

DATA_SECTIONS = ("mapped", "trapped", "partitioned", "scattered")
OFFSETS = ("fixed", "moving", "middle", "last")
PRE_COPY = ("data", "none", "endless", "bursts")
DIRTY_SCOPES = ("written", "everything", "sticky")

MOST_MEMORY = 2 << 30
#: Half a section has to be whole pages, so that either half can be mapped.
SECTION_UNIT = 8 << 10
MOST_SECTION = 256 << 20
#: Of a section that is not mapped, and of where it begins.
TRAPPED_UNIT = 8
_PAGE = 4 << 10
LEAST_BUFFER = 8
MOST_SLOW = 10_000_000


class Options(NamedTuple):
    """How this device is built; the default is the device that keeps every rule."""

    #: Bytes of device memory, at most MOST_MEMORY.
    memory: int = 64 << 10
    #: Bytes of the data section: a multiple of SECTION_UNIT, or of TRAPPED_UNIT, at most MOST_SECTION.
    section: int = 16 << 10
    #: Bytes of a buffer at most: from LEAST_BUFFER to the whole section.
    buffer: int = 16 << 10
    #: Where in the section buffers lie: one of OFFSETS.
    offset: str = "fixed"
    #: Which part of the data section may be mapped: one of DATA_SECTIONS.
    data_section: str = "mapped"
    #: How the device memory is offered in pre-copy: one of PRE_COPY.
    pre_copy: str = "data"
    #: Microseconds for making a buffer available, and for consuming one.
    slow: int = 0
    #: Whether COUNTER is left out of the state.
    quiet: bool = False
    #: Whether a transition that the interface does not draw is refused.
    refuse_undrawn: bool = False
    #: Whether a write to a read-only register is refused rather than ignored.
    refuse_read_only: bool = False
    #: Which pages count as dirty: one of DIRTY_SCOPES.
    dirty_scope: str = "written"
    #: Whether the device memory and the SCRATCH registers survive a reset.
    reset_keeps: bool = False
    #: What else the text leaves to the device.
    manner: Manner = Manner()
    #: Names of the defects that are in force.
    defects: frozenset[str] = frozenset()

    def problems(self) -> list[str]:
        """One line for each number that is out of its bounds."""
        lines = []
        if not 0 <= self.memory <= MOST_MEMORY:
            lines.append(f"--memory={self.memory}: it is 0 to {MOST_MEMORY} bytes")
        trapped = self.data_section == "trapped"
        unit = TRAPPED_UNIT if trapped else SECTION_UNIT
        if self.section % unit or not 0 < self.section <= MOST_SECTION:
            lines.append(f"--section={self.section}: it is a multiple of {unit}, at most {MOST_SECTION} bytes")
        if self.manner.section_at % (TRAPPED_UNIT if trapped else _PAGE):
            lines.append(f"--section-at={self.manner.section_at}: what can be mapped begins at a page")
        if not LEAST_BUFFER <= self.buffer <= self.section:
            lines.append(f"--buffer={self.buffer}: it is {LEAST_BUFFER} bytes to the section's {self.section}")
        if not 0 <= self.slow <= MOST_SLOW:
            lines.append(f"--slow={self.slow}: it is 0 to {MOST_SLOW} microseconds")
        return lines + out_of_bounds(self.manner)
