# SPDX-License-Identifier: GPL-2.0-only
"""An installation that differs from its build says so, in a line, and never blames the device."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from vfio_compliance.common import origin

if TYPE_CHECKING:
    from tests.installed.conftest import Damaged

TEST = "suites/migration_v1/test_registers.py"
RULES = "suites/migration_v1/rules.yaml"


def broken_parts(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """The parts that selftest calls broken; it exits with 2 and shows no traceback."""
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr + ended.stdout
    return [line for line in ended.stdout.splitlines() if line.startswith("BROKEN")]


@pytest.mark.parametrize("name", [TEST, "tools/kmod/main.c"])
def test_missing_file(damaged: Damaged, name: str) -> None:
    """It is named."""
    package, call = damaged
    (package / "shipped" / name).unlink()
    assert broken_parts(call("selftest"))[0].endswith(f"/shipped/{name}: No such file or directory")


def test_changed_file(damaged: Damaged) -> None:
    """Even one that does not judge, here in the reference driver."""
    package, call = damaged
    with (package.parent / "refdriver" / "parts.py").open("a") as file:
        file.write("\n")
    (line,) = broken_parts(call("selftest"))
    assert line.endswith("/refdriver/parts.py: changed since it was built")


def test_changed_rules(damaged: Damaged) -> None:
    """The version shows it, and so does the report of each run."""
    package, call = damaged
    with (package / "shipped" / RULES).open("a") as file:
        file.write("# another opinion\n")
    assert "+modified, rule set" in call("--version").stdout
    assert f"{RULES}: changed since it was built" in broken_parts(call("selftest"))[0]
    ended = call("run", "reference", "--plan", "smoke", "--only", "v1.reserved", "--out", "run")
    assert ended.returncode == 0
    assert "+modified, rule set" in ended.stdout


def test_added_test(damaged: Damaged) -> None:
    """It is reported, because it would be run with the others."""
    package, call = damaged
    shutil.copy(package / "shipped" / TEST, package / "shipped" / "suites/migration_v1/test_more.py")
    assert broken_parts(call("selftest"))[0].endswith("there are files that were not built")
    assert "+modified" in call("--version").stdout


def test_missing_folder_of_the_record(damaged: Damaged) -> None:
    """Only the record is named."""
    package, call = damaged
    shutil.rmtree(package / "shipped" / "tools")
    ended = call("selftest")
    assert len(broken_parts(ended)) == 1
    assert "built.json: missing or damaged" in ended.stdout


def test_missing_suites(damaged: Damaged) -> None:
    """Commands that need them name the remedy; selftest names some of the files, and counts the others."""
    package, call = damaged
    shutil.rmtree(package / "shipped" / "suites")
    for words in (["list"], ["explain", "v1.reserved"], ["run", "reference"]):
        ended = call(*words)
        assert ended.returncode == 2
        assert ended.stderr.endswith("shipped/suites is missing: install vfio-compliance again\n")
    ended = call("selftest")
    assert len(broken_parts(ended)) == 4
    assert "\n                  and " in ended.stdout


def test_damaged_record(damaged: Damaged) -> None:
    """Then the commit is unknown, and everything else runs."""
    package, call = damaged
    (package / "shipped" / origin.RECORD).write_bytes(b"{")
    assert "(commit unknown, rule set" in call("--version").stdout
    (line,) = broken_parts(call("selftest"))
    assert line.endswith("built.json: missing or damaged")


def test_hostile_record(damaged: Damaged) -> None:
    """Its names of files are escaped."""
    package, call = damaged
    path = package / "shipped" / origin.RECORD
    record = json.loads(path.read_text())
    record["files"] = {"../\x1b[31m\n<b>": "0" * 64, "\0": "", **record["files"]}
    path.write_text(json.dumps(record))
    ended = call("selftest")
    assert len(broken_parts(ended)) == 1
    assert "\x1b" not in ended.stdout


def test_reference_driver_that_does_not_start(
    damaged: Damaged,
) -> None:
    """The installation is broken, not a rule."""
    package, call = damaged
    (package.parent / "refdriver/__init__.py").write_text("raise SystemExit(1)\n")
    assert [line.split()[1] for line in broken_parts(call("selftest"))] == ["files", "reference", "defect"]
