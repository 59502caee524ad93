# SPDX-License-Identifier: GPL-2.0-only
"""The files of tools/shell: they are what the program's parser gives, and a shell completes by them."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys

import pytest

FILES = ["vfio-compliance.bash", "_vfio-compliance", "vfio-compliance.tcsh", "vfio-compliance.1"]

BASH = """\
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_vfio_compliance 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def made(project, tmp_path_factory):
    """The files as they are made now; by other versions of the makers they may differ, which says nothing."""
    listed = (project / "tools" / "constraints.txt").read_text(encoding="utf-8")
    for maker in ("shtab", "argparse-manpage"):
        pinned = re.search(rf"(?m)^{maker}==([\w.]+)", listed)[1]
        try:
            installed = importlib.metadata.version(maker)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{maker} is not installed")
        if installed != pinned:
            pytest.skip(f"the files were made by {maker} {pinned}; {installed} is installed")
    folder = tmp_path_factory.mktemp("shell")
    subprocess.run([sys.executable, project / "tools" / "shell", folder], check=True)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_current(project, made, name):
    """`python tools/shell` makes this file as it is."""
    kept = (project / "tools" / "shell" / name).read_text(encoding="utf-8")
    assert kept == (made / name).read_text(encoding="utf-8"), "python tools/shell writes it anew"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["ru"], ["run"]),
        (["re"], ["report"]),
        (["--v"], ["--version"]),
        (["run", "profiles/reference.yaml", "--s"], ["--skip", "--stress", "--seed", "--shuffle"]),
        (["run", "profiles/refe"], ["profiles/reference.yaml"]),
        (["check", "profiles/refe"], ["profiles/reference.yaml"]),
        (["vm", "--accel", "k"], ["kvm"]),
    ],
    ids=" ".join,
)
def test_bash_completes(project, words, completed):
    """Commands, options, files and choices."""
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    call = ["bash", "-c", BASH, "bash", project / "tools" / "shell" / "vfio-compliance.bash", "vfio-compliance", *words]
    ended = subprocess.run(call, capture_output=True, text=True, cwd=project, check=True)
    assert ended.stdout.split() == completed


def test_manual_is_read_without_a_warning(project):
    """groff finds nothing to complain of."""
    if not shutil.which("groff"):
        pytest.skip("there is no groff")
    page = project / "tools" / "shell" / "vfio-compliance.1"
    ended = subprocess.run(["groff", "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert "EXIT STATUS" in re.sub("\x1b\\[[0-9;]*m|.\x08", "", ended.stdout)
