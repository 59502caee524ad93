# SPDX-License-Identifier: GPL-2.0-only
"""The failures of a run as a file of waivers: its content, and that it excuses these failures once filled in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from stories import case, ended, run_of, timed, written

from vfio_compliance.cli.main import main
from vfio_compliance.profiles import ProfileError, waiver_files
from vfio_compliance.results import journal
from vfio_compliance.results.events import Death, Event, Kernel, Target
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import Waiver
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers import waivers

HOSTILE = '"\\x1b]0;\u202e: #\t- {}'
EVENTS: list[Event] = [
    ended("a[one]", "fail", expected="0", seen="0x1"),
    ended("a[two]", "fail", expected="0", seen="0x1\nand more"),
    ended("a[three]", "pass"),
    ended("b[one]", "fail", expected="0", seen="0x1"),
    ended("b[two]", "fail", expected="0", seen="0x2"),
    ended("c[only]", "fail", expected="0", seen=HOSTILE),
    ended("d", "pass"),
    Death("the server", "was killed by SIGSEGV, without output", "during read", True, case("d")),
]
GRAVE: list[Event] = [
    ended("e", "fail", expected="0", seen="0x1"),
    Kernel(("BUG: it",), case("e")),
    ended("f", "hang"),
    ended("g", "kernel"),
]


def made(*events: Event, **run: Any) -> Summary:
    """A run on a kernel driver."""
    return summarise(run_of(Target({"transport": "kernel-group"}), *events, **run))


def test_the_waivers_are_as_narrow_as_the_failures(tmp_path: Path) -> None:
    """Limited by message, case, kernel series and driver. Failures that cannot be waived are named."""
    text = waivers.render(made(*EVENTS, *GRAVE, kernel="Linux 6.12.9-amd64", driver_version="1.1"))
    lines = text.splitlines()
    assert [line for line in lines if "Not waived" in line] == [
        "# Not waived: v1.e (what the kernel or a sanitizer reported).",
        "# Not waived: v1.f (hang).",
        "# Not waived: v1.g (kernel).",
    ]
    path = tmp_path / "w.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        waiver_files.load(path)
    assert [problem.message for problem in caught.value.problems] == ["expected text, found blank text"] * 5
    path.write_text(text.replace('reason: ""', "reason: known"), encoding="utf-8")
    found = waiver_files.load(path).waivers
    assert [(each.rule, each.shows, each.case) for each in found] == [
        ("v1.a", "0x1", None),
        ("v1.b", "0x1", "test_it.py::test_b[one]"),
        ("v1.b", "0x2", "test_it.py::test_b[two]"),
        ("v1.c", None, "test_it.py::test_c[only]"),
        ("v1.d", "during read, the server was killed by SIGSEGV, without output", "test_it.py::test_d"),
    ]
    assert {(each.kernel, each.driver) for each in found} == {("==6.12.*", "==1.1")}


def test_they_excuse_the_failures(tmp_path: Path) -> None:
    """With them, the same run has no failure that counts; on another kernel, they excuse nothing."""
    text = waivers.render(made(*EVENTS, kernel="Linux 6.12.9"))
    path = tmp_path / "w.yaml"
    path.write_text(text.replace('reason: ""', "reason: known"), encoding="utf-8")
    listed = [Waiver(**asdict(each)) for each in waiver_files.load(path).waivers]
    again = made(*EVENTS, kernel="Linux 6.12.10", waivers=listed)
    assert {case.verdict.value for case in again.cases.values()} == {"waived", "pass"}
    assert again.exit_code == 0
    assert made(*EVENTS, kernel="Linux 6.13", waivers=listed).exit_code == 1


def test_waivers_for_a_server_of_unknown_version() -> None:
    """The kernel does not matter to a server, and an unknown version cannot limit a waiver."""
    text = waivers.render(summarise(run_of(*EVENTS, kernel="Linux 6.12.9", driver_version="f00")))
    assert "kernel:" not in text
    assert "driver:" not in text


def test_nothing_to_waive() -> None:
    """No rule was broken, or no failure can be waived."""
    assert waivers.render(made(ended("a", "pass"))) == waivers.render(made(*GRAVE)) == ""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints the file, or writes a new one; an existing file is not overwritten."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / journal.NAME).write_bytes(written(timed(run_of(*EVENTS))))
    assert main(["waive", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "  - rule: v1.a\n" in printed
    file = tmp_path / "w.yaml"
    assert main(["waive", str(tmp_path / "run"), "--output", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == printed
    assert main(["waive", str(tmp_path / "run" / journal.NAME), "--output", str(file)]) == 2
    assert f"{file}: File exists" in capsys.readouterr().err
    assert main(["waive", str(tmp_path)]) == 2
    assert "No such file" in capsys.readouterr().err
