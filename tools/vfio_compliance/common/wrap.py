# SPDX-License-Identifier: GPL-2.0-only
"""Text in lines that fit."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator


def wrap(start: str, text: str, width: int, hanging: str = "") -> Iterator[str]:
    """Lines of ``text`` after ``start``, of at most ``width`` columns if no word is longer.

    Lines of ``text`` stay lines; continuation lines are indented by ``hanging``.
    """
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
