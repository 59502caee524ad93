# SPDX-License-Identifier: GPL-2.0-only
"""Histories of guest memory: a language for them, and named ones.

A script is a line of steps, each a verb and its numbers, in pages:

    map, map-readonly, pin, unpin FIRST COUNT; dirty, write FIRST [COUNT]; start; stop
    cross PAGE                   one write over the border before that page; one side may not be writable
    pin-nothing FIRST COUNT      to be refused: not all of that is mapped
    visit PAGE                   another device comes into the container, writes and pins that page, and goes
    start-again                  whatever it answers
    get FIRST COUNT              a bitmap that is judged, of whole mappings
    ask FIRST COUNT              the same for any range, which may be refused if the specification does not promise it
    check                        the bitmap of each mapping by itself
    get-small, get-wrong-page    a bitmap with too small a buffer, or with another page size: to be refused
    get-readonly                 the same into memory that cannot be written
    get-short FIRST COUNT WORDS  the same into memory whose last words cannot be written: fails half-way
    unmap FIRST [COUNT]          of a mapping; with a count of any range, which may be refused where it is not one
    unmap-bitmap                 the same with the bitmap, which is judged
    unmap-small, unmap-wrong-page, unmap-readonly, unmap-short    as of a bitmap

``write`` is one by the device; ``dirty`` sees to it that the pages have to be reported, which may take none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

#: Steps that fail in the middle.
FAILING: Final = ("get-readonly", "get-short", "unmap-readonly", "unmap-short")

#: Each by a name that describes it. No query cuts a mapping, which the specification leaves open.
SCRIPTS: Final = {
    "asked twice": "map 0 64; start; dirty 5; get 0 64; get 0 64",
    "hundreds of pages between two bitmaps": "map 0 700; start; dirty 0 700; get 0 700; get 0 700",
    "written again after it was reported": "map 0 64; start; dirty 5; get 0 64; dirty 5; get 0 64; get 0 64",
    "the edges of words": "map 0 130; start; dirty 0; dirty 63 2; dirty 127 2; dirty 129; get 0 130; get 0 130",
    "two mappings, together and alone": "map 0 3; map 3 5; start; dirty 1; dirty 4; get 0 8; get 3 5; get 0 3",
    "overlapping ranges": (
        "map 0 64; map 64 64; map 200 10; start; dirty 1; dirty 65; dirty 201; get 0 128; dirty 65; get 64 146; "
        "dirty 1; get 0 210"
    ),
    "from a hole before": "map 1 1; start; dirty 1; get 0 64; get 1 1; get 0 64; get 0 1",
    "from a hole before, then with a hole behind": "map 1 1; start; get 0 64; get 1 63; dirty 1; get 0 64; get 1 127",
    "63 pages, from a hole before": "map 1 63; start; dirty 63; get 0 128; get 1 127; dirty 1; get 0 128; get 1 63",
    "across a word, from holes before": "map 60 10; start; dirty 60 10; get 0 128; get 60 64; get 59 80; get 60 10",
    "every base of a word": "map 64 70; start; "
    + "; ".join(f"dirty {64 + base}; get {64 - base} {140 + base}; get 64 200" for base in range(0, 64, 9)),
    "refused for its buffer": "map 0 70; start; dirty 5; dirty 69; get-small 0 70; get 0 70",
    "refused for its page size": "map 0 70; start; dirty 5; dirty 69; get-wrong-page 0 70; get 0 70",
    "refused, from a hole before": "map 3 70; start; dirty 5; get-small 0 80; get-wrong-page 0 80; get 3 70",
    "failed into memory that cannot be written": "map 0 70; start; dirty 5; get-readonly 0 70; get 0 70",
    "failed likewise, from a hole before": "map 3 70; start; dirty 10; get-readonly 0 80; get 3 70",
    "failed likewise, then from the same hole": "map 3 70; start; dirty 10; get-readonly 0 80; get 0 80; get 3 70",
    "failed half-way, over two mappings": (
        "map 0 64; map 128 64; start; dirty 5; dirty 130; get-short 0 192 1; get 0 192"
    ),
    "failed half-way, through one mapping": "map 0 128; start; dirty 5; dirty 100; get-short 0 128 1; get 0 128",
    "stopped and started": "map 0 70; start; dirty 5; stop; start; dirty 6; get 0 70; stop; start; get 0 70",
    "started twice": "map 0 70; start; dirty 5; start-again; dirty 6; get 0 70",
    "mapped while tracking": "map 0 8; start; map 70 70; dirty 3; dirty 139; get 0 140; map 8 8; dirty 15; get 0 140",
    "unmapped with its bitmap": (
        "map 0 64; map 64 70; start; dirty 3; dirty 70; unmap-bitmap 0; get 64 70; map 0 64; get 0 134"
    ),
    "unmapped after it was asked": "map 0 70; start; dirty 3; get 0 70; dirty 69; unmap-bitmap 0",
    "unmapped beside what is dirty": (
        "map 0 10; map 10 20; map 40 70; start; dirty 12; dirty 45; unmap 0; get 10 20; dirty 11; unmap-bitmap 10; "
        "get 40 70"
    ),
    "unmapping refused": "map 0 70; start; dirty 69; unmap-small 0; get 0 70; dirty 1; unmap-small 0; unmap-bitmap 0",
    "mapped anew at the same place": "map 0 70; start; dirty 3; unmap 0; map 0 70; get 0 70; dirty 4; get 0 70",
    "written before tracking": "map 0 70; dirty 3; start; dirty 4; get 0 70; get 0 70",
    "pinned before tracking": "map 0 8; pin 2 2; start; get 0 8; get 0 8; unpin 2 2; get 0 8; get 0 8",
    "pinned while tracking": "map 0 70; start; get 0 70; pin 63 2; get 0 70; unpin 63 2; get 0 70; get 0 70",
    "pinned and let go unasked": "map 0 70; start; pin 5 1; unpin 5 1; get 0 70; get 0 70",
    "pinned, from a hole before": "map 3 20; pin 5 1; start; get 0 64; get 3 20; dirty 7; get 0 64; get 3 20",
    "pinned in another mapping": (
        "map 0 8; map 8 8; pin 1 1; start; unpin 1 1; pin 9 1; get 8 8; get 0 16; unpin 9 1; get 0 16"
    ),
}


def steps(script: str) -> Iterator[tuple[str, list[int]]]:
    """The verbs of a script, with their numbers."""
    return map(parsed, script.split("; "))


def parsed(step: str) -> tuple[str, list[int]]:
    """The verb of a step, with its numbers."""
    verb, *numbers = step.split()
    return verb, [int(number) for number in numbers]


def holding(*verbs: str) -> list[str]:
    """Names of the scripts that hold one of these steps."""
    return [name for name, script in SCRIPTS.items() if any(f"{verb} " in script for verb in verbs)]


#: Names of the scripts in which no query fails in the middle.
SOUND: Final = [name for name in SCRIPTS if name not in holding(*FAILING)]
