# SPDX-License-Identifier: GPL-2.0-only
"""Marks of cases, in a file or a pipe that stands in for the kernel's log."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from descriptors import same_descriptors

from vfio_compliance import profiles
from vfio_compliance.results.kernel_log import complaints, marked
from vfio_compliance.run.kernel_marks import KernelMarks
from vfio_compliance.sections import PROFILE

CASE = "suites/migration_v1/test_state.py::test_enter[running -> stop]"


@pytest.fixture
def behind_a_kernel(project: Path) -> Any:
    """The profile of a device of the kernel."""
    return profiles.load(project / "profiles/refdriver-kernel.yaml", PROFILE)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file in the log's place."""
    path = tmp_path / "kmsg"
    path.touch()
    return path


def lines(log: Path) -> list[str]:
    """Without what tells the kernel how grave they are."""
    return [line.removeprefix("<6>") for line in log.read_text().splitlines()]


def test_mark(log: Path, behind_a_kernel: Any) -> None:
    """A case is marked by its whole name, and by the process that runs it; it is read as it was written."""
    before = time.monotonic_ns() // 1000
    with same_descriptors():
        KernelMarks(behind_a_kernel, log).begin(CASE)
    (line,) = lines(log)
    assert re.fullmatch(rf"vfio-compliance\[{os.getpid()}\] \d+\.\d{{6}}: case {re.escape(CASE)}", line)
    mark = marked(line)
    assert mark is not None
    assert before <= mark.moment <= time.monotonic_ns() // 1000
    assert mark == (os.getpid(), mark.moment, CASE)
    assert complaints(lines(log)) == []


def test_each_through_a_descriptor_of_its_own(behind_a_kernel: Any, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """The kernel drops all but ten lines in five seconds of what comes through one descriptor."""
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given[0]) or real(*given))
    marks = KernelMarks(behind_a_kernel, log)
    for _ in range(30):
        marks.begin(CASE)
    assert opened == [log] * 30


def test_long_name(log: Path, behind_a_kernel: Any) -> None:
    """The kernel refuses a line of more than 1024 bytes; a longer name is cut."""
    KernelMarks(behind_a_kernel, log).begin("x" * 5000)
    assert 500 < log.stat().st_size < 1000
    mark = marked(*lines(log))
    assert mark is not None
    assert mark.process == os.getpid()
    assert set(mark.case) == {"x"}


def test_server(log: Path, project: Path) -> None:
    """A vfio-user server has nothing to do with this kernel."""
    KernelMarks(profiles.load(project / "profiles/reference.yaml", PROFILE), log).begin(CASE)
    assert lines(log) == []


@pytest.mark.parametrize("trouble", ["missing", "folder", "full", "refused"])
def test_log_that_cannot_be_written(
    trouble: str, tmp_path: Path, behind_a_kernel: Any, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the log does, the case goes on, and nothing stays open."""

    def refuse(descriptor: int, data: bytes) -> None:
        raise PermissionError

    path = {"missing": tmp_path / "none", "folder": tmp_path, "full": Path("/dev/full"), "refused": log}[trouble]
    if trouble == "refused":
        monkeypatch.setattr(os, "write", refuse)
    with same_descriptors():
        marks = KernelMarks(behind_a_kernel, path)
        marks.begin(CASE)
        marks.begin(CASE)
    assert lines(log) == []


@pytest.mark.parametrize(
    "line",
    [
        "vfio-compliance[1]: case x",
        "vfio-compliance[x] 1.000000: case x",
        "vfio-compliance[1] 1.0: case x",
        "a vfio-compliance[1] 1.000000: case x",
        "",
    ],
)
def test_no_mark(line: str) -> None:
    """Other lines are no marks."""
    assert marked(line) is None
