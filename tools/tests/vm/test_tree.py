# SPDX-License-Identifier: GPL-2.0-only
"""Where a guest finds the suites and their bytecode, in a checkout and in an installation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vfio_compliance.common import processes
from vfio_compliance.common.project import KMOD, PACKAGE, PROJECT
from vfio_compliance.vm import bytecode, reference
from vfio_compliance.vm.plan import Plan


def test_the_guest_uses_the_folders_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "own"))
    monkeypatch.setattr("site.USER_BASE", None)
    plan = Plan(None, tmp_path, [], None, [], ["vfio-compliance", "vm"]).of([["true"]], tmp_path / "dmesg")
    environment = plan["environment"]
    assert plan["cwd"] == str(PROJECT)
    assert environment["XDG_CACHE_HOME"] == str(tmp_path / "cache")
    assert environment["PYTHONUSERBASE"] == str(tmp_path / "own")
    assert f"{tmp_path}/own/bin" in environment["PATH"].split(":")


@pytest.mark.parametrize(("installed", "folders"), [(False, [str(PACKAGE.parent)]), (True, [])])
def test_only_a_checkout_is_compiled_in_place(
    monkeypatch: pytest.MonkeyPatch, installed: bool, folders: list[str]
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> subprocess.Popen[bytes]:
        started.append(command)
        return subprocess.Popen(["true"])

    monkeypatch.setattr(bytecode, "INSTALLED", installed)
    monkeypatch.setattr(processes, "start", start)
    with bytecode.compiling():
        pass
    assert [command[3:] for command in started] == [folders]


def test_the_source_of_the_module_is_in_the_tree() -> None:
    assert (KMOD / "Kbuild").is_file()
    assert [file.name for file in reference._files(KMOD) if file.name == "main.c"] == ["main.c"]
