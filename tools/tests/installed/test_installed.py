# SPDX-License-Identifier: GPL-2.0-only
"""Installed, and run from a folder without a checkout: every command does the same as in a checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import TypeAlias

import pytest
from installation import Installation, build, unpack

from vfio_compliance.common import origin

RULE = "v1.reserved.reads-zero"
RECORD = f"vfio_compliance/shipped/{origin.RECORD}"

#: Folders of the checkout, and what they are in a wheel.
PLACES = {
    "tools/vfio_compliance/": "vfio_compliance/",
    "tools/refdriver/": "refdriver/",
    "tools/kmod/": "vfio_compliance/shipped/tools/kmod/",
    "tools/findings/": "vfio_compliance/shipped/tools/findings/",
    "suites/": "vfio_compliance/shipped/suites/",
    "profiles/": "vfio_compliance/shipped/profiles/",
}


#: A finished run, and its folder.
Broken: TypeAlias = tuple[subprocess.CompletedProcess[str], Path]


@pytest.fixture(scope="module")
def broken(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """A run of the reference device with a defect, and its folder."""
    folder = tmp_path_factory.mktemp("broken")
    words = ["run", "reference", "--defect", "reserved-garbage", "--only", "v1.reserved", "--seed", "1", "--out", "run"]
    return installed.call(*words, cwd=folder), folder


def test_wheel_has_all_of_the_tree(project: Path, wheel: Path) -> None:
    """Each file of the folders that an installation needs; in addition, the record and pytest's configuration."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *PLACES], cwd=project, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [name for name in listed.stdout.splitlines() if (project / name).exists()]
    wanted = {PLACES[place] + name.removeprefix(place) for name in files for place in PLACES if name.startswith(place)}
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert len(wanted) > 500
    assert held ^ wanted == {RECORD, "vfio_compliance/shipped/conftest.py", "vfio_compliance/shipped/tox.ini"}


def test_source_archive_makes_the_same_wheel(project: Path, wheel: Path, tmp_path: Path) -> None:
    """Without git: the same files, commit and digest."""
    tree = unpack(build(project, "sdist", tmp_path / "sdist"), tmp_path / "tree")
    again = build(tree, "wheel", tmp_path / "again")
    records = []
    for each in (wheel, again):
        with zipfile.ZipFile(each) as opened:
            records.append(json.loads(opened.read(RECORD)))
    assert records[0] == records[1]
    assert records[0]["digest"] == origin.suite_digest()


def test_version(installed: Installation, tmp_path: Path) -> None:
    """The commit of the build, as in the checkout, and the version of the rule set."""
    known = origin.facts()
    output = installed.call("--version", cwd=tmp_path).stdout
    commit = known.get("suite commit", "unknown")[:12]
    changed = re.escape("+modified") if known.get("suite modified") == "yes" else ""
    assert re.fullmatch(rf"vfio-compliance \S+ \(commit {commit}{changed}, rule set \d+\)\n", output)


def test_run(broken: Broken) -> None:
    """The failure is found, and the commands in the report are those of an installation."""
    ended, folder = broken
    assert ended.returncode == 1, ended.stderr
    assert f"FAIL  {RULE}" in ended.stdout
    assert "vfio-compliance run reference --defect reserved-garbage" in ended.stdout
    environment = next(
        json.loads(line)
        for line in (folder / "run" / "journal.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "environment"
    )
    assert environment["facts"]["suite digest"] == origin.suite_digest()
    assert f"rule set {environment['facts']['rule set']}" in ended.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("list", 0, RULE),
        (f"explain {RULE}", 0, "suites/migration_v1/test_registers.py:"),
        ("check reference", 0, "reference.yaml: ok"),
        ("run reference --dry-run --only v1.reserved", 0, "10 of 2 rules"),
        ("report run", 1, f"FAIL  {RULE}"),
        ("bundle run --output run.tar.gz", 0, "bundle: run.tar.gz"),
        (f"repro run {RULE} --output repro", 0, f"{RULE}.c"),
        ("run python --plan smoke --only v1.reserved --quiet --out examples", 0, "SELECTION by plan smoke"),
    ],
)
def test_command(installed: Installation, broken: Broken, words: str, code: int, says: str) -> None:
    """Each one runs without a checkout, and writes nothing into the installation."""
    ended = installed.call(*words.split(), cwd=broken[1])
    assert (ended.returncode, ended.stderr) == (code, "")
    assert says in ended.stdout


def test_list_shipped(installed: Installation, tmp_path: Path) -> None:
    """Every path exists, in the installation."""
    output = installed.call("list", "--shipped", cwd=tmp_path).stdout
    paths = re.findall(r"/\S.*", output)
    assert len(paths) == len(output.splitlines()) > 12
    assert all(os.path.exists(path) and path.startswith(str(installed.site)) for path in paths)
    assert re.search(r"(?m)^profile +reference +/", output)


def test_selftest(installed: Installation, tmp_path: Path) -> None:
    """All parts are fine, and each one says so in a line."""
    ended = installed.call("selftest", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[:2] for line in ended.stdout.splitlines()] == [
        ["ok", part] for part in ("version", "files", "rules", "reference", "defect")
    ]
    assert list(tmp_path.iterdir()) == []


def test_compiled_files_go_to_the_cache(installed: Installation, broken: Broken, tmp_path: Path) -> None:
    """To XDG_CACHE_HOME; if that cannot be written, nowhere."""
    words = ["run", "reference", "--plan", "smoke", "--only", "v1.reserved", "--quiet", "--out"]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert installed.call(*words, "a", cwd=tmp_path, more=cache).returncode == 0
    assert any((tmp_path / "cache" / "vfio-compliance" / "bytecode").rglob("test_registers*.pyc"))
    assert installed.call(*words, "b", cwd=tmp_path, more={"XDG_CACHE_HOME": "/proc/nowhere"}).returncode == 0


def test_hint_for_a_missing_package(installed: Installation, tmp_path: Path) -> None:
    """It has the command for an installation."""
    nothing = {"PATH": str(tmp_path)}
    ended = installed.call("vm", "--kernels", "6.1", cwd=tmp_path, more=nothing)
    assert ended.returncode == 2
    assert "busybox is missing: apt-get install busybox-static" in ended.stderr
    if "vng is missing" in ended.stderr:
        assert "vng is missing: pip install 'vfio_compliance[vm]'" in ended.stderr


def test_folder_that_cannot_be_written(installed: Installation) -> None:
    """The message says so, and names the remedy."""
    ended = installed.call("run", "reference", cwd=Path("/proc"))
    assert ended.returncode == 2
    assert re.search(r"vfio-compliance: results/reference-\S+: .*; name another folder with --out", ended.stderr)


def test_folder_of_the_same_name(installed: Installation, tmp_path: Path) -> None:
    """A folder `reference` is not taken for a profile, nor a module in the current folder for one of the program."""
    (tmp_path / "reference").mkdir()
    (tmp_path / "pytest.py").write_text("raise SystemExit('this is not pytest')\n")
    words = ["run", "reference", "--plan", "smoke", "--only", "v1.reserved", "--quiet"]
    assert installed.call(*words, cwd=tmp_path).returncode == 0


def test_file_of_the_same_name(installed: Installation, tmp_path: Path) -> None:
    """It is the profile."""
    (tmp_path / "reference").write_text("format: 1\n")
    ended = installed.call("run", "reference", cwd=tmp_path)
    assert ended.returncode == 2
    assert "reference:1:1: " in ended.stderr
