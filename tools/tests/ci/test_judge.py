# SPDX-License-Identifier: GPL-2.0-only
"""The script that jobs start: exit codes, reports, and a job that is cancelled."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

#: In place of the program: `vm` makes two runs and exits with $CODE, `report` writes a file.
PROGRAM = """\
#!/bin/bash
echo "$@" >>"$PLACE/asked"
if [[ $1 == vm ]]; then
    mkdir -p "$3/6.12/a" "$3/6.12/b c"
    touch "$3/6.12/a/journal.jsonl" "$3/6.12/b c/journal.jsonl"
    trap 'echo ended >>"$PLACE/asked"; exit 2' TERM
    touch "$PLACE/up"
    for ((i = 0; i < ${LONG:-0}; i++)); do sleep 0.1; done
    exit "$CODE"
fi
[[ ${UNWRITTEN-} ]] || echo "$4" >"$6"
exit 1
"""
PYTHON = """\
#!/bin/bash
mkdir -p .venv/bin
cp "$PLACE/program" .venv/bin/vfio-compliance
ln -sf /bin/true .venv/bin/pip
"""


@pytest.fixture
def checkout(project: Path, tmp_path: Path) -> Path:
    """A checkout with only this script, on a machine that has all Debian packages and installs no Python package."""
    tools = tmp_path / "it" / "tools" / "ci"
    tools.mkdir(parents=True)
    shutil.copy(project / "tools" / "ci" / "judge", tools)
    for name, text in (
        ("program", PROGRAM),
        ("python3", PYTHON),
        ("dpkg-query", "#!/bin/sh\n[ ! \"$NONE\" ] && echo 'install ok installed'\n"),
        ("apt-get", "#!/bin/sh\necho no network >&2\nexit 100\n"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path / "it"


def command(checkout: Path, *words: str, **environment: Any) -> dict[str, Any]:
    """Arguments for subprocess: a call of the script, and its environment."""
    place = checkout.parent
    known = {**os.environ, "PLACE": str(place), "PATH": f"{place}:{os.environ['PATH']}", "CODE": "0", **environment}
    return {"args": [checkout / "tools" / "ci" / "judge", *words], "env": known, "text": True}


@pytest.mark.parametrize("code", range(5))
def test_exit_code(checkout: Path, code: int) -> None:
    """That of `vm`, whatever the exit codes of `report`; each run has its reports."""
    done = subprocess.run(**command(checkout, "--kernels", "6.12", "--", "a b", CODE=str(code)), capture_output=True)
    assert (done.returncode, done.stderr) == (code, "")
    assert (checkout.parent / "asked").read_text().splitlines()[0] == "vm --out results/vm --kernels 6.12 -- a b"
    for run in ("a", "b c"):
        folder = checkout / "results" / "vm" / "6.12" / run
        assert {file.name: file.read_text() for file in folder.glob("report.*")} == {
            "report.junit.xml": "junit\n",
            "report.ktap": "ktap\n",
        }


@pytest.mark.parametrize(("code", "expected"), [(0, 2), (1, 1), (3, 3)])
def test_report_that_cannot_be_written(checkout: Path, code: int, expected: int) -> None:
    """A job without its reports does not pass."""
    done = subprocess.run(**command(checkout, "--out", "there", CODE=str(code), UNWRITTEN="yes"))
    assert done.returncode == expected
    assert (checkout / "there").is_dir()


def test_failed_installation(checkout: Path) -> None:
    """Exit code 2, and nothing is run."""
    done = subprocess.run(**command(checkout, NONE="yes"), capture_output=True)
    assert done.returncode == 2
    assert "no network" in done.stderr
    assert not (checkout.parent / "asked").exists()


def test_cancelled(checkout: Path) -> None:
    """The guest is ended, and the runs so far get their reports."""
    with subprocess.Popen(**command(checkout, LONG="300")) as job:
        deadline = time.monotonic() + 30
        while not (checkout.parent / "up").exists():
            assert time.monotonic() < deadline
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == 2
    assert "ended" in (checkout.parent / "asked").read_text().splitlines()
    assert (checkout / "results" / "vm" / "6.12" / "a" / "report.ktap").exists()
