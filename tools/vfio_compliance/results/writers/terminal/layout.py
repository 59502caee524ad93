# SPDX-License-Identifier: GPL-2.0-only
"""The layout of blocks: lines with labels, and long lists of names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ....common.wrap import wrap

#: Columns of a label.
LABEL: Final = 10

#: How many rules are named that were not judged for the same reason.
MOST_RULES: Final = 8


def labelled(label: str, text: str, width: int) -> Iterator[str]:
    """Lines of ``text`` after a label."""
    return wrap(f"   {label:{LABEL}}", text, width)


def some(rules: Sequence[str]) -> str:
    """The names of the first few."""
    rest = f" and {len(rules) - MOST_RULES} more" if len(rules) > MOST_RULES else ""
    return ", ".join(rules[:MOST_RULES]) + rest
