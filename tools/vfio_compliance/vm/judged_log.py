# SPDX-License-Identifier: GPL-2.0-only
"""Complaints of a guest's kernel that no run has judged: a run reports its own, or has a waiver for them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vfio_compliance.results import journal
from vfio_compliance.results.events import Kernel
from vfio_compliance.results.kernel_log import INDENT, TAINTED, Warned, complaints, taint_letters, warned
from vfio_compliance.vm.console import foreign_taint
from vfio_compliance.vm.last_words import text_of


def unjudged(event: dict[str, Any], journals: Iterable[Path]) -> list[str]:
    """The complaints and taints that a guest reports and that none of these journals has."""
    found = complaints(event["since"])
    taint = taint_letters(foreign_taint(event["before"], event["after"]))
    if not (found or taint):  # journals are long
        return []
    known, letters = _known(journals)
    found = [line for line in found if _identity(text_of(line)) not in known]
    if left := "".join(letter for letter in taint if letter not in letters):
        found.append(f"tainted: {left}")
    return found


def _known(journals: Iterable[Path]) -> tuple[set[Warned | str], str]:
    """The kernel's complaints according to runs, and the letters of its new taints."""
    known: set[Warned | str] = set()
    letters = ""
    for path in journals:
        for line in _lines(path):
            if line.startswith(TAINTED):
                letters += line.removeprefix(TAINTED)
            elif not line.startswith(INDENT):
                known.add(_identity(line))
    return known, letters


def _lines(path: Path) -> Sequence[str]:
    try:
        found = [each.event for each in journal.read(path) if isinstance(each, journal.Recorded)]
    except journal.JournalError:
        return ()
    return [line for event in found if isinstance(event, Kernel) for line in event.lines]


def _identity(line: str) -> Warned | str:
    """A warning is reported once per case, however often it came: its place identifies it."""
    return warned(line) or line
