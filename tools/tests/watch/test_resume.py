# SPDX-License-Identifier: GPL-2.0-only
"""A run that ended early is resumed: cases with a verdict are not judged again, and nothing may have changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stories import FINISH, RULE, first

from vfio_compliance.cli.main import main
from vfio_compliance.results import journal
from vfio_compliance.results.events import Broken, End, Environment, Event, Hang, Plan, Process, Resumed, Start
from vfio_compliance.results.journal import Journal
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.run.environment import changes
from vfio_compliance.watch import folder as folders
from vfio_compliance.watch.rest import Rest
from vfio_compliance.watch.resume import RunError, begun, made_with

CASES = {f"a.py::{name}": "v1.one" for name in ("one", "two", "three", "four")}
ONE, TWO, THREE, FOUR = CASES
ENVIRONMENT = Environment({"kernel": "6.12"}, {}, ("--seed=1",), "/work")


def passed(case: str) -> tuple[Event, Event]:
    """The events of a case that passed."""
    return Start(case, "v1.one"), End(case, "v1.one", Verdict.PASS, 0.1, None, {}, ())


def written(path: Path, *events: Event, closed: bool = True) -> Path:
    """A journal of a run with these events."""
    with Journal(path) as opened:
        for event in (first([RULE], CASES), Plan(tuple(CASES.items())), ENVIRONMENT, *events):
            opened.write(event)
        if closed:
            opened.end()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the journal."""
    return tmp_path / journal.NAME


# -- remaining cases ---------------------------------------------------------------------------------------------------


def test_cases_with_a_verdict_are_done(path: Path) -> None:
    """A case is done if it ended or hung, or if its process ended; one that was running at the end is not."""
    hung = Hang("no answer", "wait", TWO)
    written(path, *passed(ONE), Start(TWO, "v1.one"), hung, Process(2, "a hang"), Start(THREE, "v1.one"), closed=False)
    rest = Rest()
    rest.resume(begun(path))
    handover = rest.hand_over("resumed")
    assert handover.done == {ONE, TWO}
    assert handover.cut == {"v1.one": 1}
    assert (handover.number, handover.way, rest.cases_left) == (3, 0, 2)


def test_a_resumed_run_has_the_result_of_an_uninterrupted_one(path: Path) -> None:
    """The reason for its early end becomes a note."""
    stop = Broken("interrupted by SIGTERM", "continue", None)
    written(
        path, *passed(ONE), *passed(TWO), stop, Resumed(2), Process(2, "resumed"), *passed(THREE), *passed(FOUR), FINISH
    )
    result = summarise(journal.read(path))
    assert result.stops == []
    assert result.exit_code == 0
    assert "the run had ended early, and was resumed: interrupted by SIGTERM" in result.notes


def test_time_between_does_not_count(path: Path) -> None:
    """A run that is resumed the next day did not take a day."""
    lines = [first([RULE], CASES), Plan(tuple(CASES.items())), *passed(ONE), Resumed(3), *passed(TWO), FINISH]
    times = [0, 1, 2, 3, 90_000, 90_001, 90_002, 90_003]
    assert summarise(map(journal.Recorded, times, lines)).seconds == 6


def test_a_complete_run_is_not_resumed(path: Path) -> None:
    written(path, *(event for case in CASES for event in passed(case)), FINISH)
    with pytest.raises(RunError, match="the run is complete"):
        begun(path)


def test_a_run_without_a_plan_is_not_resumed(path: Path) -> None:
    with Journal(path) as opened:
        opened.write(first([RULE], CASES))
    with pytest.raises(RunError, match="the run ended before it had a plan"):
        begun(path)


def test_a_damaged_journal_is_not_resumed(path: Path) -> None:
    """The error names the line."""
    written(path, *passed(ONE))
    path.write_bytes(path.read_bytes().replace(b'"pass"', b'"fail"', 1))
    with pytest.raises(RunError, match="line 5 is damaged: it does not follow from the line before"):
        begun(path)


def test_the_environment_of_a_run(path: Path) -> None:
    """The last one counts; without one, the run cannot be resumed."""
    later = replace(ENVIRONMENT, facts={"kernel": "6.13"})
    assert made_with(written(path, later))[1] == later
    path.unlink()
    with Journal(path) as opened:
        opened.write(first([RULE], CASES))
    with pytest.raises(RunError, match="does not say what the run was made with"):
        made_with(path)


