# SPDX-License-Identifier: GPL-2.0-only
"""`repro` and `replay` on the command line, also with wrong arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from stories import chained

from vfio_compliance.cli.main import main
from vfio_compliance.results import journal

#: Changes the lines of a journal.
Change = Callable[[list[bytes]], Iterable[bytes]]

RULE = "v1.reserved.reads-zero"
CASE = "test_reserved_reads_zero[running]"


def test_repro_writes_two_programs(broken_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One in C and one in Python; both say what they show and how to run them."""
    assert main(["repro", str(broken_run), RULE, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    in_c, in_python = tmp_path / f"{RULE}.c", tmp_path / f"{RULE}.py"
    assert printed.splitlines()[:2] == [str(in_c), str(in_python)]
    assert "the fault showed in 2 of 2 tries" in printed
    for path in in_c, in_python:
        text = path.read_text()
        assert RULE in text
        assert "RES-01" in text
        assert "expected 0x0, seen 0xdeadbeef" in text
        assert "reserved = read_at(device, MIGRATION, RESERVED, 4)" in text
    assert "SOCKET" in in_python.read_text()


def test_without_minimising_all_calls_stay(
    broken_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is left out, and no device is needed."""
    assert main(["repro", str(broken_run), CASE, "--output", str(tmp_path), "--no-minimise"]) == 0
    assert "not tried on a device" in capsys.readouterr().out
    assert (tmp_path / f"{RULE}.py").read_text().count("read_at(device, MIGRATION, DEVICE_STATE, 4)") == 2


def test_programs_need_a_device(broken_run: Path, tmp_path: Path) -> None:
    """Without a device, or with one that does not exist, both exit with 2 and say why."""
    main(["repro", str(broken_run), RULE, "--output", str(tmp_path), "--no-minimise"])
    built = tmp_path / "built"
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", built, tmp_path / f"{RULE}.c"], check=True)
    for command in [str(built)], [sys.executable, "-I", "-S", str(tmp_path / f"{RULE}.py")]:
        alone = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (alone.returncode, alone.stdout) == (2, "")
        assert "usage: " in alone.stderr
        nowhere = subprocess.run([*command, tmp_path / "none"], capture_output=True, text=True, check=False)
        assert nowhere.returncode == 2
        assert nowhere.stdout.startswith("could not tell: ")
        assert "none" in nowhere.stdout


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("v1.reserved.ignores-writes", "did not fail in this run (pass): there is nothing to show"),
        ("v1.reset", "no case of v1.reset was run"),
        ("test_reserved_reads_zero[walking]", "neither a case nor a rule"),
        ("v1.reserved.reads-zera", "did you mean `v1.reserved.reads-zero`?"),
    ],
)
def test_repro_needs_a_failing_case(
    broken_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, complaint: str
) -> None:
    """There is one clear message, and no file."""
    assert main(["repro", str(broken_run), what, "--output", str(tmp_path / "out")]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def damaged(folder: Path, tmp_path: Path, change: Change) -> Path:
    """A copy of a journal, with its lines changed."""
    lines = (folder / journal.NAME).read_bytes().splitlines(keepends=True)
    path = tmp_path / journal.NAME
    path.write_bytes(b"".join(change(lines)))
    return path


def without_calls(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if not line.startswith(b'{"event":"calls"')]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda lines: [], "the run ended before anything was recorded"),
        (lambda lines: [b"{}\n"], "not a journal"),
        (lambda lines: [lines[0].replace(b'"format":3', b'"format":99', 1), *lines[1:]], "format 99"),
        (without_calls, "did not fail in this run (not-run)"),
    ],
    ids=["empty", "another", "newer", "cut"],
)
def test_a_journal_that_cannot_be_used(
    broken_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, complaint: str
) -> None:
    """Empty, of another format, newer, or cut short: there is one clear message for each."""
    path = damaged(broken_run, tmp_path, change)
    assert main(["repro", str(path), RULE, "--no-minimise", "--output", str(tmp_path / "out")]) == 2
    assert complaint in capsys.readouterr().err


def test_no_such_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder does not exist."""
    assert main(["repro", str(tmp_path / "none"), RULE]) == 2
    assert "No such file" in capsys.readouterr().err


def test_an_older_journal(broken_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the compared values only in words, which are used instead."""

    def older(lines: list[bytes]) -> Iterable[bytes]:
        events = [json.loads(line) for line in lines]
        for event in events:
            event.pop("chain", None)
            (event.get("failure") or {}).pop("compared", None)
        return chained(json.dumps(event, separators=(",", ":")).encode() for event in events)

    path = damaged(broken_run, tmp_path, older)
    assert main(["repro", str(path), RULE, "--no-minimise", "--output", str(tmp_path / "out")]) == 0
    assert "reserved.number != 0" in (tmp_path / "out" / f"{RULE}.py").read_text()


# -- replay -----------------------------------------------------------------------------------------------------------


def replayed(broken_run: Path, project: Path, *more: str) -> int:
    """The exit code of a replay of a case on the reference device."""
    return main(["replay", str(broken_run), str(project / "profiles/reference.yaml"), "--only", CASE, *more])


def test_replay_stops_at_the_first_difference(
    broken_run: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A good device answers as recorded up to the call that shows the fault."""
    assert replayed(broken_run, project) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("4 calls answered as recorded, then:\n")
    assert "read reserved -> 0xdeadbeef" in printed
    assert "recorded  0xdeadbeef\n  now       0x0\n" in printed


def test_replay_without_a_difference(broken_run: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same broken device answers as recorded."""
    assert replayed(broken_run, project, "--defect", "reserved-garbage") == 0
    assert capsys.readouterr().out == "5 calls of 5 answered as recorded\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "name one with --only"),
        (["--only", "test_nothing"], "no case 'test_nothing'"),
    ],
)
def test_replay_needs_one_case(
    broken_run: Path, project: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], complaint: str
) -> None:
    """A run has many cases: one must be named, and be in it."""
    assert main(["replay", str(broken_run), str(project / "profiles/reference.yaml"), *words]) == 2
    assert complaint in capsys.readouterr().err


def test_replay_needs_a_trace(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another file is refused."""
    path = tmp_path / "trace"
    path.write_text("{}\n")
    assert main(["replay", str(path), str(project / "profiles/reference.yaml")]) == 2
    assert "neither a trace nor the journal of a run" in capsys.readouterr().err
