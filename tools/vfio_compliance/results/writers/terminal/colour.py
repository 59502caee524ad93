# SPDX-License-Identifier: GPL-2.0-only
"""Colours for the terminal, by meaning: what holds, what is broken, what was not judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.text import Text

GOOD, BAD, UNCLEAR, QUIET = "green", "bold red", "yellow", "dim"

#: The style of each verdict's word.
VERDICTS: Final = {
    "pass": GOOD,
    "fail": BAD,
    "stale": BAD,
    "kernel": BAD,
    "hang": BAD,
    "broken": BAD,
    "died": BAD,
    "waived": UNCLEAR,
    "not-run": UNCLEAR,
    "n/a": QUIET,
}
_WORDS: Final = "|".join(map(re.escape, VERDICTS))

#: A verdict at the beginning of a table row, of a progress line, or of a fault after its number.
_VERDICT: Final = re.compile(rf"^(?: {{2}}|\d+\) )?(?P<word>{_WORDS}|{_WORDS.upper()})(?= {{1,8}}\S)", re.MULTILINE)

_STYLES: Final = (
    (re.compile(r"^\S.*(?= {2,}level +cases$)", re.MULTILINE), "bold"),
    (re.compile(r"^\S.*(?= {8,}cases$)", re.MULTILINE), "bold"),
    (re.compile(r"^ {3}[a-z][a-z ]{0,9}(?= {2})", re.MULTILINE), "cyan"),
    (re.compile(r"^Works with .*: yes$", re.MULTILINE), GOOD),
    (re.compile(r"^Works with .*: no\b.*$", re.MULTILINE), BAD),
    (re.compile(r"^Works with .*: unknown\b.*$", re.MULTILINE), UNCLEAR),
)

#: The last line, by its beginning.
_RESULTS: Final = (
    (re.compile(r"CONFORMANT WITH WAIVERS"), "bold yellow"),
    (re.compile(r"CONFORMANT"), "bold green"),
    (re.compile(r"NOT CONFORMANT"), BAD),
    (re.compile(r"INCOMPLETE|NOTHING JUDGED|SELECTION"), "bold yellow"),
)


def paint(text: str) -> Text:
    """The same text, with colours."""
    from rich.text import Text

    painted = Text(text)
    for pattern, style in _STYLES:
        painted.highlight_regex(pattern, style)
    for found in _VERDICT.finditer(text):
        painted.stylize(VERDICTS[found["word"].lower()], *found.span("word"))
    last = text.rstrip("\n").rpartition("\n")[2]
    for pattern, style in _RESULTS:
        if pattern.match(last):
            start = text.rindex(last)
            painted.stylize(style, start, start + len(last))
            break
    return painted
