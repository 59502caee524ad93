# SPDX-License-Identifier: GPL-2.0-only
"""Cases of dirty bitmaps: fetching them, in sizes up to the largest that Linux accepts, and judging one."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cffi

from measuring import Case, Clock, Cost, Effort, Row, beside, interleaved, repeated
from table import size_in_words
from targets import Untraced, connected, in_c, own_memory, reference
from vfio_compliance.device import DirtyTracker
from vfio_compliance.device.dma import IOVA, DmaMap
from vfio_compliance.dirty_type1.pages import Pages, compare
from vfio_compliance.transport import GuardedBuffer, VfioUser

#: Bytes of bitmaps; that of 1 Mi pages has 128 KiB.
_MI_PAGES = 128 << 10
_SIZES = (4 << 10, 32 << 10, _MI_PAGES, 1 << 20, 8 << 20, 64 << 20, 256 << 20)
_LARGEST = _SIZES[-1]

#: The least number of bytes that a round fetches.
_ROUND = 16 << 20

#: The largest ratio to a C loop of the time to fetch the bitmap of 1 Mi pages.
_AIM = 1.3

_PAGE = 4096

#: The dirty pages: the number of runs, evenly spaced, and the pages in each.
_RUNS = 16
_RUN = 64


def cases(effort: Effort, largest: int) -> list[Case]:
    """All of them, with bitmaps of at most ``largest`` bytes."""
    return [
        *(Case(_name(size), partial(_fetch, effort, size)) for size in _SIZES if size <= largest),
        *([Case(_JUDGING, partial(_judge, effort))] if largest >= _LARGEST else []),
    ]


_JUDGING = f"judging a full bitmap of {_LARGEST >> 20} MiB"


def _name(size: int) -> str:
    return f"GET_BITMAP of {size_in_words(size)}" + (", 1 Mi pages" if size == _MI_PAGES else "")


def _fetch(effort: Effort, size: int) -> Sequence[Row]:
    times = max(1, min(200, _ROUND // size))
    pages = 8 * size

    def ours(socket: Path, kind: type[VfioUser]) -> Cost:
        with connected(socket, kind) as device, GuardedBuffer(size) as into, ExitStack() as mapped:
            transport, tracker = device.transport, DirtyTracker(device.transport)
            for number in range(_RUNS):
                iova = IOVA + number * (pages // _RUNS) * _PAGE
                mapped.enter_context(DmaMap(transport, iova, _RUN * _PAGE))
            assert tracker.try_start().ok
            fetch = partial(tracker.try_fetch, into, IOVA, pages * _PAGE, _PAGE)
            return repeated(fetch, times, transport.tracer.forget)

    with reference("--dirty-scope=everything") as socket:
        costs = interleaved(
            {
                "ours": partial(ours, socket, VfioUser),
                "bare": partial(ours, socket, Untraced),
                "C": lambda: in_c("client", socket, "bitmap", pages, times, _RUNS, _RUN)[0],
            },
            effort,
        )
    name = _name(size)
    aim = _AIM if size == _MI_PAGES else None
    return [beside(name, costs, "ours", "C", aim=aim), beside(name, costs, "ours", "bare", Clock.CPU)]


def _judge(effort: Effort) -> Sequence[Row]:
    """Every bit is set, and must be; compared with memcmp of the same amount of memory."""
    c: Any = cffi.FFI()
    c.cdef("int memcmp(const void *, const void *, size_t);")
    every = Pages.run(0, 8 * _LARGEST)
    with mmap.mmap(-1, _LARGEST) as bitmap, mmap.mmap(-1, _LARGEST) as other:
        for each in (bitmap, other):
            each.write(b"\xff" * _LARGEST)
        idle = own_memory()
        with memoryview(bitmap) as view, c.from_buffer(bitmap) as one, c.from_buffer(other) as two:
            costs = interleaved(
                {
                    "ours": lambda: repeated(partial(compare, view, every, Pages()), 1),
                    "memcmp": lambda: repeated(partial(c.dlopen(None).memcmp, one, two, _LARGEST), 1),
                },
                effort,
            )
        more = (own_memory() - idle) / 1024
    return [beside(_JUDGING, costs, "ours", "memcmp", Clock.CPU, note=f"{more:.1f} MiB in addition to the bitmap")]
