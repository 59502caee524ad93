# SPDX-License-Identifier: GPL-2.0-only
"""Shortening walks that failed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vfio_compliance.migration_v1.exploration.shorten import Step, shorten


def steps(*values: int) -> list[Step]:
    """A step for each value."""
    return [("write_size", {"value": value}) for value in values]


def values(walk_steps: list[Step]) -> list[int]:
    """The values of steps."""
    return [arguments["value"] for _, arguments in walk_steps]


@pytest.mark.parametrize("needed", [[0], [99], [3, 4], [0, 99], [0, 7, 50, 51, 98], list(range(100))], ids=str)
def test_only_steps_that_are_needed_stay(needed: Sequence[int]) -> None:
    """Any steps, anywhere, in their order."""

    def fails(walk_steps: list[Step]) -> bool:
        return [value >> 3 for value in values(walk_steps) if value >> 3 in needed] == needed

    assert [value >> 3 for value in values(shorten(steps(*(n << 3 for n in range(100))), fails))] == needed


def test_few_walks_are_tried() -> None:
    """A failure of the last steps is found in a few attempts, however long the walk is."""
    attempts: list[list[Step]] = []

    def fails(walk_steps: list[Step]) -> bool:
        attempts.append(walk_steps)
        return values(walk_steps)[-2:] == [8 * 998, 8 * 999]

    assert len(shorten(steps(*(8 * n for n in range(1000))), fails)) == 2
    assert len(attempts) < 12


def test_numbers_are_simplified() -> None:
    """A number that does not matter becomes a digit, one that matters stays; no step gets a new argument."""
    walk: list[Step] = [
        ("write_size", {"value": 0x123}),
        ("write_size", {"value": 0x456}),
        ("save_buffer", {"pieces": 4}),
        ("reset", {}),
    ]

    def fails(walk_steps: list[Step]) -> bool:
        return [verb for verb, _ in walk_steps] == [verb for verb, _ in walk] and walk_steps[1][1]["value"] == 0x456

    assert shorten(walk, fails) == [
        ("write_size", {"value": 3}),
        ("write_size", {"value": 0x456}),
        ("save_buffer", {"pieces": 1}),
        ("reset", {}),
    ]


def test_plain_step_replaces_a_composite_one() -> None:
    """Steps that only the composite one needed are removed."""
    walk: list[Step] = [("save_live", {"buffers": 1, "value": 0}), ("leave_resuming", {"buffers": 1, "how": 1})]

    def fails(walk_steps: list[Step]) -> bool:
        verbs = [verb for verb, _ in walk_steps]
        return "reopen" in verbs or verbs == ["save_live", "leave_resuming"]

    assert shorten(walk, fails) == [("reopen", {})]
