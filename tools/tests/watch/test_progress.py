# SPDX-License-Identifier: GPL-2.0-only
"""What is shown while the suites run."""

from __future__ import annotations

import io
import os

import pytest

from vfio_compliance.results.events import Broken, Death, End, Hang, Plan, Process, Start, Target, Way
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.watch import progress
from vfio_compliance.watch.progress import Progress

CASES = tuple((f"suites/s/test_it.py::test_it[{number}]", "v1.one") for number in range(3))


TARGET = Target({})


def ended(case, verdict):
    """A case of rule v1.one is over."""
    return End(case, "v1.one", Verdict(verdict), 0.5, None if verdict == "pass" else Failure("doing it"), {}, ())


class Terminal(io.StringIO):
    """A screen on which lines can change."""

    def isatty(self) -> bool:
        return True


def play(out, width, *verdicts):
    """A run with these verdicts."""
    shown = Progress(out, width)
    shown.show(Plan(CASES))
    shown.show(TARGET)
    for (case, rule), verdict in zip(CASES, verdicts, strict=False):
        shown.show(Start(case, rule))
        shown.show(ended(case, verdict))
    shown.end()
    return out.getvalue()


def test_log():
    """A log says how much there is to do and what is in trouble; it has no control characters."""
    text = play(io.StringIO(), 100, "pass", "fail", "pass")
    assert text.splitlines() == ["3 cases to run", "the device is open", "FAIL    v1.one  test_it.py::test_it[1]"]


def test_log_of_a_long_run(monkeypatch):
    """Now and then a log says how far the run is."""
    monkeypatch.setattr(progress, "_LOG_EVERY", 0)
    text = play(io.StringIO(), 100, "hang", "pass", "pass")
    assert text.splitlines()[-3:] == [f"{done}/3 cases, 1 in trouble" for done in (1, 2, 3)]


def test_terminal():
    """A terminal shows the case that runs, in a line that is gone in the end; trouble stays."""
    text = play(Terminal(), 100, "pass", "fail", "pass")
    assert "\r\x1b[K2/3 cases, 1 in trouble  test_it.py::test_it[2]" in text
    assert text.endswith("\r\x1b[K")
    lines = [line.rpartition("\x1b[K")[2] for line in text.split("\n")]
    assert lines == ["3 cases to run", "the device is open", "FAIL    v1.one  test_it.py::test_it[1]", ""]


def test_what_goes_wrong_outside_of_cases():
    """Hangs, ends of processes and of servers are shown at once, each in a line; a case counts once."""
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
        "BROKEN  interrupted",
    ]


@pytest.mark.parametrize("width", [20, 40])
def test_narrow(width):
    """Nothing is wider than the screen."""
    for out in (io.StringIO(), Terminal()):
        for line in play(out, width, "fail", "fail", "fail").replace("\r\x1b[K", "\n").splitlines():
            assert len(line) <= width


def test_nobody_reads():
    """A reader who has gone is not missed."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        for _ in range(3):
            progress.show(out, "hello\n")


def test_no_room(capsys):
    """Who wants to read it is told once why it is not there."""
    with open("/dev/full", "w") as out:
        for _ in range(3):
            progress.show(out, "hello\n")
    assert capsys.readouterr().err == "vfio-compliance: cannot show the run: No space left on device\n"
