# SPDX-License-Identifier: GPL-2.0-only
"""The progress display of a run."""

from __future__ import annotations

import io
import os
import re
from datetime import date
from io import StringIO

import pytest
from stories import RULE, first

from vfio_compliance.common import screen
from vfio_compliance.results.events import Broken, Death, End, Hang, Plan, Process, Start, Target, Way
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.setting import Waiver
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.watch import bar, progress
from vfio_compliance.watch.progress import Progress

CASES = tuple((f"suites/s/test_it.py::test_it[{number}]", "v1.one") for number in range(3))


TARGET = Target({})


def ended(case: str, verdict: str) -> End:
    """The end of a case of rule v1.one."""
    return End(case, "v1.one", Verdict(verdict), 0.5, None if verdict == "pass" else Failure("doing it"), {}, ())


class Terminal(io.StringIO):
    """A screen whose lines can change."""

    def isatty(self) -> bool:
        return True


def play(out: StringIO | Terminal, width: int, *verdicts: str) -> str:
    """The output of a run with these verdicts."""
    shown = Progress(out, width)
    shown.show(Plan(CASES))
    shown.show(TARGET)
    for (case, rule), verdict in zip(CASES, verdicts, strict=False):
        shown.show(Start(case, rule))
        shown.show(ended(case, verdict))
    shown.end()
    return out.getvalue()


def test_log() -> None:
    """A log has the number of cases and the failures, without control characters."""
    text = play(io.StringIO(), 100, "pass", "fail", "pass")
    assert text.splitlines() == ["3 cases to run", "the device is open", "FAIL    v1.one  test_it.py::test_it[1]"]


def test_log_of_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log shows the progress from time to time."""
    monkeypatch.setattr(progress, "_LOG_EVERY", 0)
    text = play(io.StringIO(), 100, "hang", "pass", "pass")
    assert text.splitlines()[-3:] == [f"{done} of 3 cases, 1 failed" for done in (1, 2, 3)]


#: Control sequences of a terminal.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal with colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(bar, "_EVERY", 0.0)
    return Terminal()


def test_terminal(terminal: Terminal) -> None:
    """A terminal shows the current case in a line that is removed at the end; failures stay, in their colour."""
    text = play(terminal, 100, "pass", "fail", "pass")
    assert "2/3" in text
    assert "test_it.py::test_it[2], 1 failed" in text
    assert "\x1b[1;31mFAIL\x1b[0m    v1.one  test_it.py::test_it[1]" in text
    kept = [CONTROL.sub("", line.rpartition("\x1b[2K")[2]) for line in text.split("\n")]
    assert kept[:3] == ["3 cases to run", "the device is open", "FAIL    v1.one  test_it.py::test_it[1]"]
    assert text.endswith("\x1b[1A\x1b[2K")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


@pytest.mark.parametrize(("name", "value", "changes"), [("NO_COLOR", "1", True), ("TERM", "dumb", False)])
def test_without_colours(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str, changes: bool
) -> None:
    """By the user's choice, or on a terminal that cannot change its lines, which gets those of a log."""
    monkeypatch.setenv(name, value)
    text = play(terminal, 100, "pass", "fail", "pass")
    assert "FAIL    v1.one" in CONTROL.sub("", text)
    assert not re.search(r"\x1b\[[0-9;]*[349][0-7][;m]", text)
    assert ("\x1b" in text) is changes


def test_waived_failures() -> None:
    """They are not shown as failures, unless the waiver has expired or does not match."""
    out = io.StringIO()
    shown = Progress(out, 100)
    waivers = [Waiver("v1.one", "known", shows="0x1"), Waiver("v1.one", "old", shows="0x2", expires=date(2020, 1, 1))]
    shown.show(first([RULE], dict(CASES), waivers))
    shown.show(Plan(CASES))
    for (case, rule), seen in zip(CASES, ("0x1", "0x2", "0x3"), strict=True):
        shown.show(End(case, rule, Verdict.FAIL, 0.5, Failure("doing it", "0x0", seen), {}, ()))
    assert [line.split()[0] for line in out.getvalue().splitlines()[1:]] == ["waived", "FAIL", "FAIL"]


def test_control_characters() -> None:
    """Those of a device are shown escaped."""
    out = io.StringIO()
    shown = Progress(out, 100)
    shown.show(Plan(CASES))
    shown.show(Death("the server", "said \x1b[2J", "late", True, None))
    assert out.getvalue().splitlines()[1] == "DIED    the server said \\x1b[2J"


def test_other_events() -> None:
    """Hangs, ended processes and dead servers are shown at once, each on a line; a case counts once."""
    out = io.StringIO()
    shown = Progress(out, 100)
    shown.show(Plan(CASES))
    shown.show(TARGET)
    first, second, _ = (case for case, _ in CASES)
    for event in (
        Hang("no progress", "", first),
        Process(2, "no progress\nat all"),
        TARGET,
        ended(second, "fail"),
        Broken("the process ended", "", second),
        Death("the server", "was killed", "late", True, second),
        Hang("closing", "", None),
        Broken("interrupted", "", None),
        Way(1, 2),
    ):
        shown.show(event)
    assert out.getvalue().splitlines()[2:] == [
        "HANG    v1.one  test_it.py::test_it[0]",
        "test process 2: no progress",
        "FAIL    v1.one  test_it.py::test_it[1]",
        "BROKEN  v1.one  test_it.py::test_it[1]",
        "DIED    the server was killed",
        "HANG    closing",
        "STOPPED interrupted",
    ]


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_changing_line_is_one_line(terminal: Terminal, width: int) -> None:
    """It is not wider than the terminal, whatever case runs."""
    text = play(terminal, width, "fail", "fail", "fail")
    pictures = [CONTROL.sub("", part) for line in text.split("\n") for part in line.split("\x1b[2K")]
    changing = [each for each in pictures if re.match(r"\s*[^a-zA-Z]*\d/3", each)]
    assert changing
    assert max(map(len, changing)) <= width


def test_a_closed_pipe() -> None:
    """It is not an error."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        for _ in range(3):
            screen.show(out, "hello\n")


def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is printed once, on standard error."""
    with open("/dev/full", "w") as out:
        for _ in range(3):
            screen.show(out, "hello\n")
    assert capsys.readouterr().err == "vfio-compliance: cannot show the run: No space left on device\n"
