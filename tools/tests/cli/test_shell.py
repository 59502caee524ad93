# SPDX-License-Identifier: GPL-2.0-only
"""The output of tools/shell: the manual page in the tree is current, and shells complete what the parser accepts."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from vfio_compliance.cli.main import parser

MANUAL = "vfio-compliance.1"
SHELLS = ["vfio-compliance.bash", "_vfio-compliance", "vfio-compliance.tcsh"]

BASH = """\
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_vfio_compliance 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def made(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, made now."""
    pytest.importorskip("shtab")
    pytest.importorskip("argparse_manpage")
    folder = tmp_path_factory.mktemp("shell")
    subprocess.run([sys.executable, project / "tools" / "shell", folder], check=True)
    return folder


def test_manual_is_current(project: Path, made: Path) -> None:
    """It is the output of `python tools/shell`; other versions of argparse-manpage may differ, which is not judged."""
    listed = (project / "tools" / "constraints.txt").read_text(encoding="utf-8")
    (pinned,) = re.findall(r"(?m)^argparse-manpage==([\w.]+)", listed)
    if (installed := importlib.metadata.version("argparse-manpage")) != pinned:
        pytest.skip(f"the page was made by argparse-manpage {pinned}; {installed} is installed")
    kept = (project / "tools" / "shell" / MANUAL).read_text(encoding="utf-8")
    assert kept == (made / MANUAL).read_text(encoding="utf-8"), "renew it: python tools/shell"


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_knows_all_commands_and_options(made: Path, shell: str) -> None:
    """In each shell."""
    text = (made / shell).read_text(encoding="utf-8")
    program = parser()
    (commands,) = (action.choices for action in program._actions if isinstance(action.choices, dict))
    words = {option for each in commands.values() for action in each._actions for option in action.option_strings}
    assert {word for word in {*commands, *words} if word.lstrip("-") not in text} == set()


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["ru"], ["run"]),
        (["rep"], ["report", "repro", "replay"]),
        (["--v"], ["--version"]),
        (["run", "profiles/reference.yaml", "--s"], ["--stress", "--state", "--seed", "--shuffle"]),
        (["run", "profiles/refe"], ["profiles/reference.yaml"]),
        (["check", "profiles/refe"], ["profiles/reference.yaml"]),
        (["vm", "--accel", "k"], ["kvm"]),
    ],
    ids=" ".join,
)
def test_bash_completes(project: Path, made: Path, words: Sequence[str], completed: Sequence[str]) -> None:
    """Commands, options, files and choices."""
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    call = ["bash", "-c", BASH, "bash", str(made / SHELLS[0]), "vfio-compliance", *words]
    ended = subprocess.run(call, capture_output=True, text=True, cwd=project, check=True)
    assert ended.stdout.split() == completed


def test_manual_is_formatted_without_a_warning(project: Path) -> None:
    """By groff, with all its warnings."""
    if not shutil.which("groff"):
        pytest.skip("there is no groff")
    page = project / "tools" / "shell" / MANUAL
    ended = subprocess.run(["groff", "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert "EXIT STATUS" in re.sub("\x1b\\[[0-9;]*m|.\x08", "", ended.stdout)
