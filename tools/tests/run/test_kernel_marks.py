# SPDX-License-Identifier: GPL-2.0-only
"""Marks of cases, in a file instead of the kernel's log."""

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
def kernel_profile(project: Path) -> Any:
    """The profile of a device with a kernel driver."""
    return profiles.load(project / "profiles/refdriver-kernel.yaml", PROFILE)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file instead of the log."""
    path = tmp_path / "kmsg"
    path.touch()
    return path


def lines(log: Path) -> list[str]:
    """The lines of the log without their priority."""
    return [line.removeprefix("<6>") for line in log.read_text().splitlines()]


def test_mark(log: Path, kernel_profile: Any) -> None:
    """A case is marked with its full name and its process; the mark is read back unchanged."""
    before = time.monotonic_ns() // 1000
    with same_descriptors():
        KernelMarks(kernel_profile, log).begin(CASE)
    (line,) = lines(log)
    assert re.fullmatch(rf"vfio-compliance\[{os.getpid()}\] \d+\.\d{{6}}: case {re.escape(CASE)}", line)
    mark = marked(line)
    assert mark is not None
    assert before <= mark.moment <= time.monotonic_ns() // 1000
    assert mark == (os.getpid(), mark.moment, CASE)
    assert complaints(lines(log)) == []


def test_each_mark_has_its_own_descriptor(kernel_profile: Any, monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """The kernel accepts only ten lines in five seconds through one descriptor."""
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given[0]) or real(*given))
    marks = KernelMarks(kernel_profile, log)
    for _ in range(30):
        marks.begin(CASE)
    assert opened == [log] * 30


def test_long_name(log: Path, kernel_profile: Any) -> None:
    """The kernel refuses a line of more than 1024 bytes; a longer name is cut."""
    KernelMarks(kernel_profile, log).begin("x" * 5000)
    assert 500 < log.stat().st_size < 1000
    mark = marked(*lines(log))
    assert mark is not None
    assert mark.process == os.getpid()
    assert set(mark.case) == {"x"}


def test_server(log: Path, project: Path) -> None:
    """Nothing is written for a vfio-user server, which this kernel knows nothing about."""
    KernelMarks(profiles.load(project / "profiles/reference.yaml", PROFILE), log).begin(CASE)
    assert lines(log) == []


def mark_twice(profile: Any, log: Path) -> None:
    """Marks two cases. Nothing stays open."""
    with same_descriptors():
        marks = KernelMarks(profile, log)
        marks.begin(CASE)
        marks.begin(CASE)


@pytest.mark.parametrize("path", ["none", ".", "/dev/full"], ids=["missing", "folder", "full"])
def test_a_log_that_cannot_be_opened_or_is_full(path: str, tmp_path: Path, kernel_profile: Any) -> None:
    """The case continues."""
    mark_twice(kernel_profile, tmp_path / path)


def test_a_log_that_refuses_a_write(kernel_profile: Any, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The case continues."""

    def refuse(descriptor: int, data: bytes) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "write", refuse)
    mark_twice(kernel_profile, log)
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
def test_lines_that_are_not_marks(line: str) -> None:
    """They are ignored."""
    assert marked(line) is None
