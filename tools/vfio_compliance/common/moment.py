# SPDX-License-Identifier: GPL-2.0-only
"""Errors that know after which call they occurred, however late they are judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Self = TypeVar("_Self", bound="AfterCall")

_counters: list[Callable[[], int]] = []


def count_calls(counter: Callable[[], int]) -> None:
    """From now on, ``counter`` returns the running number of the last call."""
    _counters[:] = [counter]


def latest_call() -> int:
    """The running number of the call that ended last in this process; 0 before the first, or without a counter."""
    return _counters[0]() if _counters else 0


class AfterCall(Exception):
    """An error that remembers the last call before it."""

    #: The running number of that call.
    after: int

    def __new__(cls: type[_Self], *arguments: Any, **named: Any) -> _Self:
        made = super().__new__(cls, *arguments)
        made.after = latest_call()
        return made
