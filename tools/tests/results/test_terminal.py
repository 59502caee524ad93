# SPDX-License-Identifier: GPL-2.0-only
"""The result on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from stories import RULE

from vfio_compliance.results.events import Broken, End, Event, Hang, Kernel, Note, Run
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.journal import Recorded
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.writers.terminal import render

LONG = "a word and another " * 20

STOP = Broken(LONG, LONG, None)
NOTE = Note(LONG)
HANG = Hang(LONG, LONG, None)
KERNEL = Kernel((LONG, LONG), "suites/s/test_it.py::test_it[case 0]")


def changed(lines: Sequence[Recorded], kind: type[Event], change: Callable[..., Any]) -> list[Recorded]:
    """The same lines, with ``change`` applied to each event of this kind."""
    return [line._replace(event=change(line.event)) if isinstance(line.event, kind) else line for line in lines]


@pytest.mark.parametrize("verdict", ["pass", "fail", "hang", "broken", "not-run", "n/a"])
def test_width(records: Callable[..., list[Recorded]], verdict: str) -> None:
    """Lines are broken at blanks, so that none is wider than the screen."""
    made = records(*[verdict] * 9, events=(STOP, NOTE, HANG, KERNEL))
    rules = (replace(RULE, says=LONG),)
    made = changed(made, Run, lambda run: replace(run, rules=rules, description=LONG))
    failure = None if verdict == "pass" else Failure(LONG, LONG, LONG, remedy=LONG)
    text = render(summarise(changed(made, End, lambda end: replace(end, failure=failure))), 100)
    assert LONG.split()[0] in text
    *lines, _ = text.splitlines()  # the last one is a single line, for programs
    # A command must stay in one piece to be copied.
    assert not [line for line in lines if len(line) > 100 and not line.startswith("   rerun")]


def test_a_failure_in_full(records: Callable[..., list[Recorded]]) -> None:
    """Rule, place in the specification, what was done, expected and seen, the calls, and the command for a rerun."""
    text = render(summarise(records("fail")))
    for words in (
        "1) FAIL  v1.one  (1 of 1 case)",
        "It does one thing.",
        "DS-01 (must, documented), text, line 1",
        "test_it.py::test_it[case 0]",
        "doing it",
        "one thing",
        "another",
        "     7  read pending_bytes -> 0x1  (3 times)  [12 us]",
        "vfio-compliance run p.yaml --only 'suites/s/test_it.py::test_it[case 0]'",
        "NOT CONFORMANT by plan default: 1 rule broken",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"events": (STOP,)}, "stopped   a word"),
        ({"events": (HANG,)}, "hang      a word"),
        ({"finished": False}, "stopped   the journal ends before the run did"),
    ],
)
def test_reasons(records: Callable[..., list[Recorded]], made: Mapping[str, Any], words: str) -> None:
    """At the end, the report says why the run stopped, and what to do about it."""
    text = render(summarise(records("pass", **made)))
    assert words in text
    assert "remedy" in text


def test_no_text_of_a_device_controls_the_terminal(records: Callable[..., list[Recorded]]) -> None:
    """Control characters from a device, its server or the kernel are escaped."""
    made = records("pass", events=(Note("\x1b[2J\x9bred\x07\u202eesrever"),))
    text = render(summarise(made))
    assert all(character == "\n" or character.isprintable() for character in text)
    assert "red" in text


def test_fault_of_the_suite(records: Callable[..., list[Recorded]]) -> None:
    """The traceback is shown line by line."""
    failure = Failure("the suite itself failed", traceback="File one\n  line two\n")
    made = changed(records("broken"), End, lambda end: replace(end, failure=failure))
    assert "           File one\n             line two\n" in render(summarise(made))


@pytest.mark.parametrize(
    ("others", "answer", "conclusion"),
    [
        (("pass", "pass"), "Works with Q: yes", "CONFORMANT by plan default (no certificate): 3 rules held"),
        (
            ("fail", "pass"),
            "Works with Q: no, because the device breaks q.one",
            "CONFORMANT by plan default (no certificate): 2 rules held (1 non-blocking broken)",
        ),
        (
            ("pass",),
            "Works with Q: unknown, because there is no answer from q.two",
            "CONFORMANT by plan default (no certificate): 2 rules held",
        ),
    ],
)
def test_answer(records: Callable[..., list[Recorded]], others: tuple[str, ...], answer: str, conclusion: str) -> None:
    """The answer of non-blocking rules comes before the conclusion, which does not claim that they held."""
    *_, before, last = render(summarise(records("pass", others=others))).splitlines()
    assert before == answer
    assert last == conclusion


def test_failure_that_does_not_block(records: Callable[..., list[Recorded]]) -> None:
    """It is shown like any other, marked as not blocking."""
    text = render(summarise(records("pass", others=("fail", "pass"))))
    assert "1) FAIL  q.one" in text
    assert "(must, documented, does not block)" in text
