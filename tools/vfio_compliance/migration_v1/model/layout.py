# SPDX-License-Identifier: GPL-2.0-only
"""What the device reports about its migration region before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...uapi.migration_v1 import HEADER_SIZE


class Layout(NamedTuple):
    """Sizes in bytes; offsets count from the region's start."""

    #: Of the region.
    size: int
    #: Offset and size of each part that may be mapped.
    areas: Sequence[tuple[int, int]]
    #: Of a page.
    page: int

    def takes(self, offset: int) -> bool:
        """Whether data may be at ``offset``: behind the registers, and at a page if it may be mapped."""
        mapped = any(start <= offset < start + size for start, size in self.areas)
        return HEADER_SIZE <= offset < self.size and not (mapped and offset % self.page)

    @property
    def place(self) -> str:
        """Where data may be, in words; `aligned` to pages if it may be mapped."""
        return f"0x{HEADER_SIZE:x} to 0x{self.size - 1:x}" + (", aligned" if self.areas else "")
