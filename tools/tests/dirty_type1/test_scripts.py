# SPDX-License-Identifier: GPL-2.0-only
"""Scripts for guest memory are consistent, and the expectations of a history follow from its events."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from vfio_compliance.dirty_type1 import grammar
from vfio_compliance.dirty_type1.history import History
from vfio_compliance.dirty_type1.pages import Pages
from vfio_compliance.dirty_type1.scripts import FAILING, SCRIPTS, SOUND, holding, steps


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_consistent(name: str) -> None:
    """Nothing is mapped twice, only mapped pages are unmapped or written, and no query cuts a mapping."""
    mapped: dict[int, int] = {}
    tracking = False
    judged = 0
    for verb, numbers in steps(SCRIPTS[name]):
        if verb == "map":
            first, count = numbers
            assert all(first + count <= other or other + size <= first for other, size in mapped.items())
            mapped[first] = count
        elif verb in ("unmap", "unmap-bitmap"):
            assert tracking or verb == "unmap"
            del mapped[numbers[0]]
        elif verb == "unmap-small":
            assert numbers[0] in mapped
        elif verb in ("dirty", "write", "pin", "unpin"):
            first, count = [*numbers, 1][:2]
            assert any(other <= first and first + count <= other + size for other, size in mapped.items())
        elif verb == "start-again":
            assert tracking
        elif verb in ("start", "stop"):
            tracking = verb == "start"
        else:
            first, count = numbers[:2]
            assert tracking
            for other, size in mapped.items():
                assert not other < first < other + size
                assert not other < first + count < other + size
        judged += verb in ("get", "unmap-bitmap")
    assert judged


def test_scripts_are_either_sound_or_failing() -> None:
    """A failing one has a query that fails in the middle."""
    assert sorted([*SOUND, *holding(*FAILING)]) == sorted(SCRIPTS)


def test_history_follows_events() -> None:
    """Written pages are expected until they were reported, and pinned ones while they are pinned."""
    history = History()
    history.map(Pages.run(0, 70))
    history.wrote(Pages.of(1))  # before tracking
    history.start()
    history.wrote(Pages.of(5))
    history.pin(Pages.of(9))
    must, may, clean = history.expected(0, 80)
    assert must == Pages.of(5, 9)
    assert may == Pages.run(0, 70)
    assert clean == Pages.run(0, 70) - Pages.of(1, 5, 9)
    history.reported(0, 64)
    assert history.expected(0, 80).must == Pages.of(9)
    history.unpin(Pages.of(9))
    assert history.expected(0, 80).must == Pages.of(9)
    history.reported(0, 80)
    assert not history.expected(0, 80).must
    history.wrote(Pages.of(69))
    history.stop()
    history.start()
    assert not history.expected(0, 80).must
    history.unmap(Pages.run(0, 70))
    assert history.expected(0, 80) == (Pages(), Pages(), Pages())


ALL = {**grammar.PROMISED, **grammar.OPEN, **grammar.FAILING, **grammar.DEEP}


def verbs_of(script: str) -> set[str]:
    """The verbs of a script."""
    return {verb for verb, _ in steps(script)}


def test_generated_scripts_are_the_same_in_every_run() -> None:
    """Names of scripts are unique, and a script depends only on its name and the seed."""
    assert {**grammar.Scripts(grammar._all(grammar._OPEN_DEEDS))} == {**grammar.OPEN}
    assert len({*SCRIPTS, *ALL, *grammar.DRAWN}) == len(SCRIPTS) + len(ALL) + len(grammar.DRAWN)
    assert grammar.drawn("drawn 1", 5) == grammar.drawn("drawn 1", 5) != grammar.drawn("drawn 1", 6)


@pytest.mark.parametrize("verb", ["ask", "unmap", "unmap-bitmap"])
@pytest.mark.parametrize("layout", grammar.LAYOUTS)
def test_each_kind_of_range_is_tried(count: Callable[..., None], layout: str, verb: str) -> None:
    """In the set of every run: with each layout, each operation and each kind of range that the layout has."""
    usual = {**grammar.PROMISED, **grammar.OPEN}
    tried = [numbers for script in usual.items() for numbers in tried_by(script, layout, verb)]
    kinds = [kind for kind, ranges in grammar.RANGES.items() if ranges(grammar.LAYOUTS[layout], random.Random(0))]
    assert len(tried) >= len(kinds)
    count(triples_of_layout_operation_and_kind_of_range=len(kinds))


def tried_by(script: tuple[str, str], layout: str, verb: str) -> list[list[int]]:
    """The ranges to which a script of this layout applies the operation."""
    name, text = script
    return [numbers for found, numbers in steps(text) if found == verb and name.startswith(f"{layout}: ")]


def test_only_failing_scripts_have_bad_pointers() -> None:
    """Not every transport can express them, so they have their own scripts."""
    failing = {name for name, script in ALL.items() if verbs_of(script) & {*FAILING}}
    assert failing == {*grammar.FAILING}


def test_layouts_match_their_names() -> None:
    """Gigabytes apart, or more than 4 GiB, in pages of 4 KiB; no two mappings overlap."""
    for layout in grammar.LAYOUTS.values():
        assert len(layout.mapped) == sum(count for _, count in layout.mappings)
    assert max(first for first, _ in grammar.LAYOUTS["gigabytes apart"].mappings) * 4096 >= 1 << 32
    assert max(count for _, count in grammar.LAYOUTS["more than 4 GiB"].mappings) * 4096 > 1 << 32


def test_history_of_unknown_pages() -> None:
    """Pages that are read-only or in doubt are neither expected nor wrong."""
    history = History(everything=True)
    history.map(Pages.run(0, 10), readonly=True)
    history.map(Pages.run(10, 10))
    assert history.expected(0, 20).must == Pages.run(10, 10)
    history = History()
    history.map(Pages.run(0, 10), readonly=True)
    history.map(Pages.run(10, 10))
    history.start()
    history.stain(Pages.of(12, 30))
    history.doubt(Pages.of(14))
    assert history.expected(0, 40) == (Pages(), Pages.run(0, 20), Pages.run(10, 10) - Pages.of(12, 14))
    history.reported(0, 40)
    assert history.expected(0, 40).clean == Pages.run(10, 10) - Pages.of(14)
