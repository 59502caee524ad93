# SPDX-License-Identifier: GPL-2.0-only
"""How blocks look: lines that are wrapped, and lines with a label before them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

#: Columns of a label.
LABEL: Final = 10

#: How many rules are named of those that have the same reason not to be judged.
MOST_RULES: Final = 8

#: What is said of the rules that judge the suite itself.
OF_THE_SUITE: Final = "the suite itself"


def wrap(start: str, text: str, width: int, hanging: str = "") -> Iterator[str]:
    """Lines of ``text`` after ``start``; those that continue one are ``hanging`` behind it."""
    for line in text.splitlines() or [""]:
        yield from textwrap.wrap(
            line,
            width,
            initial_indent=start,
            subsequent_indent=" " * len(start) + hanging,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [start]
        start = " " * len(start)


def labelled(label: str, text: str, width: int) -> Iterator[str]:
    """Lines of ``text`` after a label."""
    return wrap(f"   {label:{LABEL}}", text, width)


def some(rules: Sequence[str]) -> str:
    """The names of the first few."""
    rest = f" and {len(rules) - MOST_RULES} more" if len(rules) > MOST_RULES else ""
    return ", ".join(rules[:MOST_RULES]) + rest
