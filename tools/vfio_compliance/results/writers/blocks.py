# SPDX-License-Identifier: GPL-2.0-only
"""Text about a case that did not pass, for formats that contain text: the same as on the terminal."""

from __future__ import annotations

from typing import Final

from ...common.words import printable_lines
from ..case import Case
from ..conclusion import reason
from ..faults import MOST_CALLS
from ..summary import TROUBLE, Summary
from ..verdict import Verdict
from .terminal.faults import explanation, in_full

#: Width of a block in columns.
_WIDTH: Final = 100


def block(summary: Summary, case: Case) -> str:
    """A case that needs attention: its rule and all that was seen, in lines that begin with a blank."""
    lines = [*explanation(summary.rules[case.rule], _WIDTH), *in_full(case, summary, MOST_CALLS, _WIDTH)]
    return printable_lines("\n".join(lines))


def brief(summary: Summary, case: Case) -> str:
    """Why a case did not pass, in one line."""
    why = case.why
    if case.verdict is Verdict.WAIVED:
        text = why.waiver
    elif case.verdict is Verdict.NOT_RUN:
        text = reason(summary, case)
    else:
        text = why.whole
    return " ".join(printable_lines(text).split())


def troubled(case: Case) -> bool:
    """Whether it needs attention."""
    return case.verdict in TROUBLE
