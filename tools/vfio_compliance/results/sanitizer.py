# SPDX-License-Identifier: GPL-2.0-only
"""Judges what a server said before it ended: a report of a sanitizer that it was built with."""

from __future__ import annotations

import re

#: LLVM's and GCC's, and what Valgrind says in the end.
_REPORT = re.compile(
    r"\b(Address|HWAddress|Memory|Thread|Leak|UndefinedBehavior|DataFlow)Sanitizer\b"
    r"|==\d+==\s*(ABORTING|ERROR SUMMARY: [1-9])|\bruntime error: "
)


def reports(text: str) -> bool:
    """Whether a text is of such a report."""
    return bool(_REPORT.search(text))
