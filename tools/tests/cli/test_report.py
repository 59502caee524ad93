# SPDX-License-Identifier: GPL-2.0-only
"""`report`, `run --report` and `diff`: formats, files, exit codes, and what cannot be written or read."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from stories import NOON, RULE, first, written

from vfio_compliance.bundle.opening import opened
from vfio_compliance.cli.main import main
from vfio_compliance.results import journal, reports
from vfio_compliance.results.events import End, Event, Finish, Plan
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers import FORMATS, render

FORMATS_IN_WORDS = "terminal, json, junit, ktap, kcidb, markdown, html"


def recorded(folder: Path, verdict: str = "pass") -> Path:
    """A folder with a run of one case."""
    folder.mkdir()
    failure = None if verdict == "pass" else Failure("doing it", "this", "that")
    events: list[Event] = [
        first([RULE], {"c": RULE.id}),
        Plan((("c", RULE.id),)),
        End("c", RULE.id, Verdict(verdict), 0.1, failure, {}, ()),
        Finish(calls=1, opens=1, resets=1, bytes_read=1, bytes_written=1, passes=0),
    ]
    (folder / journal.NAME).write_bytes(written((NOON, event) for event in events))
    return folder


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """A run in which the rule held."""
    return recorded(tmp_path / "held")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A run in which the rule was broken."""
    return recorded(tmp_path / "broken", "fail")


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_printed(held: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The same that the writer makes; exit code of the run."""
    assert main(["report", str(held), "--format", name]) == 0
    assert capsys.readouterr().out == render(name, opened(held))


@pytest.mark.parametrize("name", FORMATS)
def test_output(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A file for its owner alone, in a folder that is made; nothing is printed."""
    file = tmp_path / "new" / "report"
    assert main(["report", str(broken), "--format", name, "--output", str(file)]) == 1
    assert file.read_text(encoding="utf-8") == render(name, opened(broken))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*file.parent.iterdir()] == [file]
    assert capsys.readouterr() == ("", "")


