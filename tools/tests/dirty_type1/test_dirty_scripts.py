# SPDX-License-Identifier: GPL-2.0-only
"""The histories of guest memory make sense, and what they expect follows from what happened."""

from __future__ import annotations

import pytest

from vfio_compliance.dirty_type1.history import History
from vfio_compliance.dirty_type1.pages import Pages
from vfio_compliance.dirty_type1.scripts import FAILING, SCRIPTS, SOUND, holding, steps


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_makes_sense(name):
    """Nothing is mapped twice or unmapped unmapped, no query cuts a mapping, and only what is mapped is written."""
    mapped: dict[int, int] = {}
    tracking = False
    judged = 0
    for verb, numbers in steps(SCRIPTS[name]):
        if verb == "map":
            first, count = numbers
            assert all(first + count <= other or other + size <= first for other, size in mapped.items())
            mapped[first] = count
        elif verb in ("unmap", "unmap-telling"):
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
        judged += verb in ("get", "unmap-telling")
    assert judged


def test_scripts_that_fail_are_apart():
    """Every script is either sound, or has a query that fails in the middle."""
    assert sorted([*SOUND, *holding(*FAILING)]) == sorted(SCRIPTS)


def test_history_follows_what_happens():
    """Written pages are expected until they were reported, pinned ones as long as they are pinned."""
    history = History()
    history.map(Pages.run(0, 70))
    history.wrote(Pages.of(1))  # while nothing was tracked
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
