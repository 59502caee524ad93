# SPDX-License-Identifier: GPL-2.0-only
"""Arguments of the program: --help shows all of them, and a wrong one is answered with the right one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pytest

from vfio_compliance.cli.main import main, parser

COMMANDS = dict[str, argparse.ArgumentParser](
    next(action.choices for action in parser()._actions if isinstance(action.choices, dict))
)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a call that argparse ends."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize("columns", ["60", "100"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str, command: str
) -> None:
    """A command's help has all its options with their help, in lines that fit; the program's help has the command."""
    monkeypatch.setenv("COLUMNS", columns)
    assert f"    {command} " in refused(capsys, "--help")[1]
    code, text, complaint = refused(capsys, command, "--help")
    assert (code, complaint) == (0, "")
    assert text.startswith(f"usage: vfio-compliance {command}")
    assert all(len(line) <= int(columns) for line in text.splitlines() if line[:2] != "  " and "usage" not in line)
    flat = "".join(text.split())
    for action in COMMANDS[command]._actions:
        assert action.help is not None
        if action.help != argparse.SUPPRESS:
            assert "".join(action.help.split()) in flat
            assert all(option in text for option in action.option_strings)
    for prose in filter(None, (COMMANDS[command].description, COMMANDS[command].epilog)):
        assert "".join(prose.split()) in flat


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_options_are_not_abbreviated(command: str) -> None:
    """So a new option never changes the meaning of a script."""
    assert not (COMMANDS[command] if command else parser()).allow_abbrev


@pytest.mark.parametrize(
    ("words", "usage", "complaint"),
    [
        (
            ["rnu"],
            "COMMAND",
            "(choose from run, report, repro, replay, diff, merge, index, waive, bundle, verify, list, explain, check,",
        ),
        (["rnu"], "COMMAND", "; did you mean `run`?"),
        (["--verson"], "COMMAND", "unrecognized arguments: --verson; did you mean `--version`?"),
        ([], "COMMAND", "the following arguments are required: COMMAND"),
        (["run", "a.yaml", "--onyl", "x"], "run [", "unrecognized arguments: --onyl x; did you mean `--only`?"),
        (["run", "a.yaml", "--onl=x"], "run [", "unrecognized arguments: --onl=x; did you mean `--only`?"),
        (["list", "v1", "v2"], "list [", "unrecognized arguments: v2\n"),
        (
            ["vm", "--accel", "kmv"],
            "vm [",
            "'kmv' (choose from auto, kvm, tcg); did you mean `kvm`?",
        ),
        (["vm", "run"], "vm [", "unrecognized arguments: run; a COMMAND comes after a lone --"),
        (["vm", "--deadline", "15"], "vm [", "'15' is not a time such as 30s, 15min or 1h"),
        (["import", "strace", "x", "--region", "-1"], "import [", "'-1' is not the index of a region"),
        (["import", "strace", "x", "--region", "5000000000"], "import [", "'5000000000' is not the index of a region"),
        (
            ["import", "strace", "x", "--region-at", "9<<40"],
            "import [",
            "'9<<40' is not a file offset such as 0x300000",
        ),
        (["import", "srtace", "x"], "import [", "(choose from strace, qemu); did you mean `strace`?"),
        (["judge"], "judge [", "the following arguments are required: trace"),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], words: Sequence[str], usage: str, complaint: str) -> None:
    """Exit code 2, the usage of the command, and what is wrong."""
    code, output, errors = refused(capsys, *words)
    assert (code, output) == (2, "")
    assert errors.startswith("usage: vfio-compliance ")
    assert usage in errors
    assert complaint in errors


@pytest.mark.parametrize("command", ["list", "explain"])
@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("RESERVED", "; did you mean `v1.reserved`, `v1.reserved.reads-zero` or `v1.reserved.ignores-writes`?"),
        ("V1.Reserved", "; did you mean `v1.reserved`?"),
        ("Reads-Zero", "; did you mean `v1.reserved.reads-zero`?"),
        ("ads-zer", "; did you mean `v1.reserved.reads-zero`?"),
        ("reads-zreo", "; did you mean `v1.reserved.reads-zero`?"),
        ("v1.reserved.read-zeros", "; did you mean `v1.reserved.reads-zero`?"),
        ("ds-08", "; did you mean `DS-08`?"),
        ("nonsense", "; see vfio-compliance list"),
        ("x" * 10_000, "; see vfio-compliance list"),
    ],
    ids=lambda text: text[:30],
)
def test_unknown_rule(capsys: pytest.CaptureFixture[str], command: str, pattern: str, hint: str) -> None:
    """Any part of a name, in any case, leads to the name; so does one with a typing error."""
    assert main([command, pattern]) == 2
    assert capsys.readouterr() == ("", f"vfio-compliance: no rule or clause {pattern!r}{hint}\n")
