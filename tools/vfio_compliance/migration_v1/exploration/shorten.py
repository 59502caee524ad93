# SPDX-License-Identifier: GPL-2.0-only
"""Shortens a failing walk: leaves steps out, and simplifies the rest, for as long as it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from ...run.shorten import fewer

#: A step of a walk: its verb and arguments.
Step: TypeAlias = tuple[str, dict[str, Any]]


def shorten(steps: list[Step], goes_wrong: Callable[[list[Step]], bool]) -> list[Step]:
    """Steps that still fail, of which none can be left out. An attempt takes a walk, so the first cuts are large."""
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


#: Arguments of steps, with ones that are easier to read; the first that still fails is used.
_SIMPLE: Final = (
    *(("pieces", 1), ("reads", 1), ("buffers", 0), ("count", 1)),
    *(("look", 0), ("look", 1)),
)


#: Single steps that may suffice in place of compound ones.
_PLAIN: Final[dict[str, tuple[Step, ...]]] = {
    "leave_saving": (("reset", {}), ("reopen", {})),
    "leave_resuming": (("reset", {}), ("reopen", {})),
    "save_live": (("save_whole", {"reads": 1}),),
    "save_changed": (("save_whole", {"reads": 1}),),
}


def _simpler(step: Step) -> Iterator[Step]:
    """A plain step in place of a compound one; or the same one with a number that is easier to read."""
    verb, arguments = step
    yield from _PLAIN.get(verb, ())
    for key, simpler in (("value", arguments.get("value", 0) & 7), *_SIMPLE):
        if key in arguments and arguments[key] != simpler:
            yield verb, {**arguments, key: simpler}
