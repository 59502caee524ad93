# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's last messages: pure functions over its console."""

import re
from collections.abc import Callable, Sequence

from vfio_compliance.common.words import counted
from vfio_compliance.results.kernel_log import Places, complaints

#: The kernel's prefix of each line.
_PREFIX = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
_TIME = r"(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? *)?"
_PANIC = re.compile(_TIME + r"Kernel panic - not syncing: (.*)")
#: The end of the kernel's report on a fault.
_OVER = re.compile(r"---\[ end ")
#: The most lines that are quoted; a trace is longer only if it repeats itself.
_MOST = 80
_LAST = 8
#: The lines before a panic in which its cause is looked for.
_NEAR = 100


def panic_reason(console: Sequence[str]) -> str:
    """Why the kernel panicked; empty if it did not."""
    return next((match[1].strip() for line in console if (match := _PANIC.match(line))), "")


def quoted(console: Sequence[str]) -> list[str]:
    """The kernel's report on the fault that ended it: the trace that led to the panic, and the panic.

    Without a panic: the last trace. Without a trace: the last lines.
    """
    lines = [line for line in console if line.strip()]
    panic = next((place for place, line in enumerate(lines) if _PANIC.match(line)), None)
    if panic is not None:
        return _cut([*_fault(lines[max(panic - _NEAR, 0) : panic]), *_to_its_end(lines[panic:])])
    return _cut(_fault(lines)) or lines[-_LAST:]


def text_of(line: str) -> str:
    """A line of the kernel's log without its time."""
    return _PREFIX.sub("", line)


def shown(lines: Sequence[str], decoded: Callable[[str], str]) -> list[str]:
    """A journal's form of such a report: the complaints, and where the kernel was, ``decoded`` to file and line."""
    places = Places()
    texts = (text_of(line) for line in lines if "end Kernel panic" not in line)
    return [decoded(kept) for kept in map(places.kept, texts) if kept]


def _fault(lines: Sequence[str]) -> list[str]:
    """From the first line of the last fault on; other complaints may follow it."""
    begins = [place for place, line in enumerate(lines) if complaints([line])]
    ends = [place for place, line in enumerate(lines) if _OVER.search(line)]
    if not begins:
        return []
    last = begins[-1]
    # One fault complains in several lines: it begins after the end of the one before it.
    before = max((place for place in ends if place < last), default=-1)
    first = next(place for place in begins if place > before)
    return list(lines[first:])


def _to_its_end(lines: Sequence[str]) -> list[str]:
    over = next((place for place, line in enumerate(lines) if _OVER.search(line)), len(lines))
    return list(lines[: over + 1])


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= _MOST:
        return lines
    half = _MOST // 2
    return [*lines[:half], f"[... {counted(len(lines) - 2 * half, 'line')} ...]", *lines[-half:]]