def test_output_takes_the_place_of_an_older_one(held: Path, tmp_path: Path) -> None:
    """All of it, or nothing."""
    file = tmp_path / "report"
    file.write_text("older " * 10_000)
    assert main(["report", str(held), "--format", "ktap", "--output", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == render("ktap", opened(held))


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file/report", "Not a directory|File exists"),
        ("folder", "Is a directory"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_output_that_cannot_be_written(
    held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, why: str
) -> None:
    """The file and the reason, exit code 2; nothing is left behind."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = {*tmp_path.iterdir()}
    assert main(["report", str(held), "--output", str(tmp_path / place)]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(rf"vfio-compliance: \S+: ({why}): the terminal report was not written\n", said)
    assert {*tmp_path.iterdir()} == before


def test_unknown_format(held: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is met with those that there are, and what was meant."""
    with pytest.raises(SystemExit) as ended:
        main(["report", str(held), "--format", "junti"])
    assert ended.value.code == 2
    assert f"(choose from {FORMATS_IN_WORDS}); did you mean `junit`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "junti=a.xml",
            "'junti=a.xml' does not begin with terminal=, json=, junit=, ktap=, kcidb=, markdown= or html=",
        ),
        ("junit", "'junit' names no file"),
        ("junit=", "'junit=' names no file"),
        ("junit=/", "'junit=/' names no file"),
    ],
)
def test_run_refuses_a_report(capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    """Before anything is run."""
    with pytest.raises(SystemExit) as ended:
        main(["run", "profiles/reference.yaml", "--report", text])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_run_refuses_one_file_for_two_reports(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them would be lost."""
    file = tmp_path / "x"
    words = [word for name in ("junit", "ktap") for word in ("--report", f"{name}={file}")]
    assert main(["run", str(project / "profiles" / "reference.yaml"), *words]) == 2
    assert capsys.readouterr().err == "vfio-compliance: --report names one file twice\n"


def test_run_writes_reports(project: Path, tmp_path: Path) -> None:
    """Those that were asked for, and the text in the folder; one that cannot be written spoils the exit code only."""
    out, xml, nothing = tmp_path / "out", tmp_path / "a" / "it.xml", "/dev/full"
    command = [sys.executable, "-m", "vfio_compliance", "run", str(project / "profiles" / "reference.yaml")]
    command += ["--out", str(out), "--only", "RES-01", "--report", f"junit={xml}", "--report", f"json={nothing}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"vfio-compliance: {nothing}: No space left on device: the json report was not written"
    )
    assert f"vfio-compliance report {out} --format json --output FILE" in done.stderr
    assert "SELECTION by plan" in (out / reports.NAME).read_text(encoding="utf-8")
    assert 'classname="v1.reserved.reads-zero"' in xml.read_text(encoding="utf-8")
    assert json.loads(render("json", opened(out)))["verdict"]["exit_code"] == 0


@pytest.mark.parametrize(("runs", "code"), [(("held", "held"), 0), (("held", "broken"), 1), (("broken", "held"), 0)])
def test_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: tuple[str, str], code: int) -> None:
    """1 where something got worse; a run is named by its folder or its journal."""
    places = [recorded(tmp_path / f"{number}", "pass" if run == "held" else "fail") for number, run in enumerate(runs)]
    assert main(["diff", str(places[0]), str(places[1] / journal.NAME)]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith("WORSE" if code else "NOT WORSE")


@pytest.mark.parametrize("missing", [0, 1])
def test_diff_of_what_is_no_run(held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: int) -> None:
    """The file that is missing is named, exit code 2."""
    places = [str(held), str(held)]
    places[missing] = str(tmp_path / "none")
    assert main(["diff", *places]) == 2
    assert capsys.readouterr().err == f"vfio-compliance: {places[missing]}: No such file or directory\n"


def test_merge(held: Path, broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folder, journal and bundle alike; the exit code is the worst of all."""
    packed = tmp_path / "held.tar.gz"
    assert main(["bundle", str(held), "--output", str(packed)]) == 0
    assert main(["merge", str(held / journal.NAME), str(packed)]) == 0
    assert main(["merge", str(held), str(broken)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: exit code 1"


def test_merge_of_a_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that are below it, by their names; one that has none is no run."""
    for name in ("b", "a"):
        (tmp_path / "all" / name).mkdir(parents=True)
        recorded(tmp_path / "all" / name / "p")
    assert main(["merge", str(tmp_path / "all")]) == 0
    told = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("  run ")]
    assert told == [str(tmp_path / "all" / name / "p") for name in ("a", "b")]
    (tmp_path / "empty").mkdir()
    assert main(["merge", str(tmp_path / "empty")]) == 2
    assert (
        capsys.readouterr().err == f"vfio-compliance: {tmp_path / 'empty' / journal.NAME}: No such file or directory\n"
    )


def test_merge_of_what_cannot_be_read(held: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line on each, with the cause, and exit code 2; the others are shown."""
    none, junk = tmp_path / "none", tmp_path / "junk"
    junk.write_bytes(b"\x1f\x8bjunk")
    assert main(["merge", str(none), str(held), str(junk)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "3 runs, 2 not readable: exit code 2"
    assert f"  run      {held}\n" in out
    assert err.splitlines()[0] == f"vfio-compliance: {none}: No such file or directory"
    assert re.fullmatch(rf"vfio-compliance: {junk}: \S.*", err.splitlines()[1])
    assert len(err.splitlines()) == 2
    assert main(["merge", str(none)]) == 2
    assert capsys.readouterr() == ("", f"vfio-compliance: {none}: No such file or directory\n")


def test_report_to_a_pipe(held: Path, tmp_path: Path) -> None:
    """What is no file of its own is written to, not replaced."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        assert main(["report", str(held), "--format", "ktap", "--output", str(pipe)]) == 0
        assert reader.communicate(timeout=20)[0] == render("ktap", opened(held))
    assert pipe.is_fifo()
