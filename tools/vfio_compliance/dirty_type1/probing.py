# SPDX-License-Identifier: GPL-2.0-only
"""What a container announces about its dirty page tracking, without starting it."""

from __future__ import annotations

from ..common.words import counted, enumerated
from ..device import Container, DeviceError
from ..run.interface import Seen

#: Page sizes that a profile can claim are powers of two up to this, from this on.
_SMALLEST, _LARGEST = 1 << 12, 1 << 30


def probe(container: Container) -> Seen | None:
    """Page sizes, and the largest bitmap; None if no tracking is announced. Raises DeviceError for absurd ones.

    A container that tracks without announcing it is not found: that would be seen by starting it alone.
    """
    sizes = container.page_sizes()
    if not sizes:
        return None
    pages = [1 << bit for bit in range(64) if sizes >> bit & 1]
    if not _SMALLEST <= pages[0] <= _LARGEST:
        what = "asking for the page sizes of dirty bitmaps"
        wanted = f"a smallest one from {_SMALLEST} to {counted(_LARGEST, 'byte')}"
        raise DeviceError(what, wanted, f"{pages[0]}, of {sizes:#x}")
    says = [f"Page sizes of dirty bitmaps: {enumerated(counted(page, 'byte') for page in pages)}."]
    if container.has_info:
        says.append(f"A bitmap has at most {counted(container.largest_bitmap(), 'byte')}.")
    return Seen({"page_size": str(pages[0])}, says)
