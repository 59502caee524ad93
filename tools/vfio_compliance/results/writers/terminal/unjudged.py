# SPDX-License-Identifier: GPL-2.0-only
"""What was not judged, and why; what was not to be judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ....common.words import counted
from ... import unjudged as groups
from ...summary import Summary
from ...unjudged import Group
from .faults import Faults
from .layout import MOST_RULES, labelled, some

#: How many ways are shown in which one failed rule kept cases from being judged.
_WAYS: Final = 3


def unjudged(summary: Summary, faults: Faults, width: int) -> Iterator[str]:
    """First the unjudged rules of the device, then those of the suite itself."""
    for group in groups.unjudged(summary):
        yield from _head(group)
        if group.cause:
            yield from labelled("needs", f"{group.cause}, which failed: {faults.where(group.cause)}", width)
        yield from _because(group, width)
        yield from labelled("rules", some(group.rules), width)


def _head(group: Group) -> Iterator[str]:
    yield ""
    yield f"{group.title}: {group.number}"


def _because(group: Group, width: int) -> Iterator[str]:
    for index, text in enumerate(group.because[:_WAYS]):
        yield from labelled("" if index else "met by" if group.cause else "because", text, width)
    if len(group.because) > _WAYS:
        yield from labelled("", f"and in {counted(len(group.because) - _WAYS, 'other way')}", width)
    if group.remedy:
        yield from labelled("remedy", group.remedy, width)


def left_out(summary: Summary, width: int) -> Iterator[str]:
    """What was not to be judged in this run."""
    for group in groups.left_out(summary):
        yield from _head(group)
        yield from _because(group, width)
        yield from labelled("rules", some(group.rules), width)
    if text := groups.selected(summary):
        yield ""
        yield f"Selected: {text}"
        for option, patterns in (("--only", summary.scope.only), ("--exclude", summary.scope.exclude)):
            for index, pattern in enumerate(patterns[:MOST_RULES]):
                yield from labelled("" if index else option, pattern, width)
            if len(patterns) > MOST_RULES:
                yield from labelled("", f"and {len(patterns) - MOST_RULES} more", width)
