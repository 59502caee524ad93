# SPDX-License-Identifier: GPL-2.0-only
"""The kselftest: only KTAP on stdout, and the three exit codes that the kernel's runner knows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kernel_parser
import pytest

ONE_RULE = ["--only", "RES-01"]

#: A profile of a device behind a kernel.
KERNEL = "format: 1\nname: x\ninterfaces: [dirty_type1]\ndevice: {{transport: kernel-group, name: x, {}}}\n"


@pytest.fixture
def wrapper(project: Path) -> Path:
    """The script."""
    return project / "tools" / "ci" / "kselftest" / "migration_rules.py"


@pytest.fixture
def run(wrapper: Path, project: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts the script in an empty folder, as the kernel's runner does, with a profile and options."""

    def start(*words: str, profile: str | None = None, **environment: Any) -> subprocess.CompletedProcess[str]:
        known = {name: text for name, text in os.environ.items() if name not in ("PYTHONPATH", "VFIO_PROFILE")}
        named = {"VFIO_PROFILE": str(project / "profiles" / profile)} if profile else {}
        command = [sys.executable, str(wrapper), *words]
        folder = tmp_path / "here"
        folder.mkdir(exist_ok=True)
        environment = {**known, **named, **environment}
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)

    return start


@pytest.mark.parametrize(("defects", "code", "passed"), [([], 0, 5), (["--defect=reserved-garbage"], 1, 0)])
def test_a_run(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, defects: Sequence[str], code: int, passed: int
) -> None:
    """0 for a good driver, 1 for a broken one; the kernel's parser counts the cases."""
    done = run(*ONE_RULE, *defects, profile="reference.yaml")
    assert done.returncode == code
    lines = done.stdout.splitlines()
    assert lines[:2] == ["KTAP version 1", "1..5"]
    assert all(line.startswith(("# ", "ok ", "not ok ")) for line in lines[2:])
    assert all(line.startswith("#") for line in done.stderr.splitlines())
    assert "# journal: results/" in done.stderr
    assert kernel_parser.counts(done.stdout, tmp_path) == [passed, 5 - passed, 0, 0, 0]


def test_prove_reads_the_output(wrapper: Path, project: Path, tmp_path: Path) -> None:
    """Like that of any other test."""
    if not shutil.which("prove"):
        pytest.skip("there is no prove")
    words = [str(project / "profiles" / "reference.yaml"), *ONE_RULE]
    command = ["prove", "--exec", sys.executable, str(wrapper), "::", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "Files=1, Tests=5" in done.stdout
    assert "Result: PASS" in done.stdout


def test_no_profile(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """If no device is named, the test is skipped."""
    done = run()
    assert (done.returncode, done.stderr) == (4, "")
    assert done.stdout == "KTAP version 1\n1..0 # SKIP no profile: name one in VFIO_PROFILE, or as the first argument\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file or directory"),
        ("format: 1\nnmae: x\n", "cannot be used: .*/p.yaml:2:1: "),
        (
            KERNEL.format("sysfs: /sys/devices/none"),
            "/dev/vfio/vfio|there is no device /sys/devices/none",
        ),
        (
            KERNEL.format("group: 2147483647"),
            "there is no /dev/vfio/",
        ),
    ],
    ids=["no file", "wrong file", "no device", "no group"],
)
def test_nothing_to_judge(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, text: str | None, words: str
) -> None:
    """An unusable profile and a missing device are skips, with the reason in one line."""
    file = tmp_path / "p.yaml"
    if text is not None:
        file.write_text(text)
    done = run(str(file))
    assert (done.returncode, done.stderr) == (4, "")
    head, plan = done.stdout.splitlines()
    assert head == "KTAP version 1"
    assert plan.startswith("1..0 # SKIP ")
    assert re.search(words, plan)


def test_not_installed(wrapper: Path, tmp_path: Path) -> None:
    """A copy in a kernel's tree, with a Python that lacks this project, is skipped."""
    copy = tmp_path / "selftests" / "vfio_compliance" / wrapper.name
    copy.parent.mkdir(parents=True)
    shutil.copy(wrapper, copy)
    done = subprocess.run([sys.executable, "-S", "-E", copy], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (4, "")
    assert done.stdout.startswith("KTAP version 1\n1..0 # SKIP vfio-compliance is not installed for ")


def test_a_refused_run(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """It has no report: a failure, never a skip or a pass; stderr has the reason."""
    done = run("--only", "nonsense", profile="reference.yaml")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "KTAP version 1",
        "1..1",
        "not ok 1 vfio-compliance # ERROR there is no report; stderr says why",
    ]
    assert "no such rule, clause or case" in done.stderr


def test_an_incomplete_run(run: Callable[..., subprocess.CompletedProcess[str]], project: Path, tmp_path: Path) -> None:
    """If nothing can be judged, here for lack of a server, that is a failure, never a skip or a pass."""
    text = (project / "profiles" / "reference.yaml").read_text(encoding="utf-8")
    assert '"{python}"' in text
    (tmp_path / "p.yaml").write_text(text.replace('"{python}"', "/nowhere/python"), encoding="utf-8")
    done = run(str(tmp_path / "p.yaml"), *ONE_RULE)
    assert done.returncode == 1
    assert "# verdict: SELECTION" in done.stdout
    assert "not judged" in done.stdout


def test_ended_by_the_runner(wrapper: Path, project: Path, tmp_path: Path) -> None:
    """SIGTERM at the time limit ends the run; its report is complete nevertheless, and a failure."""
    words = [str(project / "profiles" / "reference.yaml"), "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, str(wrapper), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as test:
        assert test.stderr is not None
        assert "cases to run" in test.stderr.readline()
        assert "the device is open" in test.stderr.readline()
        test.send_signal(signal.SIGTERM)
        out, _ = test.communicate(timeout=60)
    assert test.returncode == 1
    plan = int(out.splitlines()[1].removeprefix("1.."))
    assert sum(line.startswith(("ok ", "not ok ")) for line in out.splitlines()) == plan
    assert "# ERROR the run ended before" in out


def test_files_for_the_kernels_runner(wrapper: Path) -> None:
    """`settings` has a time limit that is enough for a run, `config` only options."""
    folder = wrapper.parent
    assert os.access(wrapper, os.X_OK)
    settings = [line for line in (folder / "settings").read_text().splitlines() if not line.startswith("#")]
    assert settings == ["timeout=1800"]
    config = [line for line in (folder / "config").read_text().splitlines() if not line.startswith("#")]
    assert all(line.startswith("CONFIG_") and line.endswith(("=y", "=m")) for line in config)
    assert "TEST_PROGS := migration_rules.py\n" in (folder / "Makefile").read_text()
