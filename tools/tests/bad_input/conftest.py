# SPDX-License-Identifier: GPL-2.0-only
"""Runs the program on a device that misbehaves, and checks that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from vfio_compliance.results import journal, summary
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.writers import terminal

WIDTH = 100

#: Seconds after which a run counts as stuck. The machine may be busy.
PATIENCE = 120.0

READ_ONLY = "v1.pending.read-only"

SERVERS = Path(__file__).parents[1] / "servers"


@dataclass
class Finished:
    """A finished run."""

    code: int
    text: str
    folder: Path

    @property
    def result(self) -> summary.Summary:
        """The summary of its journal."""
        return summarise(journal.read(self.folder / journal.NAME))

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict on each selected rule, in words."""
        return {rule: verdict.value for rule, verdict in self.result.verdicts.items()}

    @property
    def cases(self) -> list[str]:
        """The verdict on each case, in words."""
        return [case.verdict.value for case in self.result.cases.values()]

    @property
    def words(self) -> str:
        """The output, with each run of white space replaced by one blank."""
        return " ".join(self.text.split())


#: Takes the tricks of the hostile server.
Run = Callable[..., Finished]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """The folder for temporary files, empty at the end. Its name is short, because paths of sockets must be."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
        assert not os.listdir(folder)
        assert not _left_behind(folder)


@pytest.fixture
def profile(tmp_path: Path, project: Path) -> Callable[..., Path]:
    """Writes a profile of the hostile server: its tricks, and the keys that differ from those of the good one."""

    def write(*tricks: str, limits: dict[str, str] | None = None, **keys: Any) -> Path:
        document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
        document["device"]["command"] = ["{python}", str(SERVERS / "misbehaving.py"), "{socket}", *tricks]
        document["limits"] |= limits or {}
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(document | keys, sort_keys=False))
        return path

    return write


@pytest.fixture
def judge(
    judge_in_process: Callable[..., summary.Summary],
    profile: Callable[..., Path],
    tmp_path: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """A run inside this process, for tests that do not concern its supervisor: it is faster than two processes."""
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))

    def run(*tricks: str, only: str = READ_ONLY, **keys: Any) -> Finished:
        result = judge_in_process(profile(*tricks, **keys), tmp_path, f"--only={only}")
        text = terminal.render(result, WIDTH)
        assert "Traceback" not in text
        return Finished(result.exit_code, text, tmp_path)

    return run


@pytest.fixture
def run(profile: Callable[..., Path], tmp_path: Path, scratch: Path, project: Path) -> Run:
    """A run as a user starts it."""
    environment = {**os.environ, "TMPDIR": str(scratch), "COLUMNS": str(WIDTH)}

    def start(
        *tricks: str,
        only: str = READ_ONLY,
        options: tuple[str, ...] = (),
        process: dict[str, Any] | None = None,
        same: bool = True,
        **keys: Any,
    ) -> Finished:
        folder = tmp_path / "out"
        command = [sys.executable, "-m", "vfio_compliance", "run", str(profile(*tricks, **keys)), f"--only={only}"]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        # If the tests run in the background, it may be ignored, and children inherit that.
        streams["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        ended = subprocess.run(
            [*command, f"--out={folder}", *options],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
            check=False,
            **streams | (process or {}),
        )
        text = (ended.stdout or "") + (ended.stderr or "")
        assert "Traceback" not in text
        finished = Finished(ended.returncode, text, folder)
        if same and (journal := re.search("^journal: (.*)$", text, re.MULTILINE)):  # a later report must be the same
            assert terminal.render(finished.result, WIDTH, journal[1]) in text
            assert finished.result.exit_code == finished.code
        return finished

    return start


def _left_behind(scratch: str) -> list[str]:
    """Servers still running; they are given a moment, because the kernel ends those whose client was killed."""
    end = time.monotonic() + 60
    while left := [line for line in _command_lines() if scratch in line]:
        if time.monotonic() > end:
            return left
        time.sleep(0.01)
    return []


def _command_lines() -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # the process has ended
            continue
    return lines
