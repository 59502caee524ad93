# SPDX-License-Identifier: GPL-2.0-only
"""Subtle defects of dirty page tracking: each shows in the observations listed for it, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dirty_bench import Bench
from guest_memory import BASE, PAGE
from test_dirty_defects import IOVA_RANGE, LARGEST, MIGRATION, NO, START, STOP
from test_dirty_defects import OBSERVATIONS as PLAIN_OBSERVATIONS

#: The page at 2^32, and the last page of the address space.
FAR, LAST = ((1 << 32) - BASE) // PAGE, ((1 << 64) - BASE) // PAGE - 1

#: Of what the obvious defects do not touch: name, observation, its result on the good device.
OBSERVATIONS: list[tuple[str, Callable[[Bench], Any], Any]] = [
    *PLAIN_OBSERVATIONS,
    ("info while tracking", lambda b: (b.send(START), b.info(88)), (0, (88, 24, 88, MIGRATION, IOVA_RANGE))),
    ("start with nothing mapped", lambda b: (b.unmap_all(), b.send(START), b.get()), (140, 0, [])),
    ("everything unmapped", lambda b: (b.send(START), b.unmap_all(), b.get()), (0, 140, [])),
    ("tiny argsz of STOP", lambda b: (b.send(START), b.send(STOP, 7), b.get()), (0, NO, [])),
    ("huge argsz", lambda b: (b.send(START, 1 << 31), b.get()), (0, [])),
    ("unknown high flag", lambda b: (b.send(0x10001), b.get()), (NO, NO)),
    ("pinned two", lambda b: (b.send(START), b.pin(5, count=2), b.get()), (0, None, [5, 6])),
    (
        "unpinned before stop",
        lambda b: (b.send(START), b.pin(5), b.pin(5, 2), b.send(STOP), b.send(START), b.get()),
        (0, None, None, 0, 0, []),
    ),
    (
        "late page before stop",
        lambda b: (b.send(START), b.write(70), b.send(STOP), b.send(START), b.get()),
        (0, 1, 0, 0, []),
    ),
    ("stop when off", lambda b: (b.send(STOP), b.send(START), b.write(3), b.get()), (0, 0, 1, [3])),
    ("far page", lambda b: (b.map(FAR, 2, 0), b.send(START), b.write(FAR), b.get(FAR, 2, 8)), (None, 0, 1, [0])),
    (
        "second page of a bitmap",
        lambda b: (b.map(0xF000, 2, 0), b.send(START), b.write(0xF000), b.get(0xF000 - 32768, 32770, 4104)),
        (None, 0, 1, [32768]),
    ),
    (
        "five queries",
        lambda b: (b.send(START), *(b.get() for _ in range(4)), b.write(3), b.get()),
        (0, *[[]] * 4, 1, [3]),
    ),
    ("page size above 2^32", lambda b: (b.send(START), b.get(page=PAGE + (1 << 32))), (0, NO)),
    ("room above 2^63", lambda b: (b.send(START), b.takes(16 + (1 << 63))), (0, NO)),
    ("more room", lambda b: (b.send(START), b.write(3), b.get(room=24)), (0, 1, [3])),
    ("refused page size", lambda b: (b.send(START), b.write(3), b.get(page=2048), b.get()), (0, 1, NO, [3])),
    ("past the end", lambda b: (b.send(START), b.write(3), b.get(LAST, 2, 8), b.get()), (0, 1, NO, [3])),
    ("both mappings", lambda b: (b.send(START), b.write(3, 101), b.get(0, 130, 24)), (0, 1, [3, 101])),
    ("over the hole", lambda b: (b.send(START), b.write(3, 101, 141), b.get(0, 150, 24)), (0, 1, [3, 101, 141])),
    (
        "unmapped",
        lambda b: (b.send(START), b.write(3, 101), b.plain_unmap(), b.get(0, 130, 24)),
        (0, 1, (100, 2), [101]),
    ),
    ("over a word", lambda b: (b.send(START), b.write(62, count=4), b.get()), (0, 1, [62, 63, 64, 65])),
    (
        "unmap with a neighbour",
        lambda b: (b.send(START), b.write(3, 101), b.unmap(), b.get(100, 30, 8)),
        (0, 1, [3], [1]),
    ),
    ("unmap after a query", lambda b: (b.send(START), b.get(), b.write(3), b.unmap()), (0, [], 1, [3])),
    ("unmap, pinned", lambda b: (b.send(START), b.pin(5), b.unmap()), (0, None, [5])),
    ("unmap, more room", lambda b: (b.send(START), b.write(3), b.unmap(room=24)), (0, 1, [3])),
    ("unmap, two pages a bit", lambda b: (b.send(START), b.write(3, 4), b.unmap(page=2 * PAGE)), (0, 1, NO)),
    ("unmap, unknown flag", lambda b: b.plain_unmap(8), NO),
    ("unmap, plain, while tracking", lambda b: (b.send(START), b.plain_unmap()), (0, (100, 2))),
]
GOOD = {name: good for name, _, good in OBSERVATIONS}


def with_capability(*migration: int) -> dict[str, Any]:
    """Information with this migration capability, whether pages are tracked or not."""
    whole = (88, 24, 88, migration, IOVA_RANGE)
    return {"info whole": whole, "info while tracking": (0, whole)}


EVERYTHING = [*range(100)]

#: What a broken device shows instead. Every observation that is not listed is as on the good one.
SUBTLE: dict[str, dict[str, Any]] = {
    "capability-id-1": with_capability(1, 1, 56, 0, 0, PAGE, LARGEST),
    "flags-refused-but-applied": {"unknown flag too": (NO, []), "unknown high flag": (NO, [])},
    "tracking-forgets-later-pins": {
        "pinned after": (0, None, [], []),
        "pinned new mapping": (0, None, None, []),
        "pinned two": (0, None, []),
    },
    "tracking-pins-first-page": {"pinned two": (0, None, [5])},
    "tracking-pinned-once": {"pinned before": (None, 0, [5], []), "pinned after": (0, None, [5], [])},
    "tracking-tires": {"five queries": (0, [], [], [], [], 1, [])},
    "tracking-stop-forgets-first-word": {"late page before stop": (0, 1, 0, 0, [70])},
    "tracking-stop-keeps-unpinned": {"unpinned before stop": (0, None, None, 0, 0, [5])},
    "bitmap-first-mapping-only": {"both mappings": (0, 1, [3]), "over the hole": (0, 1, [3])},
    "bitmap-stops-at-hole": {"over the hole": (0, 1, [3, 101])},
    "bitmap-page-size-refused-clears": {"refused page size": (0, 1, NO, [])},
    "bitmap-past-first-page-lost": {"second page of a bitmap": (None, 0, 1, [])},
    "bitmap-long-write-ends": {"long write": (0, 1, [10, 12]), "over a word": (0, 1, [62, 65])},
    "bitmap-write-stops-at-word": {"over a word": (0, 1, [62, 63])},
    "bitmap-log-overflows": {"64 writes": (0, 1, [*range(8)])},
    "bitmap-slack-set": {"more room": (0, 1, [3, *range(128, 192)])},
    "bitmap-unmapped-lingers": {"unmapped": (0, 1, (100, 2), [3, 101])},
    "bitmap-word-dirty": {
        "written once": (0, 1, [*range(64)], []),
        "hole": (0, []),
        "early base": (0, [], 1, [*range(64)]),
        "unmap": (0, 1, [3, 99], 2),
    },
    "bitmap-new-mapping-dirty": {
        "new mapping": (0, None, 1, [*range(9)]),
        "pinned new mapping": (0, None, None, [*range(9)]),
    },
    "tracking-restart-clears": {"restart": (0, 1, 0, 1, [4])},
    "unmap-forgets-word": {"unmapped": (0, 1, (100, 2), []), "unmap with a neighbour": (0, 1, [3], [])},
    "bitmap-buffer-reused": {
        "written once": (0, 1, [3], [3]),
        "pinned a while": (0, None, None, [5], [5]),
        "last page": (0, 1, [99], [99]),
        "sub-range": (0, 1, [2], [2, 20]),
        "neighbour": (0, 1, [9], [9, 10]),
    },
    "bitmap-refused-dirties": {"refused": (0, 1, NO, EVERYTHING)},
    "stream-untracked": {"beat": (0, None, [], None, [])},
    "unmap-after-query-empty": {"unmap after a query": (0, [], 1, [])},
    "tracking-stop-again-wedges": {"stop when off": (0, 0, 1, [])},
    "bitmap-cut-clears-mapping": {"sub-range": (0, 1, [2], [])},
    "bitmap-wrap-clears": {"past the end": (0, 1, NO, [])},
    "unmap-forgets-pinned": {"unmap, pinned": (0, None, [])},
    "unmap-bitmap-from-word": {"unmap the neighbour": (0, 1, [37], [3])},
    "unmap-bitmap-second-word-lost": {"unmap": (0, 1, [3], 2)},
    "unmap-page-size-refused-unmaps": {"unmap, page size": (0, NO, 2)},
    "unmap-bitmap-neighbours": {"unmap with a neighbour": (0, 1, [3, 101], [1])},
    "unmap-small-refused-unmaps": {"unmap, refused": (0, 1, NO, []), "unmap, small room": (0, NO, 2)},
}

#: A defect that shows nearly everywhere: some observations are listed, and these others are not touched.
WIDESPREAD = "bitmap-word-dirty"
UNTOUCHED = ("info whole", "info short", "info tiny", "unmap, plain", "stopped unmap", "start", "stop", "unmap, pinned")


def test_good_device_shows_what_is_expected(bench: Callable[..., Bench]) -> None:
    """Every observation of it."""
    assert {name: observe(bench()) for name, observe, _ in OBSERVATIONS} == GOOD


@pytest.mark.parametrize("defect", [name for name in SUBTLE if name != WIDESPREAD])
def test_defect_shows_only_where_listed(bench: Callable[..., Bench], defect: str) -> None:
    """Every observation that is not listed is as on the good device."""
    assert {name: observe(bench(defect)) for name, observe, _ in OBSERVATIONS} == GOOD | SUBTLE[defect]


def test_widespread_defect_spares_the_untouched(bench: Callable[..., Bench]) -> None:
    """Some observations are listed; a few others are as on the good device."""
    expected = {name: GOOD[name] for name in UNTOUCHED} | SUBTLE[WIDESPREAD]
    assert {name: observe(bench(WIDESPREAD)) for name, observe, _ in OBSERVATIONS if name in expected} == expected
