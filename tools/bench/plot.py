# SPDX-License-Identifier: GPL-2.0-only
"""The ratios as a picture: a line for each row, its quartiles as a bar, its median as a tick, the aim as a red tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from measuring import Row, spread
from table import ratio_in_words

#: Widths of the names, the axis and the label after it, and the height of a line, in pixels.
_NAMES: Final = 470
_AXIS: Final = 480
_BEHIND: Final = 130
_LINE: Final = 18

#: Ratios at which the axis can have a mark.
_MARKS: Final = tuple(digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5))


def as_svg(rows: Sequence[Row]) -> str:
    """An SVG file with a logarithmic axis. Rows that were not measured are left out."""
    drawn = [(row, spread(row.ratios)) for row in rows if row.measured]
    values = [1.0, *(value for row, ratios in drawn for value in (*ratios, row.aim or 1.0))]
    low, high = math.log(min(values) / 1.1), math.log(max(values) * 1.1)

    def place(ratio: float) -> float:
        return _NAMES + _AXIS * (math.log(ratio) - low) / (high - low)

    height = _LINE * (len(drawn) + 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_NAMES + _AXIS + _BEHIND}" height="{height}">',
        "<style>text {font: 11px sans-serif}</style>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for mark in _MARKS:
        if low <= math.log(mark) <= high:
            at, colour = place(mark), "#888" if mark == 1 else "#ddd"
            lines.append(_stroke(at, _LINE, height, colour))
            lines.append(f'<text x="{at:.1f}" y="12" text-anchor="middle">{mark:g}</text>')
    for number, (row, ratios) in enumerate(drawn):
        top = _LINE * (number + 1.5)
        name = escape(f"{row.case} : {row.limit}")
        lines.append(f'<text x="{_NAMES - 8}" y="{top + 12:.1f}" text-anchor="end">{name}</text>')
        left, width = place(ratios.lower), max(place(ratios.upper) - place(ratios.lower), 1.0)
        lines.append(f'<rect x="{left:.1f}" y="{top + 4:.1f}" width="{width:.1f}" height="9" fill="#7aa6d6"/>')
        lines.append(_stroke(place(ratios.median), top + 2, top + 15, "#123"))
        if row.aim is not None:
            lines.append(_stroke(place(row.aim), top + 2, top + 15, "#c00"))
        lines.append(f'<text x="{_NAMES + _AXIS + 8}" y="{top + 12:.1f}">{ratio_in_words(ratios)}</text>')
    return "\n".join((*lines, "</svg>", ""))


def _stroke(x: float, top: float, bottom: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{colour}" stroke-width="1.5"/>'
