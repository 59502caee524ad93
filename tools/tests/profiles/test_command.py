# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance check`: output and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_compliance.cli.main import main
from vfio_compliance.profiles.command import check
from vfio_compliance.sections import PROFILE

SMALL = """\
format: 1
name: small
interfaces: [migration_v1]
device: {transport: vfio-user, socket: /run/s}
limits: {}
"""
PLAN = "format: 1\nname: p\nleave_out: [{rule: v1.reset, reason: a}]\n"
RULES = {"v1.reset.state-is-running", "v1.reserved.reads-zero"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_valid_profiles_are_ok(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_text(SMALL)
    assert check(["a.yaml", "b.yaml"], PROFILE) == 0
    assert capsys.readouterr().out == "a.yaml: ok\nb.yaml: ok\n"


def test_problems_are_shown_with_their_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text(SMALL.replace("{}", "{call: 5}").replace("name", "nmae"))
    (folder / "b.yaml").write_text(SMALL)
    assert check(["a.yaml", "b.yaml", "c.yaml"], PROFILE) == 2
    assert capsys.readouterr().out == (
        "a.yaml:1:1: the key `name` is missing\n"
        "    format: 1\n"
        "    ^\n"
        "a.yaml:2:1: unknown key `nmae`; did you mean `name`?\n"
        "    nmae: small\n"
        "    ^\n"
        "a.yaml:5:16: `5` has no unit; units are `us`, `ms`, `s`, `min` and `h`\n"
        "    limits: {call: 5}\n"
        "                   ^\n"
        "a.yaml: 3 problems\n"
        "b.yaml: ok\n"
        "c.yaml: cannot be read: No such file or directory\n"
        "c.yaml: 1 problem\n"
    )


def test_every_program_of_a_profile_is_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text(
        "format: 1\nname: a\ninterfaces: [migration_v1]\n"
        "device:\n"
        "  transport: vfio-user\n"
        '  command: ["{python}", -m, server, "{socket}", "two words", ""]\n'
        "  recovery: [recover]\n"
        "  second:\n"
        "    recovery: [recover, the-other]\n"
    )
    assert check(["a.yaml"], PROFILE) == 0
    assert capsys.readouterr().out == (
        "a.yaml:6:3: device.command runs {python} -m server {socket} 'two words' ''\n"
        "a.yaml:7:3: device.recovery runs recover\n"
        "a.yaml:9:5: device.second.recovery runs recover the-other\n"
        "a.yaml: ok\n"
    )


def test_a_waiver_of_an_unknown_rule_is_a_problem(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waivers = "".join(
        f"  - {{rule: {rule}, reason: a}}\n" for rule in ("v1.reserved.reads-zero", "v1.reserved.read-zero")
    )
    (folder / "a.yaml").write_text(f"{SMALL}waivers:\n{waivers}")
    assert check(["a.yaml"], PROFILE, RULES) == 2
    assert capsys.readouterr().out == (
        "a.yaml:8:12: there is no rule `v1.reserved.read-zero`; did you mean `v1.reserved.reads-zero`?\n"
        "      - {rule: v1.reserved.read-zero, reason: a}\n"
        "               ^\n"
        "a.yaml: 1 problem\n"
    )


def test_the_command_knows_the_rules(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text(f"{SMALL}waivers: [{{rule: v1.reserved.reads-one, reason: a}}]\n")
    (folder / "b.yaml").write_text(PLAN)
    assert main(["check", "a.yaml", "b.yaml"]) == 2
    out = capsys.readouterr().out
    assert "a.yaml:6:18: there is no rule `v1.reserved.reads-one`; did you mean `v1.reserved.reads-zero`?\n" in out
    assert out.endswith("b.yaml: ok\n")


def test_a_plan_is_checked_as_a_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text(PLAN)
    (folder / "b.yaml").write_text(PLAN.replace("v1.reset", "v1.rest"))
    (folder / "c.yaml").write_text(PLAN.replace("leave_out", "leaveout"))
    assert check(["a.yaml", "b.yaml", "c.yaml"], PROFILE, RULES) == 2
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "a.yaml: ok"
    assert out[1] == "b.yaml:3:20: there is no rule `v1.rest`; did you mean `v1.reset`?"
    assert out[4:] == [
        "b.yaml: 1 problem",
        "c.yaml:1:1: the key `leave_out` is missing",
        "    format: 1",
        "    ^",
        "c.yaml:3:1: unknown key `leaveout`; did you mean `leave_out`?",
        "    leaveout: [{rule: v1.reset, reason: a}]",
        "    ^",
        "c.yaml: 2 problems",
    ]


def test_the_caret_is_in_its_column_after_tabs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text(SMALL.replace("limits: {}", "limits:\t{call:\t5}"))
    assert check(["a.yaml"], PROFILE) == 2
    _, source, caret, _ = capsys.readouterr().out.splitlines()
    assert source == "    limits:\t{call:\t5}"
    assert caret == "           \t      \t^"


def test_only_a_part_of_a_long_line_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transitions = ", ".join(["stop -> stop"] * 1000)
    (folder / "a.yaml").write_text(SMALL + f"claims: {{transitions: [{transitions}, stop -> spot]}}\n")
    assert check(["a.yaml"], PROFILE) == 2
    message, source, caret, _ = capsys.readouterr().out.splitlines()
    assert message.startswith("a.yaml:6:14024: `spot` is not a state")
    assert len(source) <= 4 + 100
    assert source[caret.index("^") :] == "stop -> spot]}"


def test_no_file_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check"])
    assert caught.value.code == 2
    assert "FILE" in capsys.readouterr().err
