# SPDX-License-Identifier: GPL-2.0-only
"""Makes a walk that went wrong short: leaves steps out, and makes those that stay simple, as long as it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from ...run.shorten import fewer

#: A step of a walk: its verb, and what it was told.
Step: TypeAlias = tuple[str, dict[str, Any]]


def shorten(steps: list[Step], goes_wrong: Callable[[list[Step]], bool]) -> list[Step]:
    """Steps that still go wrong, of which none can be left out. An attempt takes a walk, so the first cuts are bold."""
    length = 1
    while length < len(steps):
        if goes_wrong(steps[-length:]):
            steps = steps[-length:]
            break
        length *= 2
    steps = fewer(steps, goes_wrong)
    for index, step in enumerate(steps):
        for simpler in _simpler(step):
            attempt = [*steps[:index], simpler, *steps[index + 1 :]]
            if goes_wrong(attempt):
                steps = attempt
                break
    return steps


def _simpler(step: Step) -> Iterator[Step]:
    """The same step with a number that is easier to read."""
    verb, told = step
    for key, simpler in (("value", told.get("value", 0) & 7), ("pieces", 1), ("reads", 1), ("buffers", 0)):
        if key in told and told[key] != simpler:
            yield verb, {**told, key: simpler}
