# SPDX-License-Identifier: GPL-2.0-only
"""Each defect of dirty page tracking shows in the observations listed for it, and in no other."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from dirty_bench import Bench
from guest_memory import PAGE

from refdriver.device.description import describe

START, STOP = 1, 2
LARGEST = 1 << 24
NO = -22


def region(bench: Bench, argsz: int) -> tuple[int, int, int]:
    """argsz, cap_offset and length of the description of the migration region."""
    reply, _ = bench.driver.commands.fit(describe(bench.device, 9, "plain"), argsz)
    return *struct.unpack_from("<I8xI", reply), len(reply)


MIGRATION = (2, 1, 56, 0, 0, PAGE, LARGEST)
IOVA_RANGE = (1, 1, 0, 1, 0, 0, (1 << 64) - 1)

#: Name, observation, its result on the good device.
OBSERVATIONS: list[tuple[str, Callable[[Bench], Any], Any]] = [
    ("region whole", lambda b: region(b, 4096), (80, 32, 80)),
    ("region short", lambda b: region(b, 79), (80, 0, 32)),
    ("info whole", lambda b: b.info(88), (88, 24, 88, MIGRATION, IOVA_RANGE)),
    ("info short", lambda b: b.info(24), (88, 0, 24)),
    ("info tiny", lambda b: (b.info(15), b.info(0)), (NO, NO)),
    ("start", lambda b: (b.send(START), b.get()), (0, [])),
    ("stop", lambda b: (b.send(START), b.send(STOP), b.get()), (0, 0, NO)),
    ("stopped", lambda b: (b.send(STOP), b.write(3), b.get()), (0, 1, NO)),
    ("stopped unmap", lambda b: (b.unmap(), b.write(3)), (NO, 1)),
    ("no flag", lambda b: (b.send(0), b.get()), (NO, NO)),
    ("two flags", lambda b: (b.send(3), b.get()), (NO, NO)),
    ("unknown flag", lambda b: (b.send(8), b.get()), (NO, NO)),
    ("unknown flag too", lambda b: (b.send(9), b.get()), (NO, NO)),
    ("tiny argsz", lambda b: (b.send(START, 7), b.send(START, 0), b.get()), (NO, NO, NO)),
    ("large argsz", lambda b: (b.send(START, 9), b.get(argsz=4096)), (0, [])),
    ("large argsz of a bitmap", lambda b: (b.send(START), b.get(argsz=4096)), (0, [])),
    ("restart", lambda b: (b.send(START), b.write(3), b.send(START), b.write(4), b.get()), (0, 1, 0, 1, [3, 4])),
    (
        "restart and reset",
        lambda b: (b.send(START), b.send(START), b.device.reset(), b.write(4), b.get()),
        (0, 0, None, 1, [4]),
    ),
    ("written once", lambda b: (b.send(START), b.write(3), b.get(), b.get()), (0, 1, [3], [])),
    ("written before", lambda b: (b.write(3), b.send(START), b.get()), (1, 0, [])),
    ("written twice", lambda b: (b.send(START), b.write(3), b.get(), b.write(3), b.get()), (0, 1, [3], 1, [3])),
    (
        "written after stop",
        lambda b: (b.send(START), b.write(3), b.send(STOP), b.write(4), b.send(START), b.get()),
        (0, 1, 0, 1, 0, []),
    ),
    (
        "new tracking",
        lambda b: (b.send(START), b.write(3), b.get(), b.send(STOP), b.send(START), b.write(3), b.get()),
        (0, 1, [3], 0, 0, 1, [3]),
    ),
    ("new mapping", lambda b: (b.send(START), b.map(200, 9), b.write(201), b.get(200, 9, 8)), (0, None, 1, [1])),
    ("pinned before", lambda b: (b.pin(5), b.send(START), b.get(), b.get()), (None, 0, [5], [5])),
    ("pinned after", lambda b: (b.send(START), b.pin(5), b.get(), b.get()), (0, None, [5], [5])),
    ("pinned a while", lambda b: (b.send(START), b.pin(5), b.pin(5, 2), b.get(), b.get()), (0, None, None, [5], [])),
    (
        "pinned new mapping",
        lambda b: (b.send(START), b.map(200, 9), b.pin(201), b.get(200, 9, 8)),
        (0, None, None, [1]),
    ),
    ("long write", lambda b: (b.send(START), b.write(10, count=3), b.get()), (0, 1, [10, 11, 12])),
    ("words", lambda b: (b.send(START), b.write(1, 63, 64, 98), b.get()), (0, 1, [1, 63, 64, 98])),
    ("last page", lambda b: (b.send(START), b.write(99), b.get(), b.get()), (0, 1, [99], [])),
    ("second mapping", lambda b: (b.send(START), b.write(101), b.get(100, 30, 8)), (0, 1, [1])),
    ("sub-range", lambda b: (b.send(START), b.write(10, 20), b.get(8, 4, 8), b.get()), (0, 1, [2], [20])),
    ("neighbour", lambda b: (b.send(START), b.write(9, 110), b.get(), b.get(100, 30, 8)), (0, 1, [9], [10])),
    ("hole", lambda b: (b.send(START), b.get(120, 30, 8)), (0, [])),
    ("early base", lambda b: (b.send(START), b.get(-3, 103), b.write(2), b.get()), (0, [], 1, [2])),
    ("64 writes", lambda b: (b.send(START), b.write(*range(64)), b.get()), (0, 1, [*range(64)])),
    ("beat", lambda b: (b.send(START), b.beat(), b.get(), b.beat(), b.get()), (0, None, [3], None, [3])),
    ("short argsz", lambda b: (b.send(START), b.get(argsz=8), b.get(argsz=39)), (0, NO, NO)),
    ("argsz without bitmap", lambda b: (b.send(START), b.write(3), b.get(argsz=40), b.get()), (0, 1, [], [3])),
    ("two pages a bit", lambda b: (b.send(START), b.write(3, 4), b.get(page=2 * PAGE)), (0, 1, NO)),
    ("odd page sizes", lambda b: (b.send(START), *(b.get(page=size) for size in (0, 1, 2048, 12288))), (0, *[NO] * 4)),
    ("room", lambda b: (b.send(START), b.takes(16), b.takes(24), b.takes(LARGEST)), (0, 16, 24, LARGEST)),
    ("small room", lambda b: (b.send(START), b.takes(8), b.takes(15)), (0, NO, NO)),
    ("no room", lambda b: (b.send(START), b.takes(0)), (0, NO)),
    ("too much room", lambda b: (b.send(START), b.takes(LARGEST + 8), b.takes(1 << 63)), (0, NO, NO)),
    ("refused", lambda b: (b.send(START), b.write(3), b.get(room=0), b.get()), (0, 1, NO, [3])),
    ("unmap", lambda b: (b.send(START), b.write(3, 99), b.unmap(), b.write(3)), (0, 1, [3, 99], 2)),
    (
        "unmap the neighbour",
        lambda b: (b.send(START), b.write(3, 101), b.unmap(100, 30, 8), b.get()),
        (0, 1, [1], [3]),
    ),
    ("unmap, plain", lambda b: b.plain_unmap(), (100, 2)),
    ("unmap, refused", lambda b: (b.send(START), b.write(3), b.unmap(room=0), b.get()), (0, 1, NO, [3])),
    ("unmap, short argsz", lambda b: (b.send(START), b.unmap(argsz=39), b.write(3)), (0, NO, 1)),
    ("unmap, argsz without bitmap", lambda b: (b.send(START), b.unmap(argsz=40), b.write(3)), (0, [], 1)),
    ("unmap, small room", lambda b: (b.send(START), b.unmap(room=8), b.write(3)), (0, NO, 1)),
    ("unmap, page size", lambda b: (b.send(START), b.unmap(page=0), b.write(3)), (0, NO, 1)),
]
GOOD = {name: good for name, _, good in OBSERVATIONS}

WHOLE = GOOD["info whole"]
EVERYTHING = [*range(100)]
MORE = [*range(100, 128)]

#: What a broken device shows instead. Every observation that is not listed is as on the good one.
DEFECTS: dict[str, dict[str, Any]] = {
    "region-info-argsz-kept": {"region short": (79, 0, 32)},
    "info-argsz-kept": {"info short": (24, 0, 24)},
    "capability-id-3": {"info whole": (88, 24, 88, (3, *MIGRATION[1:]), IOVA_RANGE)},
    "tracking-old-mappings-only": {"new mapping": (0, None, 1, []), "pinned new mapping": (0, None, None, [])},
    "tracking-forgets-pinned": {"pinned before": (None, 0, [], [])},
    "tracking-one-shot": {
        "written twice": (0, 1, [3], 1, []),
        "pinned before": (None, 0, [5], []),
        "pinned after": (0, None, [5], []),
        "sub-range": (0, 1, [2], []),
        "neighbour": (0, 1, [9], []),
        "early base": (0, [], 1, []),
        "beat": (0, None, [3], None, []),
    },
    "tracking-stale-after-stop": {"written after stop": (0, 1, 0, 1, 0, [3])},
    "tracking-restart-wedges": {"restart": (0, 1, 0, 1, [])},
    "bitmap-refused-clears": {"refused": (0, 1, NO, [])},
    "bitmap-range-ignored": {
        "new mapping": (0, None, 1, []),
        "pinned new mapping": (0, None, None, []),
        "second mapping": (0, 1, []),
        "sub-range": (0, 1, [], [10, 20]),
        "neighbour": (0, 1, [9], []),
    },
    "bitmap-second-word-lost": {"words": (0, 1, [1, 63]), "last page": (0, 1, [], [])},
    "bitmap-hole-bits": {"hole": (0, [*range(10, 20)]), "early base": (0, [0, 1, 2], 1, [2])},
    "bitmap-not-cleared": {
        "written once": (0, 1, [3], [3]),
        "pinned a while": (0, None, None, [5], [5]),
        "last page": (0, 1, [99], [99]),
        "sub-range": (0, 1, [2], [10, 20]),
    },
    "bitmap-clears-too-much": {"sub-range": (0, 1, [2], []), "neighbour": (0, 1, [9], [])},
    "bitmap-unaligned-base": {"sub-range": (0, 1, [2], [28]), "early base": (0, [], 1, [63])},
    "bitmap-set-once": {
        "written twice": (0, 1, [3], 1, []),
        "pinned before": (None, 0, [5], []),
        "pinned after": (0, None, [5], []),
        "beat": (0, None, [3], None, []),
    },
    "bitmap-misses-long-write": {"long write": (0, 1, [10])},
    "bitmap-drops-every-64th": {"64 writes": (0, 1, [*range(63)])},
    "bitmap-race": {"beat": (0, None, [3], None, [])},
    "unmap-before-bitmap": {"unmap": (0, 1, [], 2), "unmap the neighbour": (0, 1, [], [3])},
    "unmap-bitmap-shifted": {"unmap": (0, 1, [4, 100], 2), "unmap the neighbour": (0, 1, [2], [3])},
    "unmap-bitmap-inverted": {
        "unmap": (0, 1, [page for page in range(99) if page != 3], 2),
        "unmap the neighbour": (0, 1, [page for page in range(30) if page != 1], [3]),
    },
    "unmap-forgets-neighbours": {"unmap the neighbour": (0, 1, [1], [])},
    "unmap-refused-clears": {"unmap, refused": (0, 1, NO, [])},
}

#: Defects that show nearly everywhere, with some of their observations; those without a bitmap must not differ.
PERVASIVE: dict[str, dict[str, Any]] = {
    "tracking-new-mappings-only": {
        "written once": (0, 1, [], []),
        "pinned before": (None, 0, [], []),
        "new mapping": GOOD["new mapping"],
        "pinned new mapping": GOOD["pinned new mapping"],
    },
    "bitmap-shifted-by-one": {
        "words": (0, 1, [2, 64, 65, 99]),
        "last page": (0, 1, [100], []),
        "unmap": GOOD["unmap"],
    },
    "bitmap-msb-first": {"words": (0, 1, [6, 56, 71, 101]), "unmap": GOOD["unmap"]},
    "bitmap-trailing-bits": {
        "written once": (0, 1, [3, *MORE], MORE),
        "hole": (0, [*range(30, 64)]),
        "unmap": GOOD["unmap"],
    },
    "bitmap-everything-dirty": {
        "written once": (0, 1, EVERYTHING, EVERYTHING),
        "hole": (0, [*range(10), *range(20, 30)]),
        "early base": (0, [*range(3, 103)], 1, EVERYTHING),
        "unmap": GOOD["unmap"],
    },
}
WITHOUT_BITMAP = {
    "region whole",
    "region short",
    "info whole",
    "info short",
    "info tiny",
    "unmap, plain",
    "stopped unmap",
}


def observe_all(bench: Callable[..., Bench], *defects: str) -> dict[str, Any]:
    """The result of each observation, each on a device of its own."""
    return {name: observe(bench(*defects)) for name, observe, _ in OBSERVATIONS}


def test_good_device_shows_what_is_expected(bench: Callable[..., Bench]) -> None:
    """Every observation of it."""
    assert observe_all(bench) == GOOD


@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_shows_only_where_listed(bench: Callable[..., Bench], defect: str) -> None:
    """Every observation that is not listed is as on the good device."""
    assert observe_all(bench, defect) == GOOD | DEFECTS[defect]


@pytest.mark.parametrize("defect", PERVASIVE)
def test_pervasive_defect_spares_all_without_a_bitmap(bench: Callable[..., Bench], defect: str) -> None:
    """The observations that are listed, and those that touch no bitmap."""
    found = observe_all(bench, defect)
    expected = {name: GOOD[name] for name in WITHOUT_BITMAP} | PERVASIVE[defect]
    assert {name: found[name] for name in expected} == expected
    assert found != GOOD
