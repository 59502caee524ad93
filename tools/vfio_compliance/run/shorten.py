# SPDX-License-Identifier: GPL-2.0-only
"""Shortens a list of failing steps for as long as it still fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def fewer(steps: list[T], goes_wrong: Callable[[list[T]], bool]) -> list[T]:
    """Fewer steps: half of them are left out, then quarters, then single ones, until no more can be."""
    size = max(len(steps) // 2, 1)
    while True:
        before = len(steps)
        at = 0
        while at < len(steps):
            attempt = steps[:at] + steps[at + size :]
            if attempt and goes_wrong(attempt):
                steps = attempt
            else:
                at += size
        if size == 1 and len(steps) == before:
            return steps
        size = max(size // 2, 1)
