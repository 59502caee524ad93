# SPDX-License-Identifier: GPL-2.0-only
"""Judges a server's output before it ended: whether it is the report of a sanitizer."""

from __future__ import annotations

import re

#: Reports of LLVM and GCC, and Valgrind's summary.
_REPORT = re.compile(
    r"\b(Address|HWAddress|Memory|Thread|Leak|UndefinedBehavior|DataFlow)Sanitizer\b"
    r"|==\d+==\s*(ABORTING|ERROR SUMMARY: [1-9])|\bruntime error: "
)


def reports(text: str) -> bool:
    """Whether a text is part of such a report."""
    return bool(_REPORT.search(text))
