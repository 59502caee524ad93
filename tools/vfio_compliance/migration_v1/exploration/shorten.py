# SPDX-License-Identifier: GPL-2.0-only
"""Makes a walk that went wrong short: leaves steps out, and makes those that stay simple, as long as it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

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
    simple = [*steps]
    for index, step in enumerate(steps):
        for simpler in _simpler(step):
            attempt = [*simple[:index], simpler, *simple[index + 1 :]]
            if goes_wrong(attempt):
                simple = attempt
                break
    if [verb for verb, _ in simple] == [verb for verb, _ in steps]:
        return simple
    return fewer(simple, goes_wrong)  # what the steps were needed for that were others before may be no longer


#: What is told to steps, with what is easier to read; the first that still goes wrong is taken.
_SIMPLE: Final = (
    *(("pieces", 1), ("reads", 1), ("buffers", 0), ("count", 1)),
    *(("look", 0), ("look", 1)),
)


#: What may be enough of steps that are made of several.
_PLAIN: Final[dict[str, tuple[Step, ...]]] = {
    "leave_saving": (("reset", {}), ("reopen", {})),
    "leave_resuming": (("reset", {}), ("reopen", {})),
    "save_live": (("save_whole", {"reads": 1}),),
    "save_changed": (("save_whole", {"reads": 1}),),
}


def _simpler(step: Step) -> Iterator[Step]:
    """A plain step in place of one that is made of several; or the same one with a number that is easier to read."""
    verb, told = step
    yield from _PLAIN.get(verb, ())
    for key, simpler in (("value", told.get("value", 0) & 7), *_SIMPLE):
        if key in told and told[key] != simpler:
            yield verb, {**told, key: simpler}
