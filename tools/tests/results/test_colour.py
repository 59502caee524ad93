# SPDX-License-Identifier: GPL-2.0-only
"""Colours repeat what the words say, and change no character."""

from __future__ import annotations

import io

import pytest
from stories import ended, run_of

from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers.terminal import colour, render
from vfio_compliance.results.writers.terminal.colour import BAD, GOOD, VERDICTS, paint
from vfio_compliance.results.writers.terminal.printed import show_result

SUMMARY = summarise(
    run_of(ended("a[1]", "pass"), ended("b[2]", "fail", expected="[bold]this[/bold]", seen=":smile: \\\\[x]"))
)


def styles(text: str, word: str) -> set[str]:
    """The styles of a word at its first occurrence."""
    painted, at = paint(text), text.index(word)
    return {str(span.style) for span in painted.spans if span.start <= at < span.end}


def test_every_verdict_has_a_colour() -> None:
    assert {each.value for each in Verdict} <= colour.VERDICTS.keys()


@pytest.mark.parametrize("width", [60, 100, 200])
def test_no_character_is_changed(width: int) -> None:
    text = render(SUMMARY, width)
    assert paint(text).plain == text


@pytest.mark.parametrize("word", VERDICTS)
def test_rows(word: str) -> None:
    """A verdict has a colour at the beginning of a row, in lower or upper case, and nowhere else."""
    for written in (word, word.upper()):
        assert styles(f"  {written:8}DS-01   v1.one", written) == {VERDICTS[word]}
    assert styles(f"the device said {word}  and more", word) == set()


@pytest.mark.parametrize(
    ("last", "style"),
    [
        ("CONFORMANT by plan certification: 1 rule held", "bold green"),
        ("CONFORMANT WITH WAIVERS (1) by plan ci: 1 rule held", "bold yellow"),
        ("NOT CONFORMANT by plan ci: 1 rule broken", BAD),
        ("INCOMPLETE by plan ci: 1 rule not judged", "bold yellow"),
    ],
)
def test_the_verdict(last: str, style: str) -> None:
    assert styles(f"CONFORMANT they said\n{last}", last) == {style}


def test_answers() -> None:
    assert styles("Works with Q 1 to 2: yes", "Works") == {GOOD}
    assert styles("Works with Q 1 to 2: no, because the device breaks v1.a", "Works") == {BAD}


def test_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe gets plain text; a terminal gets the same characters in colour, and none of them is taken as markup."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    pipe, terminal = io.StringIO(), Terminal()
    for out in (pipe, terminal):
        show_result(out, SUMMARY, 100, "results/a/journal.jsonl")
    assert "\x1b" not in pipe.getvalue()
    assert "[bold]this[/bold]" in pipe.getvalue()
    assert "\x1b[" in terminal.getvalue()
    assert "[bold]this[/bold]" in terminal.getvalue()
    assert ":smile:" in terminal.getvalue()
    *_, journal, verdict = pipe.getvalue().splitlines()
    assert journal == "journal: results/a/journal.jsonl"
    assert verdict.startswith("NOT CONFORMANT")
