# SPDX-License-Identifier: GPL-2.0-only
"""Defects of ranges other than those of one mapping: each shows in the observations listed for it, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from errno import EFAULT, ENOENT
from typing import Any

import pytest
from dirty_bench import Bench
from test_dirty_defects import NO, START
from test_dirty_faults import OBSERVATIONS as SUBTLE_OBSERVATIONS

from refdriver.options import Options

#: Pages in 4 GiB, and bytes of a bitmap with room for a few more.
FAR = 1 << 20
FAR_ROOM = FAR // 8 + 8

#: Of what the other defects do not touch: name, observation, its result on the good device.
OBSERVATIONS: list[tuple[str, Callable[[Bench], Any], Any]] = [
    *SUBTLE_OBSERVATIONS,
    (
        "unmap two",
        lambda b: (b.send(START), b.write(3, 101, 141), b.unmap(0, 130, 24), b.get(0, 150, 24), b.write(3)),
        (0, 1, NO, [3, 101, 141], 1),
    ),
    ("unmap two, the second", lambda b: (b.plain_unmap(0, 0, 130), b.write(101)), (NO, 1)),
    ("unmap a part", lambda b: (b.send(START), b.write(3, 40), b.plain_unmap(0, 30, 20), b.get()), (0, 1, NO, [3, 40])),
    ("unmap nothing", lambda b: (b.send(START), b.write(3), b.unmap(130, 10, 8), b.get()), (0, 1, -ENOENT, [3])),
    (
        "unmap beside pins",
        lambda b: (b.send(START), b.pin(101), b.pin(129), b.plain_unmap(), b.get(100, 30, 8)),
        (0, None, None, (100, 2), [1, 29]),
    ),
    ("pin over a hole", lambda b: (b.send(START), b.pin(5), b.pin(125, count=20), b.get()), (0, None, -EFAULT, [5])),
    ("middle", lambda b: (b.send(START), b.write(3, 10), b.get(8, 10, 8), b.get()), (0, 1, [2], [3])),
    ("room of a part", lambda b: (b.send(START), b.takes(8, 10)), (0, 8)),
    (
        "far mapping",
        lambda b: (b.map(FAR, 9, 0), b.send(START), b.write(3, FAR + 1), b.get(0, FAR + 9, FAR_ROOM)),
        (None, 0, 1, [3, FAR + 1]),
    ),
    (
        "huge mapping",
        lambda b: (b.map(FAR, FAR + 9, 0), b.send(START), b.write(2 * FAR + 1), b.get(FAR, FAR + 9, FAR_ROOM)),
        (None, 0, 1, [FAR + 1]),
    ),
    (
        "new mapping below",
        lambda b: (b.send(START), b.map(-10, 5, 0), b.write(-9), b.get(-10, 5, 8)),
        (0, None, 1, [1]),
    ),
    (
        "five mappings",
        lambda b: (b.map(200, 9), b.map(220, 9), b.send(START), b.write(3, 101, 141, 201, 221), b.get(0, 229, 32)),
        (None, None, 0, 1, [3, 101, 141, 201, 221]),
    ),
    (
        "write over a border",
        lambda b: (b.send(START), b.write(98, count=4), b.get(0, 130, 24)),
        (0, 1, [98, 99, 100, 101]),
    ),
    (
        "write over the end",
        lambda b: (b.send(START), b.write(128, count=4), b.get(0, 130, 24)),
        (0, 2, [128, 129]),
    ),
]
GOOD = {name: good for name, _, good in OBSERVATIONS}

#: Good devices, and what they show instead: the default, and those that accept more ranges, or fewer.
ALL_GOOD: dict[str, tuple[Options, dict[str, Any]]] = {
    "each mapping alone": (Options(), {}),
    "several mappings at once": (
        Options(unmapping="across"),
        {
            "unmap two": (0, 1, [3, 101], [141], 2),
            "unmap two, the second": ((130, 2), 2),
            "unmap nothing": (0, 1, [], [3]),
        },
    ),
    "bitmaps of whole mappings": (
        Options(ranges="whole"),
        {
            "middle": (0, 1, NO, [3, 10]),
            "room of a part": (0, NO),
            "sub-range": (0, 1, NO, [10, 20]),
            "hole": (0, NO),
        },
    ),
}

#: What a broken device shows instead. Every observation that is not listed is as on the good one.
RANGES: dict[str, dict[str, Any]] = {
    "unmap-across-rebased": {"unmap two": (0, 1, [1, 3], [141], 2), "unmap two, the second": ((130, 2), 2)},
    "unmap-across-last-bitmap": {"unmap two": (0, 1, [101], [141], 2), "unmap two, the second": ((130, 2), 2)},
    "unmap-across-forgets-next": {"unmap two": (0, 1, [3, 101], [], 2), "unmap two, the second": ((130, 2), 2)},
    "unmap-across-half-refused": {"unmap two": (0, 1, NO, [101, 141], 2)},
    "unmap-part-drops-record": {"unmap a part": (0, 1, (20, 1), [0])},
    "unmap-part-unmaps-all": {"unmap a part": (0, 1, (20, 2), [])},
    "unmap-nothing-refused-clears": {"unmap nothing": (0, 1, -ENOENT, [])},
    "bitmap-offset-truncated": {"far mapping": (None, 0, 1, [1, 3]), "huge mapping": (None, 0, 1, [1])},
    # The far mapping follows page 149.
    "bitmap-gap-left-out": {"far mapping": (None, 0, 1, [3, 151])},
    "bitmap-cut-rebased": {"middle": (0, 1, [3], [10]), "sub-range": (0, 1, [], [10, 20])},
    "bitmap-cut-refused-clears": {
        "middle": (0, 1, NO, [3]),
        "room of a part": (0, NO),
        "sub-range": (0, 1, NO, [20]),
        "hole": (0, NO),
    },
    "pin-refused-unpins": {"pin over a hole": (0, None, -EFAULT, [])},
    "write-across-first-only": {"write over a border": (0, 1, [98, 99])},
    "write-across-first-lost": {"write over a border": (0, 1, [100, 101]), "write over the end": (0, 2, [])},
    "write-failed-unseen": {"write over the end": (0, 2, [])},
    "unmap-unpins-neighbour": {"unmap beside pins": (0, None, None, (100, 2), [29])},
    "tracking-new-below-untracked": {"new mapping below": (0, None, 1, [])},
    "tracking-huge-wraps": {"huge mapping": (None, 0, 1, [1])},
    "tracking-fifth-mapping-lost": {"five mappings": (None, None, 0, 1, [3, 101, 141, 201])},
}


def observe_all(bench: Callable[..., Bench], *defects: str, options: Options | None = None) -> dict[str, Any]:
    """The result of each observation, each on a device of its own."""
    return {name: observe(bench(*defects, options=options)) for name, observe, _ in OBSERVATIONS}


@pytest.mark.parametrize(("options", "instead"), ALL_GOOD.values(), ids=ALL_GOOD)
def test_good_device_shows_what_is_expected(
    bench: Callable[..., Bench], options: Options, instead: dict[str, Any]
) -> None:
    """Every observation of each."""
    assert observe_all(bench, options=options) == GOOD | instead


@pytest.mark.parametrize("defect", RANGES)
def test_defect_shows_only_where_listed(bench: Callable[..., Bench], defect: str) -> None:
    """Every observation that is not listed is as on the good device, and no good device shows the same."""
    found = observe_all(bench, defect)
    assert found == GOOD | RANGES[defect]
    assert found not in [GOOD | instead for _, instead in ALL_GOOD.values()]
