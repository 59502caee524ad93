# SPDX-License-Identifier: GPL-2.0-only
"""`index`: many runs on one page, links to their reports, and files that cannot be read or written."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from hostile import HOSTILE, hostile_run
from pages import by_id, cells, part, text, tree
from pages import links as links_in
from stories import NOON, ended, run_of, timed, written

from vfio_compliance.cli.main import main
from vfio_compliance.results import journal
from vfio_compliance.results.merging import merged, named
from vfio_compliance.results.setting import JudgedProfile
from vfio_compliance.results.writers.html.index import Linked, render


def recorded(folder: Path, *verdicts: str, kernel: str = "Linux 6", profile: str = "gpu") -> Path:
    """A folder with a run in which the rules a, b and so on have these verdicts."""
    folder.mkdir(parents=True)
    ends = [ended(letter, verdict) for letter, verdict in zip("abc", verdicts, strict=False)]
    records = run_of(*ends, kernel=kernel, profile=JudgedProfile("p.yaml", profile, "0" * 64))
    (folder / journal.NAME).write_bytes(written((NOON, event) for _, event in timed(records)))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two that differ on rule b."""
    good = recorded(tmp_path / "runs" / "good", "pass", "pass", "n/a")
    return [good, recorded(tmp_path / "runs" / "bad one", "pass", "fail", "n/a", kernel="Linux 7")]


def page(file: Path) -> Element:
    """The page as a tree."""
    return tree(file.read_text(encoding="utf-8"))


def test_rules_by_runs(runs: list[Path], tmp_path: Path) -> None:
    """Rules that differ come first, then those that agree, then those that pass; the exit code is the worst of all."""
    out = tmp_path / "index.html"
    assert main(["index", *map(str, runs), "--out", str(out)]) == 1
    rows = [cells(row) for row in part(page(out), "rules").iter("tr")]
    assert rows == [
        ["", "gpu"],
        ["Rule", "6", "7"],
        ["The runs differ: 1 rule"],
        ["v1.bIt does one thing.", "✓ pass", "✗ fail"],
        ["The same in all runs: 1 rule"],
        ["v1.cIt does one thing.", "- n/a", "- n/a"],
        ["Pass in all runs: 1 rule"],
        ["v1.aIt does one thing.", "✓ pass", "✓ pass"],
    ]


def test_links_lead_to_the_reports(runs: list[Path], tmp_path: Path) -> None:
    """Relative to the page, to each rule in them, even if a folder's name must be escaped in an address."""
    out = tmp_path / "pages" / "index.html"
    main(["index", str(tmp_path / "runs"), "--out", str(out), "--reports"])
    links = links_in(by_id(page(out), "v1.b"))
    assert links == ["#v1.b", "../runs/bad%20one/report.html#v1.b", "../runs/good/report.html#v1.b"]
    for link in links[1:]:
        place, _, rule = link.partition("#")
        by_id(page(out.parent / urllib.parse.unquote(place)), rule)


def test_only_existing_reports_are_linked(runs: list[Path], tmp_path: Path) -> None:
    """Without --reports, none is written."""
    out = tmp_path / "index.html"
    (runs[0] / "report.html").write_text("here")
    main(["index", *map(str, runs), "--out", str(out)])
    links = links_in(by_id(page(out), "v1.b"))
    assert links == ["#v1.b", "runs/good/report.html#v1.b"]
    assert (runs[0] / "report.html").read_text() == "here"
    assert not (runs[1] / "report.html").exists()


def test_the_report_of_a_journal_and_of_a_bundle(runs: list[Path], tmp_path: Path) -> None:
    """Beside the journal; beside the bundle, with the bundle's name."""
    bundle = tmp_path / "lab.tar.gz"
    assert main(["bundle", str(runs[0]), "--output", str(bundle)]) == 0
    out = tmp_path / "index.html"
    assert main(["index", str(runs[0] / journal.NAME), str(bundle), "--out", str(out), "--reports"]) == 0
    links = [each.get("href") for each in by_id(page(out), "v1.a").iter("a")]
    assert links == ["#v1.a", "runs/good/report.html#v1.a", "lab.tar.gz.html#v1.a"]


def test_a_run_that_cannot_be_read_is_named(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the page and on stderr; the other runs are on the page."""
    out = tmp_path / "index.html"
    (runs[1] / journal.NAME).write_text('{"event":"run","format":2}\n')
    assert main(["index", *map(str, runs), str(tmp_path / "none"), "--out", str(out)]) == 2
    messages = capsys.readouterr().err
    assert "a journal of format 2; this program reads format 3" in messages
    assert messages.count("\n") == 2
    section = text(part(page(out), "runs"))
    assert "a journal of format 2; this program reads format 3" in section
    assert "none: No such file or directory" in section


def test_a_page_that_cannot_be_written(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says so."""
    (tmp_path / "file").touch()
    assert main(["index", str(runs[0]), "--out", str(tmp_path / "file" / "index.html")]) == 2
    assert "the page was not written" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["runs/good", f"runs/good/{journal.NAME}"])
def test_a_page_replaces_no_run(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Neither a folder nor a journal is overwritten."""
    before = (runs[0] / journal.NAME).read_bytes()
    assert main(["index", str(runs[0]), "--out", str(tmp_path / name)]) == 2
    assert "the page cannot have that name" in capsys.readouterr().err
    assert (runs[0] / journal.NAME).read_bytes() == before


def test_a_report_that_cannot_be_written_is_reported(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is made without it."""
    (runs[0] / "report.html").mkdir()
    out = tmp_path / "index.html"
    assert main(["index", *map(str, runs), "--out", str(out), "--reports"]) == 1
    assert "the html report was not written" in capsys.readouterr().err
    assert (runs[1] / "report.html").exists()


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_devices(name: str) -> None:
    """Their names are plain text in the page."""
    runs = named([merged(HOSTILE[name], hostile_run(HOSTILE[name])), merged("good", hostile_run("good"))])
    written = render([Linked(run, "a/report.html") for run in runs], [HOSTILE[name]])
    found = tree(written)
    assert len(list(found.iter("script"))) == 1
    assert {letter for letter in written if letter != "\n" and not letter.isprintable()} == set()
    assert {link.partition("#")[0] for link in links_in(found)} == {"", "a/report.html"}
