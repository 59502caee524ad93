# SPDX-License-Identifier: GPL-2.0-only
"""A call that sleeps uninterruptibly on the host: a store into the data section on a frozen file system.

This needs root, but no hardware. Until the file system is thawed, not even SIGKILL ends the test process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from frozen import CannotMount, file_system

from vfio_compliance.results import journal
from vfio_compliance.results.events import Hang, Process, Start
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers import terminal

SERVERS = Path(__file__).parents[1] / "servers"

#: Seconds that one test may take, and seconds after that by which a hang must be reported.
LIMIT, SOON = 4.0, 5.0

#: Cases that save and restore a state, and some before and after these.
ONLY = ("v1.reserved", "v1.resuming.takes-data", "v1.resuming.data-is-used", "v1.state")


def mounted(folder: Path) -> bool:
    """Whether a folder is a mount point."""
    return f" {folder} " in Path("/proc/self/mounts").read_text()


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Path]:
    """A folder on its own file system, which can be frozen."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts and freezes a file system")
    try:
        with file_system(tmp_path / "image", tmp_path / "frozen"):
            yield tmp_path / "frozen"
    except CannotMount as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    assert not mounted(tmp_path / "frozen")
    assert not sleeping(str(tmp_path))


@pytest.fixture
def profile(tmp_path: Path, frozen: Path, project: Path) -> Path:
    """The profile of a reference device that freezes the folder once."""
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    command = ["{python}", str(SERVERS / "freezing.py"), str(frozen), str(tmp_path / "mark")]
    document["device"]["command"] = [*command, "--socket-path={socket}"]
    del document["device"]["second"]  # a state is then restored on the same device
    document["claims"]["data_section"] = "mapped-only"
    document["limits"] |= {"call": "2s", "test": f"{LIMIT:g}s", "run": "2min"}
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def sleeping(name: str) -> list[Any]:
    """The processes in uninterruptible sleep whose command names a path."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "D" and name in (process / "cmdline").read_text():
                found.append(int(process.name))
        except OSError:  # it has ended
            continue
    return found


@pytest.fixture
def scratch() -> Iterator[str]:
    """A folder for temporary files. Its path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def test_the_run_continues(tmp_path: Path, profile: Path, project: Path, scratch: str) -> None:
    """The hang is reported in time, with its call and the kernel's stack; all other cases are judged without delay."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vfio_compliance", "run", str(profile), "--out", str(out)]
    command += [f"--only={rule}" for rule in ONLY]
    environment = {**os.environ, "TMPDIR": scratch, "COLUMNS": "100"}
    ended = subprocess.run(
        command, cwd=project, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )
    left_behind = sleeping(str(profile))
    lines = [line for line in journal.read(out / journal.NAME) if isinstance(line, journal.Recorded)]
    result = summarise(lines)

    ((hung_at, hang),) = [(line.time, line.event) for line in lines if isinstance(line.event, Hang)]
    (began,) = [line.time for line in lines if isinstance(line.event, Start) and line.event.case == hang.case]
    assert LIMIT <= hung_at - began < LIMIT + SOON
    assert hang.process is not None
    assert hang.process["status"].find("State:\tD (disk sleep)") > 0
    assert "ext4_page_mkwrite" in hang.process["stack"]
    assert re.search(r"in state D \(disk sleep\), in the kernel at .*ext4_page_mkwrite.*mapped", hang.message)
    (left,) = left_behind
    assert any(note.startswith(f"process {left} sleeps in the kernel") for note in result.notes)

    failed = {case.id: case.verdict for case in result.cases.values() if case.verdict is not Verdict.PASS}
    assert failed == {hang.case: Verdict.HANG}
    assert [line.event.number for line in lines if isinstance(line.event, Process)] == [2]
    assert not result.stops
    assert (ended.returncode, result.exit_code) == (3, 3)
    assert ended.stderr == ""
    assert terminal.render(result, 100, str(out / journal.NAME)) in ended.stdout
    assert os.listdir(scratch) == []
    assert time.time() - lines[-1].time < SOON


def test_the_file_system_is_removed_if_the_tests_are_killed(tmp_path: Path) -> None:
    """A separate process thaws and unmounts it, and releases its device."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts and freezes a file system")
    folder = tmp_path / "frozen"
    script = f"""
import fcntl, os, sys
sys.path.insert(0, {str(SERVERS)!r})
from pathlib import Path
from frozen import FIFREEZE, CannotMount, file_system
try:
    with file_system(Path({str(tmp_path / "image")!r}), Path({str(folder)!r})):
        root = os.open({str(folder)!r}, os.O_RDONLY)
        fcntl.ioctl(root, FIFREEZE, 0)
        print("frozen", flush=True)
        sys.stdin.read()
except CannotMount as error:
    print(error, flush=True)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        answer = killed.stdout.readline().strip()
        if answer != "frozen":
            killed.communicate()
            pytest.skip(f"no file system can be mounted here: {answer}")
        assert mounted(folder)
        killed.kill()
    end = time.monotonic() + 60
    while mounted(folder) or str(tmp_path) in subprocess.check_output(["losetup", "--all"], text=True):
        assert time.monotonic() < end
        time.sleep(0.05)
