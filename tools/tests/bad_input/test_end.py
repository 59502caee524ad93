# SPDX-License-Identifier: GPL-2.0-only
"""Runs that are cut off: by a signal, by a test process that dies or stops, by a full disk, by a closed pipe."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from vfio_compliance.plugin import hooks as plugin
from vfio_compliance.results import journal

if TYPE_CHECKING:
    from tests.bad_input.conftest import Run

#: In the rule's second case.
SECOND = "pending_bytes#4"
#: The cases after the first one.
REST = ["not-run"] * 5


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted(run: Run, name: str) -> None:
    """The device is closed, the verdicts so far are shown, and the exit code is that of an unfinished run."""
    finished = run(f"{SECOND}:signal={name}")
    assert finished.cases == ["pass", *REST]
    assert f"interrupted by {name} in suites/migration_v1/test_registers.py" in finished.words
    assert finished.result.totals  # the test process came to its own end
    assert finished.code == 2


def test_interrupted_twice(run: Run) -> None:
    """The second signal does not wait for the device to be closed."""
    finished = run(f"{SECOND}:signal=SIGINT,SIGTERM")
    assert finished.cases == ["pass", *REST]
    assert "interrupted by SIG" in finished.words
    assert not finished.result.totals
    assert finished.code == 2


def test_test_process_killed(run: Run) -> None:
    """The run reports the death and the last call. The next process runs the rest, until three cases ended so."""
    finished = run(f"{SECOND}:kill")
    assert finished.cases[:2] == ["pass", "broken"]
    assert finished.cases.count("broken") == len(finished.cases) - finished.cases.count("pass") <= 3
    assert "the test process ended early, by signal SIGKILL" in finished.words
    assert "last call read of 8 bytes at 0x8 of region 9" in finished.words
    assert finished.code == 2


def test_test_process_stopped(run: Run) -> None:
    """A process that does not react to signals is ended from outside, and its current call is named."""
    finished = run(f"{SECOND}:stop", limits={"test": "8s", "call": "8s"})
    assert finished.cases[:3] == ["pass", "hang", "pass"]  # each process stops in its second case
    assert finished.cases.count("hang") == 3
    assert (
        "test_pending_read_only_in_pre_copy[0x12345000], last call read of 8 bytes at 0x8 of region 9" in finished.words
    )
    assert finished.code == 3


def test_out_of_time(judge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time for the run is up, the rest is not run."""
    clock = itertools.count(step=400)  # seconds that each look at the clock takes; the run may last 600
    monkeypatch.setattr(plugin, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    finished = judge()
    assert finished.cases == ["pass", "pass", *REST[1:]]
    assert "the run takes longer than 600 s raise limits.run" in finished.words.replace(" remedy ", " ")
    assert finished.code == 2


def limited(size: int) -> Callable[[], None]:
    """A function for a new process: no file may grow beyond ``size`` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_disk_full(run: Run, tmp_path: Path) -> None:
    """The run ends and names the file that cannot grow; the recorded part can still be shown."""
    run(only="v1.reset.accepted")
    size = (tmp_path / "out" / journal.NAME).stat().st_size
    (tmp_path / "out").rename(tmp_path / "whole")
    finished = run(only="v1.reset.accepted", process={"preexec_fn": limited(size - 1500)}, same=False)
    assert "can no longer be written: File too large" in finished.words
    assert "not-run" in finished.cases
    assert "pass" in finished.cases
    assert finished.code == 2
    assert finished.result.exit_code == 2


@pytest.mark.unmeasured
def test_disk_full_at_once(run: Run) -> None:
    """If not even the profile can be copied, or the plan recorded, the message says that alone."""
    finished = run(process={"preexec_fn": limited(1000)}, same=False)
    assert "File too large; name another folder with --out" in finished.words
    assert finished.code == 2


def test_screen_full(run: Run) -> None:
    """The run continues without output."""
    with open("/dev/full", "w") as full:
        finished = run(process={"stdout": full, "stderr": subprocess.PIPE})
    assert finished.text == "vfio-compliance: cannot show the run: No space left on device\n"
    assert finished.result.exit_code == finished.code == 0


def test_terminal_gone(run: Run) -> None:
    """The run continues after its terminal was closed, and cannot report that."""
    terminal, other = os.openpty()
    os.close(terminal)
    finished = run(process={"stdout": other, "stderr": other})
    os.close(other)
    assert (finished.text, finished.result.exit_code, finished.code) == ("", 0, 0)


def test_reader_gone(run: Run) -> None:
    """``| head`` does not affect the run."""
    reading, writing = os.pipe()
    os.close(reading)
    finished = run(process={"stdout": writing, "stderr": subprocess.PIPE})
    os.close(writing)
    assert finished.text == ""
    assert finished.result.exit_code == finished.code == 0
