# SPDX-License-Identifier: GPL-2.0-only
"""Results as a table, as JSON and as a picture, whatever was measured."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml

import pytest

from measuring import Clock, Row
from plot import as_svg
from table import as_json, as_text, time_in_words

ROWS = [
    Row("register read", "C", Clock.CPU, [4e-6, 2e-6, 3e-6], [2e-6, 1e-6, 1e-6], 1.5),
    Row("saving & loading", "untraced", Clock.WALL, [0.2], [0.2], 1.1, "8 MiB"),
    Row("start: list", "python -c pass", Clock.WALL, [0.5, 0.25], [0.05, 0.05]),
    Row("register read, here", "C", Clock.CPU, aim=1.3, note="not here"),
]

TEXT = """\
case                    ours    limit  the limit is    clock  ratio (quartiles)  aim                    rounds
register read        3.00 us  1.00 us  C               cpu     2.00 (2.00-2.50)  <= 1.50 missed by 33%       3
saving & loading      200 ms   200 ms  untraced        wall    1.00 (1.00-1.00)  <= 1.10 met                 1  8 MiB
start: list           375 ms  50.0 ms  python -c pass  wall    7.50 (6.25-8.75)                              2
register read, here                    C               cpu                       <= 1.30                        not here
"""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (123.4, "123 s"),
        (1.0, "1.00 s"),
        (0.0314, "31.4 ms"),
        (1.5e-5, "15.0 us"),
        (1e-9, "1.00 ns"),
        (1e-10, "0.10 ns"),
        (0, "0.00 ns"),
    ],
)
def test_a_time_has_a_readable_unit(seconds: float | int, shown: str) -> None:
    """With about three digits."""
    assert time_in_words(seconds) == shown


def test_text() -> None:
    """Columns are as wide as needed; a row that was not measured says why."""
    assert as_text(ROWS) + "\n" == TEXT


def test_no_rows() -> None:
    """Only the head."""
    assert len(as_text([]).splitlines()) == 1


def test_json() -> None:
    """Each round and the summary, in seconds."""
    made = json.loads(as_json({"kernel": "6.1"}, ROWS))
    assert (made["format"], made["machine"]) == (1, {"kernel": "6.1"})
    first, *_, last = made["rows"]
    assert first["ratio"] == {"median": 2.0, "lower": 2.0, "upper": 2.5, "rounds": [2.0, 2.0, pytest.approx(3.0)]}
    assert first["ours"]["rounds"] == [4e-6, 2e-6, 3e-6]
    assert (first["aim"], first["met"]) == (1.5, False)
    unmeasured = {
        "case": "register read, here",
        "limit": "C",
        "clock": "cpu",
        "aim": 1.3,
        "met": None,
        "note": "not here",
    }
    assert last == unmeasured


def test_picture() -> None:
    """A well-formed SVG with a bar for each row that has a ratio, and a mark for each aim of such a row."""
    picture = xml.fromstring(as_svg(ROWS))
    colours = [each.get("fill") or each.get("stroke") for each in picture.iter()]
    assert colours.count("#7aa6d6") == 3
    assert colours.count("#c00") == 2
    texts = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "saving & loading : untraced" in texts
    assert "register read, here : C" not in texts


def test_picture_without_rows() -> None:
    """It is well-formed, too."""
    xml.fromstring(as_svg([]))
