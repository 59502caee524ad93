# SPDX-License-Identifier: GPL-2.0-only
"""Histories of guest memory drawn from a grammar: layouts of mappings, kinds of ranges, and operations on them.

A script of a layout and an operation does the operation to one range of each kind that the layout has, in a random
order; the device writes pages before, in the range and beside it, and after it each mapping is asked for by itself. So
each layout, operation and kind of range meet in one script. Where the seed is fixed, so are the scripts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .pages import Pages

#: Seed of the scripts that are the same in every run.
_SEED: Final = 12

#: A range: first page, and number of pages.
Range = tuple[int, int]

#: Steps that belong together, several times.
Parts = list[list[str]]


@dataclass(frozen=True)
class Layout:
    """Mappings, in the order in which they are made; the last ``late`` of them while pages are tracked."""

    mappings: tuple[Range, ...]
    late: int = 0
    #: First pages of the read-only mappings.
    readonly: tuple[int, ...] = ()
    #: Ends of writable memory, across which a write is tried. Few: a device may take long to fail.
    edges: tuple[int, ...] = ()

    def steps(self) -> list[str]:
        """Map them all, and start tracking. Existing mappings are left as they are."""
        made = [f"map{'-readonly' * (first in self.readonly)} {first} {count}" for first, count in self.mappings]
        return [*made[: len(made) - self.late], "start", *made[len(made) - self.late :]]

    @cached_property
    def mapped(self) -> Pages:
        """All pages."""
        return Pages((first, first + count) for first, count in self.mappings)

    @cached_property
    def ordered(self) -> list[Range]:
        """The mappings in order of place."""
        return sorted(self.mappings)

    @property
    def borders(self) -> list[int]:
        """Where one writable mapping ends and the next one begins."""
        free = [each for each in self.ordered if each[0] not in self.readonly]
        ends = {first + count for first, count in free}
        return [first for first, _ in free if first in ends]


_GIGABYTE: Final = 1 << 18  # pages of 4 KiB

LAYOUTS: Final = {
    "one mapping": Layout(((5, 200),), edges=(205,)),
    "adjacent mappings": Layout(((0, 10), (10, 10), (20, 44), (64, 70)), late=1),
    "mappings with holes": Layout(((3, 9), (20, 64), (130, 7)), late=1),
    "single pages": Layout(((1, 1), (2, 1), (5, 1), (63, 1), (64, 1), (127, 1))),
    "mappings in one word": Layout(((2, 3), (7, 1), (9, 20), (40, 10), (55, 20)), late=2),
    "whole words": Layout(((64, 64), (128, 64), (192, 128))),
    "mapped from the top down": Layout(((100, 64), (64, 36), (30, 5), (1, 9)), late=2),
    "megabytes apart": Layout(((0, 3), (512, 70), (2053, 9)), late=1),
    "gigabytes apart": Layout(((0, 10), (_GIGABYTE, 65), (4 * _GIGABYTE, 70))),
    "more than 256 MiB": Layout(((_GIGABYTE // 4 + 4500, 3), (0, _GIGABYTE // 4 + 4500)), late=1),
    "more than 4 GiB": Layout(((0, 4 * _GIGABYTE + 1024), (4 * _GIGABYTE + 1024, 3))),
    "read-only among others": Layout(((0, 10), (10, 10), (20, 12), (40, 3)), readonly=(10, 40), edges=(10,)),
}


# -- ranges -----------------------------------------------------------------------------------------------------------


def _one(layout: Layout, chance: random.Random) -> list[Range]:
    return layout.ordered


def _runs(layout: Layout, holes: bool) -> list[Range]:
    """From one mapping to the end of a later one, with or without holes between them."""
    made = [(first, end + more) for first, _ in layout.ordered for end, more in layout.ordered if end > first]
    return [(first, end - first) for first, end in made if bool(Pages([(first, end)]) - layout.mapped) == holes]


def _several(layout: Layout, chance: random.Random) -> list[Range]:
    return _runs(layout, holes=False)


def _over_holes(layout: Layout, chance: random.Random) -> list[Range]:
    return _runs(layout, holes=True)


def _everything(layout: Layout, chance: random.Random) -> list[Range]:
    """From the first mapping to the last."""
    ends = layout.ordered[0][0], max(first + count for first, count in layout.mappings)
    return [(ends[0], ends[1] - ends[0])] if len(layout.mappings) > 1 else []


def _beside(layout: Layout, chance: random.Random, *, before: bool, behind: bool) -> list[Range]:
    """A mapping, and pages of the holes around it."""
    found = []
    ends = [0, *(first + count for first, count in layout.ordered)]
    starts = [*(first for first, _ in layout.ordered[1:]), ends[-1] + 64]
    for (first, count), end_before, start_behind in zip(layout.ordered, ends, starts):  # noqa: B905 - one more
        space, room = min(64, first - end_before), min(64, start_behind - first - count)
        if (space or not before) and (room or not behind):
            start = first - chance.randint(1, space) if before else first
            end = first + count + (chance.randint(1, room) if behind else 0)
            found.append((start, end - start))
    return found


def _hole_before(layout: Layout, chance: random.Random) -> list[Range]:
    return _beside(layout, chance, before=True, behind=False)


def _hole_behind(layout: Layout, chance: random.Random) -> list[Range]:
    return _beside(layout, chance, before=False, behind=True)


def _holes_around(layout: Layout, chance: random.Random) -> list[Range]:
    return _beside(layout, chance, before=True, behind=True)


def _cut(layout: Layout, least: int) -> list[Range]:
    return [each for each in layout.ordered if each[1] >= least]


def _beginning(layout: Layout, chance: random.Random) -> list[Range]:
    return [(first, chance.randint(1, min(count - 1, 130))) for first, count in _cut(layout, 2)]


def _end(layout: Layout, chance: random.Random) -> list[Range]:
    cut = [(first + count, chance.randint(1, min(count - 1, 130))) for first, count in _cut(layout, 2)]
    return [(end - length, length) for end, length in cut]


def _middle(layout: Layout, chance: random.Random) -> list[Range]:
    cut = [(first, count, chance.randint(1, count - 2)) for first, count in _cut(layout, 3)]
    return [(first + at, chance.randint(1, min(count - 1 - at, 130))) for first, count, at in cut]


def _into_another(layout: Layout, chance: random.Random) -> list[Range]:
    ranges = []
    for one, other in zip(layout.ordered, layout.ordered[1:]):  # noqa: B905 - one less
        start = one[0] + chance.randrange(one[1])
        end = other[0] + chance.randint(1, other[1])
        if start > one[0] or end < other[0] + other[1]:
            ranges.append((start, end - start))
    return ranges


def _nothing(layout: Layout, chance: random.Random) -> list[Range]:
    end = max(first + count for first, count in layout.mappings)
    holes = Pages([(0, end + 200)]) - layout.mapped
    return [(first, min(stop - first, chance.randint(1, 130))) for first, stop in holes.runs]


#: Kinds of ranges, each with the ranges of that kind in a layout.
RANGES: Final[dict[str, Callable[[Layout, random.Random], list[Range]]]] = {
    "one mapping": _one,
    "several mappings": _several,
    "over holes": _over_holes,
    "from the first mapping to the last": _everything,
    "a hole before": _hole_before,
    "a hole behind": _hole_behind,
    "holes around": _holes_around,
    "the beginning of a mapping": _beginning,
    "the end of a mapping": _end,
    "the middle of a mapping": _middle,
    "into another mapping": _into_another,
    "nothing": _nothing,
}

#: Ranges that the specification promises: a bitmap of whole mappings, and the unmapping of one.
_PROMISED: Final = {"ask": ("one mapping", "several mappings"), "unmap": ("one mapping",)}


def _promises(verb: str, kind: str) -> bool:
    return kind in _PROMISED["unmap" if verb.startswith("unmap") else "ask"]


# -- what is done -----------------------------------------------------------------------------------------------------

_GETTING: Final = ("ask", "get-small", "get-wrong-page")
_UNMAPPING: Final = ("unmap", "unmap-bitmap", "unmap-small", "unmap-wrong-page")
_GET_FAILING: Final = ("get-readonly", "get-short")
_UNMAP_FAILING: Final = ("unmap-readonly", "unmap-short")


def _writes(layout: Layout, chance: random.Random, first: int, count: int) -> list[str]:
    """Pages that the device writes: in the range, in the first and last mapping that it meets, and one next to it.

    The latter is in the rest of these mappings, or in the mapping after or before the range.
    """
    free = Pages((start, start + length) for start, length in layout.mappings if start not in layout.readonly)
    span = Pages.run(first, count)
    met = [each for each in layout.ordered if Pages.run(*each) & span & free]
    ends = [Pages.run(*each) & free for each in dict.fromkeys([*met[:1], *met[-1:]])]
    apart = [Pages.run(*each) & free - span for each in layout.ordered if each not in met]
    behind = [pages for pages in apart if pages and pages.runs[0][0] >= first + count][:1] or apart[-1:]
    beside = [rest for rest in (*(pages - span for pages in ends), *behind) if rest]
    written = []
    for pages in [*(pages & span for pages in ends), *chance.sample(beside, min(chance.randrange(2), len(beside)))]:
        start, end = chance.choice(pages.runs)
        written.append(chance.choice((start, end - 1, chance.randrange(start, end))))
    return [f"dirty {page}" for page in dict.fromkeys(written)]


def _ranged(layout: Layout, chance: random.Random, verb: str, kind: str) -> Iterator[str]:
    """One operation on a range of a kind, and the steps before and after it; nothing if there is no such range."""
    ranges = RANGES[kind](layout, chance)
    if not ranges:
        return
    first, count = chance.choice(ranges)
    if verb.startswith("unmap"):
        yield from layout.steps()
    yield from _writes(layout, chance, first, count)
    short = f" {chance.randint(1, min(-(-count // 64), 3))}" if verb.endswith("-short") else ""
    yield f"{verb} {first} {count}{short}"
    if chance.random() < (0.6 if verb in ("unmap", "unmap-bitmap") else 0.25):  # otherwise the next query shows it
        yield "check"


def _episodes(layout: Layout, chance: random.Random) -> Parts:
    """Other things that happen to pages: pins, writes across borders, mappings made in between, STOP and START."""
    writable = [each for each in layout.ordered if each[0] not in layout.readonly]
    (first, count), (other, more) = (chance.choice(writable) for _ in range(2))
    page, length = first + chance.randrange(count), chance.randint(1, 3)
    length = min(length, first + count - page)
    end = max(start + size for start, size in layout.mappings)
    again = [step for step in layout.steps() if step != "start"]
    neighbour = chance.choice([each for each in layout.ordered if each != (first, count)] or [(first, count)])
    pinned = [f"pin {page} {length}", "check"]
    return [
        [*pinned, f"unpin {page} {length}", "check"],
        [*pinned, "stop", "start", "check", f"unpin {page} {length}", "check"],
        [*pinned, f"unmap {neighbour[0]} {neighbour[1]}", "check", f"unpin {page} {length}", "check", *again],
        [*pinned, f"unmap-bitmap {first} {count}", *again, "check"],
        [f"pin {page} {length}", f"unpin {page} {length}", "check"],
        [*pinned, f"dirty {end - 1}", f"pin-nothing {end - 1} 2", f"dirty {other}", "check", f"unpin {page} {length}"],
        *([f"cross {border}", "check"] for border in (*layout.borders[:2], *layout.edges)),
        [f"dirty {page}", "stop", f"dirty {other + more - 1}", "start", f"dirty {first}", "check"],
        [f"dirty {page}", "start-again", f"dirty {other + more - 1}", "check"],
        [f"unmap {other} {more}", f"dirty {page}", *again, f"dirty {other}", "check"],
        [f"dirty {page} {length}", "check", f"dirty {page}", "check"],
    ]


def _parts(layout: Layout, chance: random.Random, verbs: tuple[str, ...], promised: bool | None = None) -> Parts:
    """A part for each verb and kind of range, for either the promised or the other ones."""
    pairs = [(verb, kind) for verb in verbs for kind in RANGES if promised in (None, _promises(verb, kind))]
    return [part for verb, kind in pairs if (part := list(_ranged(layout, chance, verb, kind)))]


def _whole(layout: Layout, chance: random.Random) -> Parts:
    return _parts(layout, chance, (*_GETTING, *_UNMAPPING), promised=True)


def _asked(layout: Layout, chance: random.Random) -> Parts:
    return _parts(layout, chance, ("ask",), promised=False)


def _unmapped(layout: Layout, chance: random.Random) -> Parts:
    return _parts(layout, chance, ("unmap",), promised=False)


def _unmapped_with_bitmap(layout: Layout, chance: random.Random) -> Parts:
    return _parts(layout, chance, ("unmap-bitmap",), promised=False)


def _refused(layout: Layout, chance: random.Random) -> Parts:
    """For half of the kinds of ranges, one request that must be refused."""
    kinds = chance.sample(list(RANGES), len(RANGES) // 2)
    pairs = [(chance.choice((*_GETTING[1:], *_UNMAPPING[2:])), kind) for kind in kinds]
    return [part for verb, kind in pairs if (part := list(_ranged(layout, chance, verb, kind)))]


def _failing(layout: Layout, chance: random.Random) -> Parts:
    """Unmapping takes one mapping: what is left of several that could not be reported is unspecified."""
    return _parts(layout, chance, _GET_FAILING) + _parts(layout, chance, _UNMAP_FAILING, promised=True)


def _visited(layout: Layout, chance: random.Random) -> Parts:
    """A second device comes, writes and pins, and leaves, before and after other steps."""
    pages = [first + chance.randrange(count) for first, count in layout.ordered]
    page, other = chance.choice(pages), chance.choice(pages)
    return [
        [f"dirty {page}", f"visit {other}", "check"],
        [f"visit {page}", "check", f"dirty {page}", "check"],
        [f"pin {page} 1", f"visit {other}", "check", f"unpin {page} 1", "check"],
        [f"pin {page} 1", f"visit {page}", "check", "check", f"unpin {page} 1", "check"],
        [f"dirty {other}", "stop", f"visit {page}", "start", f"visit {other}", "check"],
    ]


def _anything(layout: Layout, chance: random.Random) -> Parts:
    """A selection of everything that succeeds or is refused without a bad pointer."""
    parts = _parts(layout, chance, (*_GETTING, *_UNMAPPING)) + _episodes(layout, chance)
    return chance.sample(parts, min(_ANYTHING, len(parts)))


#: Parts of a drawn script.
_ANYTHING: Final = 12

#: What is done with every layout: what is promised, what the specification leaves open, and what fails in the middle.
_PROMISED_DEEDS: Final = {"pages tracked": _episodes, "whole mappings": _whole}
_OPEN_DEEDS: Final = {
    "bitmaps of any range": _asked,
    "any range unmapped": _unmapped,
    "any range unmapped with its bitmap": _unmapped_with_bitmap,
    "refused for any range": _refused,
}
_FAILING_DEEDS: Final = {"failing half-way": _failing}

#: Layouts in which a second device takes part.
_VISITED: Final = ("adjacent mappings", "mappings with holes", "gigabytes apart")

#: Scripts that are drawn in each run, and those of a run that goes deep.
_DRAWN, _DEEP = 3, 150

Deed = Callable[[Layout, random.Random], Parts]


def _script(seed: object, name: str, deed: Deed) -> str:
    chance = random.Random(f"{seed} {name} {deed.__name__}")
    layout = LAYOUTS[name]
    parts = deed(layout, chance)
    chance.shuffle(parts)
    return "; ".join([*layout.steps(), *(step for part in parts for step in part), "check"])


class Scripts(Mapping[str, str]):
    """Scripts by name, each made on first use, as making all of them takes seconds."""

    def __init__(self, sources: dict[str, tuple[object, str, Deed]]) -> None:
        """``sources``: seed, layout and deed of each."""
        self._sources = sources
        self._made: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._made:
            self._made[name] = _script(*self._sources[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def _all(deeds: Mapping[str, Deed], layouts: tuple[str, ...] = tuple(LAYOUTS)) -> dict[str, tuple[object, str, Deed]]:
    return {f"{name}: {done}": (_SEED, name, deed) for name in layouts for done, deed in deeds.items()}


#: Scripts by their names: those that request only what is promised,
PROMISED: Final = Scripts(_all(_PROMISED_DEEDS) | _all({"another device comes and goes": _visited}, _VISITED))
#: those with ranges that the specification does not mention,
OPEN: Final = Scripts(_all(_OPEN_DEEDS))
#: those with requests that fail in the middle,
FAILING: Final = Scripts(_all(_FAILING_DEEDS))
#: those that continue with the same for long,
DEEP: Final = Scripts(
    {
        f"deep {number}, {name}": (number, name, _anything)
        for number in range(1, _DEEP + 1)
        for name in (tuple(LAYOUTS)[number % len(LAYOUTS)],)
    }
)
#: and the names of those that every run draws afresh.
DRAWN: Final = [f"drawn {number}" for number in range(1, _DRAWN + 1)]


def drawn(name: str, seed: int) -> str:
    """The script that a run with this seed draws for the name."""
    chance = random.Random(f"{seed} {name}")
    return _script(f"{seed} {name}", chance.choice(tuple(LAYOUTS)), _anything)
