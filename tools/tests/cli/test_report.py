# SPDX-License-Identifier: GPL-2.0-only
"""`report`, `run --report`, `diff`, `merge`: formats, files, exit codes, and files that cannot be written or read."""

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
def kept(tmp_path: Path) -> Path:
    """A run in which the rule was kept."""
    return recorded(tmp_path / "kept")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A run in which the rule was broken."""
    return recorded(tmp_path / "broken", "fail")


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_printed(kept: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """As the writer makes it, with the exit code of the run."""
    assert main(["report", str(kept), "--format", name]) == 0
    assert capsys.readouterr().out == render(name, opened(kept))


@pytest.mark.parametrize("name", FORMATS)
def test_output(broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A file readable only by its owner, in a folder that is created; nothing is printed."""
    file = tmp_path / "new" / "report"
    assert main(["report", str(broken), "--format", name, "--output", str(file)]) == 1
    assert file.read_text(encoding="utf-8") == render(name, opened(broken))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*file.parent.iterdir()] == [file]
    assert capsys.readouterr() == ("", "")


def test_output_replaces_an_older_file(kept: Path, tmp_path: Path) -> None:
    """As a whole."""
    file = tmp_path / "report"
    file.write_text("older " * 10_000)
    assert main(["report", str(kept), "--format", "ktap", "--output", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == render("ktap", opened(kept))


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file/report", "Not a directory|File exists"),
        ("folder", "Is a directory"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_output_that_cannot_be_written(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, why: str
) -> None:
    """The message has the file and the reason; nothing is left behind."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    before = {*tmp_path.iterdir()}
    assert main(["report", str(kept), "--output", str(tmp_path / place)]) == 2
    message = capsys.readouterr().err
    assert re.fullmatch(rf"vfio-compliance: \S+: ({why}): the terminal report was not written\n", message)
    assert {*tmp_path.iterdir()} == before


def test_unknown_format(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists the formats, and suggests one."""
    with pytest.raises(SystemExit) as ended:
        main(["report", str(kept), "--format", "junti"])
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
    """The given ones, and report.txt in the folder; one that cannot be written affects only the exit code."""
    out, xml, nothing = tmp_path / "out", tmp_path / "a" / "it.xml", "/dev/full"
    command = [sys.executable, "-m", "vfio_compliance", "run", str(project / "profiles" / "reference.yaml")]
    command += ["--out", str(out), "--only", "RES-01", "--report", f"junit={xml}", "--report", f"json={nothing}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"vfio-compliance: {nothing}: No space left on device: the json report was not written"
    )
    assert f"vfio-compliance report {out} --format json --out FILE" in done.stderr
    assert "SELECTION by plan" in (out / reports.NAME).read_text(encoding="utf-8")
    assert 'classname="v1.reserved.reads-zero"' in xml.read_text(encoding="utf-8")
    assert json.loads(render("json", opened(out)))["verdict"]["exit_code"] == 0


@pytest.mark.parametrize(("runs", "code"), [(("pass", "pass"), 0), (("pass", "fail"), 1), (("fail", "pass"), 0)])
def test_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: tuple[str, str], code: int) -> None:
    """Exit code 1 if something got worse; a run is named by its folder or its journal."""
    places = [recorded(tmp_path / f"{number}", verdict) for number, verdict in enumerate(runs)]
    assert main(["diff", str(places[0]), str(places[1] / journal.NAME)]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith("WORSE" if code else "NOT WORSE")


@pytest.mark.parametrize("missing", [0, 1])
def test_diff_without_a_run(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: int) -> None:
    """The file that is missing is named, exit code 2."""
    places = [str(kept), str(kept)]
    places[missing] = str(tmp_path / "none")
    assert main(["diff", *places]) == 2
    assert capsys.readouterr().err == f"vfio-compliance: {places[missing]}: No such file or directory\n"


def test_merge(kept: Path, broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of folders, journals and bundles; the exit code is the worst of all."""
    packed = tmp_path / "kept.tar.gz"
    assert main(["bundle", str(kept), "--output", str(packed)]) == 0
    assert main(["merge", str(kept / journal.NAME), str(packed)]) == 0
    assert main(["merge", str(kept), str(broken)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: exit code 1"


def test_merge_of_a_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All runs below it, by name; a folder without runs is an error."""
    for name in ("b", "a"):
        (tmp_path / "all" / name).mkdir(parents=True)
        recorded(tmp_path / "all" / name / "p")
    assert main(["merge", str(tmp_path / "all")]) == 0
    names = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("  run ")]
    assert names == [str(tmp_path / "all" / name / "p") for name in ("a", "b")]
    (tmp_path / "empty").mkdir()
    assert main(["merge", str(tmp_path / "empty")]) == 2
    assert (
        capsys.readouterr().err == f"vfio-compliance: {tmp_path / 'empty' / journal.NAME}: No such file or directory\n"
    )


def test_merge_with_unreadable_runs(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line on each, with the cause, and exit code 2; the other runs are shown."""
    none, junk = tmp_path / "none", tmp_path / "junk"
    junk.write_bytes(b"\x1f\x8bjunk")
    assert main(["merge", str(none), str(kept), str(junk)]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "3 runs, 2 not readable: exit code 2"
    assert f"  run      {kept}\n" in out
    assert err.splitlines()[0] == f"vfio-compliance: {none}: No such file or directory"
    assert re.fullmatch(rf"vfio-compliance: {junk}: \S.*", err.splitlines()[1])
    assert len(err.splitlines()) == 2
    assert main(["merge", str(none)]) == 2
    assert capsys.readouterr() == ("", f"vfio-compliance: {none}: No such file or directory\n")


def test_report_to_a_pipe(kept: Path, tmp_path: Path) -> None:
    """A pipe is written to, not replaced."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        assert main(["report", str(kept), "--format", "ktap", "--output", str(pipe)]) == 0
        assert reader.communicate(timeout=20)[0] == render("ktap", opened(kept))
    assert pipe.is_fifo()
