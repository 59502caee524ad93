# SPDX-License-Identifier: GPL-2.0-only
"""Walks that went wrong, made short."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vfio_compliance.migration_v1.exploration.shorten import Step, shorten


def steps(*values: int) -> list[Step]:
    """A step for each value."""
    return [("write_size", {"value": value}) for value in values]


def values(those: list[Step]) -> list[int]:
    """The values of steps."""
    return [told["value"] for _, told in those]


@pytest.mark.parametrize("needed", [[0], [99], [3, 4], [0, 99], [0, 7, 50, 51, 98], list(range(100))], ids=str)
def test_only_what_is_needed_stays(needed: Sequence[int]) -> None:
    """Whichever steps matter, wherever they are, those stay, in their order, and no other."""

    def goes_wrong(those: list[Step]) -> bool:
        return [value >> 3 for value in values(those) if value >> 3 in needed] == needed

    assert [value >> 3 for value in values(shorten(steps(*(n << 3 for n in range(100))), goes_wrong))] == needed


def test_few_walks_are_taken() -> None:
    """What the last steps did is found in a few attempts, however long the walk was."""
    attempts: list[list[Step]] = []

    def goes_wrong(those: list[Step]) -> bool:
        attempts.append(those)
        return values(those)[-2:] == [8 * 998, 8 * 999]

    assert len(shorten(steps(*(8 * n for n in range(1000))), goes_wrong)) == 2
    assert len(attempts) < 12


def test_numbers_become_simple() -> None:
    """A number that does not matter becomes one digit, one that does stays; no step gets what it does not have."""
    walk: list[Step] = [
        ("write_size", {"value": 0x123}),
        ("write_size", {"value": 0x456}),
        ("save_buffer", {"pieces": 4}),
        ("reset", {}),
    ]

    def goes_wrong(those: list[Step]) -> bool:
        return [verb for verb, _ in those] == [verb for verb, _ in walk] and those[1][1]["value"] == 0x456

    assert shorten(walk, goes_wrong) == [
        ("write_size", {"value": 3}),
        ("write_size", {"value": 0x456}),
        ("save_buffer", {"pieces": 1}),
        ("reset", {}),
    ]


def test_a_plain_step_takes_the_place_of_several_in_one() -> None:
    """And what the step was needed for that it was before is left out then."""
    walk: list[Step] = [("save_live", {"buffers": 1, "value": 0}), ("leave_resuming", {"buffers": 1, "how": 1})]

    def goes_wrong(those: list[Step]) -> bool:
        verbs = [verb for verb, _ in those]
        return "reopen" in verbs or verbs == ["save_live", "leave_resuming"]

    assert shorten(walk, goes_wrong) == [("reopen", {})]
