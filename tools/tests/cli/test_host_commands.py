# SPDX-License-Identifier: GPL-2.0-only
"""The commands for a device and its host: exit codes and output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pci_tree import BUS, NET, FakeMachine, built

from vfio_compliance.cli.main import main
from vfio_compliance.host import machine as machines


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """The machine that the commands see."""
    found = built(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(machines, "Machine", lambda: found)
    return found


def test_bind_and_unbind(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bind", NET]) == 0
    assert capsys.readouterr().out.startswith(
        f"{NET} is bound to vfio-pci; `vfio-compliance unbind {NET}` gives it back"
    )
    assert main(["unbind", NET]) == 0
    assert capsys.readouterr().out == f"{NET} is as it was, bound to e1000e\n"
    assert main(["unbind", NET]) == 2
    assert capsys.readouterr().err.startswith(f"vfio-compliance: not given back: {NET} was not bound by")


def test_another_driver(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.root / BUS / "drivers/acme_vfio").mkdir()
    assert main(["bind", NET, "--driver", "acme_vfio"]) == 0
    assert f"{NET} is bound to acme_vfio" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["bind", "x\x1b[31m"], ["unbind", "x\x1b[31m"], ["bind", NET, "--driver", "\x1b"]])
def test_impossible_requests(machine: FakeMachine, capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> None:
    """One line, without control characters."""
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("vfio-compliance: not ")
    assert printed.err.count("\n") == 1
    assert "\x1b" not in printed.err


def test_doctor_of_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    """The reference device needs nothing of the host."""
    assert main(["doctor", "profiles/reference.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "module vfio not needed for this" in [" ".join(line.split()) for line in lines]


def test_doctor_of_the_kernel(machine: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing comes first, and decides the exit code."""
    assert main(["doctor", "profiles/qemu-edu.yaml"]) == 2
    assert "missing" in capsys.readouterr().out.splitlines()[0].split()
    assert main(["doctor"]) == 2


@pytest.mark.parametrize("word", ["no.yaml", "profiles/plans/ci.yaml", "nothing/there", "\x1b[31m"])
def test_doctor_of_something_else(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main(["doctor", word]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err
    assert "\x1b" not in printed.err


@pytest.mark.parametrize(
    "words", [[], ["--"], ["--", "no-such-program", "{socket}"], ["/run/none.sock", "--", "no-such-program"]]
)
def test_probe_without_a_device(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> None:
    """The arguments after -- are a command."""
    assert main(["probe", *words]) == 2
    assert capsys.readouterr().err.startswith("vfio-compliance: no profile is written: ")


@pytest.mark.parametrize("words", [["one", "two"], ["--out"]])
def test_wrong_arguments_of_probe(words: Sequence[str]) -> None:
    """They are refused by the parser."""
    with pytest.raises(SystemExit) as ended:
        main(["probe", *words])
    assert ended.value.code == 2
