# SPDX-License-Identifier: GPL-2.0-only
"""The result as output: with colours on a terminal, plain in a log or a pipe."""

from __future__ import annotations

from typing import TextIO

from ....common.screen import console, is_terminal, show
from ...summary import Summary
from . import render
from .colour import paint


def show_result(out: TextIO, summary: Summary, width: int, journal: str = "") -> None:
    """Print all of it; a reader that goes away is not an error."""
    text = render(summary, width, journal)
    if is_terminal(out):
        console(out, width).print(paint(text))
    else:
        show(out, f"{text}\n")