@pytest.mark.parametrize("name", ["kernel", "suite digest", "driver srcversion", "server digest", "rule set"])
def test_changes(name: str) -> None:
    """Everything that may affect a verdict is reported if it has changed, is missing or is new."""
    assert changes({name: "a", "host name": "x"}, {name: "b", "host name": "y"}) == [f"{name}: a; now b"]
    assert changes({name: "a"}, {}) == [f"{name}: a; now unknown"]
    assert changes({}, {name: "b"}) == [f"{name}: unknown; now b"]
    assert changes({name: "a"}, {name: "a", "package pytest": "9"}) == []


# -- folders ----------------------------------------------------------------------------------------------------------


def test_two_runs_into_one_folder(tmp_path: Path) -> None:
    """The second one is refused; once the first has ended, the folder is free."""
    with folders.claimed(tmp_path / "out"), pytest.raises(folders.FolderError, match="another run uses it"):
        folders.claimed(tmp_path / "out").__enter__()
    with folders.claimed(tmp_path / "out"):
        pass


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    """It is refused."""
    (tmp_path / "out").touch()
    with pytest.raises(folders.FolderError, match=r"out: File exists; name another folder with --out"):
        folders.claimed(tmp_path / "out").__enter__()


def test_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of killed runs are removed; those of running ones, links and files are not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed, other, target = tmp_path / f"{folders.PREFIX}killed", tmp_path / "other", tmp_path / "target"
    for each in (killed, other, target):
        each.mkdir()
        (each / "file").touch()
    (tmp_path / f"{folders.PREFIX}link").symlink_to(target)
    (tmp_path / f"{folders.PREFIX}file").touch()
    with folders.scratch() as (living, _):
        assert not killed.exists()
        assert folders.remove_leftovers() == []
        assert living.is_dir()
    assert not living.exists()
    assert (other / "file").exists()
    assert (target / "file").exists()


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "left_out"),
    [(["p.yaml"], "profile"), (["--seed=1"], "--seed"), (["--keep-data"], "--keep-data")],
    ids=str,
)
def test_a_run_is_resumed_as_it_began(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], left_out: str
) -> None:
    """Other options are refused."""
    assert main(["run", *words, "--resume", str(tmp_path)]) == 2
    assert f"leave out {left_out}" in capsys.readouterr().err


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a run is refused."""
    assert main(["run", "--resume", str(tmp_path)]) == 2
    assert "journal.jsonl: No such file or directory" in capsys.readouterr().err


def test_elsewhere(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Paths in a run are relative to the folder where it was started."""
    written(path, *passed(ONE), closed=False)
    assert main(["run", "--resume", str(tmp_path)]) == 2
    assert "the run was started in /work: go there first" in capsys.readouterr().err


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for temporary files with a path short enough for sockets."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize(("records", "rounds"), [(25, 1), (55, 3)])
def test_killed(tmp_path: Path, project: Path, short_folder: Path, records: int, rounds: int) -> None:
    """kill -9 of the watching process shows in the journal; once resumed, each round has each verdict once."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vfio_compliance", "run"]
    keys: dict[str, Any] = {
        "cwd": project,
        "stdout": subprocess.DEVNULL,
        "env": {**os.environ, "TMPDIR": str(short_folder)},
    }
    only = ["--only=v1.reserved", "--only=v1.reset.accepted", f"--repeat={rounds}"]
    with subprocess.Popen([*command, "profiles/reference.yaml", f"--out={out}", *only], **keys) as killed:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and killed.poll() is None:
            if (out / journal.NAME).exists() and (out / journal.NAME).read_bytes().count(b"\n") >= records:
                break
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # the test process notices, and closes the device
        try:
            with folders.claimed(out):
                break
        except folders.FolderError:
            time.sleep(0.1)
    result = summarise(journal.read(out / journal.NAME))
    assert result.stops[0].remedy == journal.GO_ON
    assert subprocess.run([*command, "--resume", str(out)], **keys, check=False).returncode == 0
    lines = [line for line in journal.read(out / journal.NAME) if isinstance(line, journal.Recorded)]
    ends = Counter(line.event.case for line in lines if isinstance(line.event, End))
    result = summarise(journal.read(out / journal.NAME))
    assert ends == dict.fromkeys((case.id for case in result.cases.values()), rounds)
    assert {case.round for case in result.cases.values()} == {*range(1, rounds + 1)}
    assert {case.verdict for case in result.cases.values()} == {Verdict.PASS}
    assert result.stops == []
    assert [*short_folder.iterdir()] == []
