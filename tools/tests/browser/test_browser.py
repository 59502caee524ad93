# SPDX-License-Identifier: GPL-2.0-only
"""Pages in a real browser, as a reader has them: narrow and wide, light and dark, on paper, by keyboard and by address.

`tox run -e browser` installs what this needs beside Chromium, Node.js and npm. VFIO_PICTURES names a folder for what
was shown, to be looked at.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE
from stories import NOON, ended, run_of, timed, written

from vfio_compliance.cli.main import main
from vfio_compliance.results import journal
from vfio_compliance.results.events import Event

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Why there is no browser here.
MISSING = "" if CHROMIUM else "there is no Chromium"
if not MISSING and not (HERE / "node_modules").is_dir():
    MISSING = f"there is no {HERE / 'node_modules'}: npm ci makes it"

if MISSING and "VFIO_BROWSER" not in os.environ:
    pytest.skip(f"no page is looked at: {MISSING}; tox run -e browser", allow_module_level=True)

pytestmark = pytest.mark.timeout(300)


def node(script: str, *words: str) -> Any:
    """What a script here prints."""
    assert not MISSING, MISSING
    command = ["node", str(HERE / script), str(CHROMIUM), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def address(file: Path) -> str:
    """Of a file, for a browser."""
    return file.absolute().as_uri()


def story(folder: Path, *events: Event, **run: Any) -> Path:
    """A folder with a run of these events."""
    folder.mkdir()
    (folder / journal.NAME).write_bytes(written((NOON, event) for _, event in timed(run_of(*events, **run))))
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages are."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def good(folder: Path, project: Path) -> Path:
    """The page of a whole run of the reference driver."""
    return judged(folder / "good", project)


@pytest.fixture(scope="session")
def broken(folder: Path, project: Path) -> Path:
    """That of one that is broken."""
    options = ("--defect", "reserved-garbage", "--only", "v1.reserved", "--only", "v1.state", "--only", "v1.transition")
    return judged(folder / "broken", project, *options)


def judged(out: Path, project: Path, *options: str) -> Path:
    """The page that a run writes."""
    page = out / "report.html"
    profile = str(project / "profiles" / "reference.yaml")
    main(["run", profile, "--out", str(out), "--quiet", "--report", f"html={page}", *options])
    return page


@pytest.fixture(scope="session")
def thousand(folder: Path) -> Path:
    """The page of a run with a thousand rules that failed, and two thousand cases."""
    cases = [ended(f"r{number}[{case}]", "fail", seen="no") for number in range(1000) for case in "ab"]
    return reported(story(folder / "thousand", *cases))


@pytest.fixture(scope="session")
def hostile(folder: Path) -> Path:
    """The page of a device that says all that it should not."""
    everything = "".join(HOSTILE.values()).encode("utf-8", "backslashreplace").decode()
    events = [ended("a[1]", "fail", what=everything, expected=everything, seen=everything), ended("b", "pass")]
    return reported(story(folder / "hostile", *events, description=everything, device={"product": everything}))


@pytest.fixture(scope="session")
def index(folder: Path, good: Path, broken: Path) -> Path:
    """The page of both runs."""
    page = folder / "index.html"
    main(["index", str(good.parent), str(broken.parent), "--out", str(page)])
    return page


def reported(run: Path) -> Path:
    """The page of a run."""
    page = run / "report.html"
    main(["report", str(run), "--format", "html", "--output", str(page)])
    return page


#: The pages, and how wide the window is; with a thousand failures axe takes its time.
WIDTHS = ("380", "900", "1400")
PAGES = {"good": WIDTHS, "broken": WIDTHS, "thousand": WIDTHS[:1], "hostile": WIDTHS, "index": WIDTHS}


@pytest.mark.parametrize("name", PAGES)
def test_looked_at(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, report_line: Callable[[str], None]
) -> None:
    """Nothing is wider than the window, axe has no complaint, nothing is fetched, and there is something to print."""
    page = request.getfixturevalue(name)
    folder = Path(os.environ.get("VFIO_PICTURES", tmp_path)) / name
    folder.mkdir(parents=True, exist_ok=True)
    widths = PAGES[name]
    found = node("look.mjs", address(page), str(folder), *widths)
    assert [view for view in found["views"] if view["overflow"] > 0 or view["complaints"]] == []
    assert len(found["views"]) == 2 * len(widths)
    assert found["fetched"] == [address(page)]
    assert found["errors"] == []
    assert (folder / "page.pdf").read_bytes().startswith(b"%PDF")
    report_line(f"{name}: {page.stat().st_size / 1024:.0f} KiB, in the browser after {found['milliseconds']:.0f} ms")


def test_html_is_valid(good: Path, broken: Path, hostile: Path, index: Path) -> None:
    """By html-validate, with its recommended rules."""
    assert not MISSING, MISSING
    program = HERE / "node_modules" / ".bin" / "html-validate"
    command = [*map(str, (program, "--config", HERE / "htmlvalidate.json", good, broken, hostile, index))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def used(*steps: Sequence[Any]) -> list[Any]:
    """What was seen after each step."""
    found = node("use.mjs", json.dumps(steps))
    assert found["errors"] == []
    return list(found["views"])


def test_filters_show_what_was_asked_for(broken: Path) -> None:
    """Verdict, level, words; the address has them, and leads to the same rows again."""
    opened, failed, words, again, cleared = used(
        ["open", address(broken)],
        ["choose", "verdict", "fail"],
        ["type", "words", "RESERVED reads"],
        ["open", f"{address(broken)}#verdict=fail&words=reserved+reads"],
        ["click", "#filter button"],
    )
    assert len(opened["rows"]) > 20
    assert failed["rows"] == words["rows"] == again["rows"] == ["v1.reserved.reads-zero"]
    assert words["count"] == f"1 of {len(opened['rows'])} rules"
    assert words["address"].endswith("#verdict=fail&words=RESERVED+reads")
    assert cleared["rows"] == opened["rows"]
    assert cleared["address"].endswith("#rules")


def test_all_but_pass(broken: Path) -> None:
    """And a word that no rule has; an unknown value in the address asks for nothing."""
    other, nothing, unknown = used(
        ["open", f"{address(broken)}#verdict=!pass"],
        ["type", "words", "no such word"],
        ["open", f"{address(broken)}#verdict=perhaps&level=must"],
    )
    assert "v1.reserved.reads-zero" in other["rows"]
    assert "v1.reserved.ignores-writes" not in other["rows"]
    assert nothing["rows"] == []
    assert "v1.reserved.ignores-writes" in unknown["rows"]


def test_a_rule_has_an_address(broken: Path) -> None:
    """It leads to the rule's row, also from a failure, and shows a row that was filtered away."""
    opened, failure, hidden = used(
        ["open", f"{address(broken)}#v1.reserved.ignores-writes"],
        ["click", ".failure h3 a"],
        ["open", f"{address(broken)}#verdict=fail"],
    )
    assert (opened["target"], opened["targetInView"]) == ("v1.reserved.ignores-writes", True)
    assert (failure["target"], failure["targetInView"]) == ("v1.reserved.reads-zero", True)
    assert "v1.reserved.ignores-writes" not in hidden["rows"]
    _, shown = used(
        ["open", f"{address(broken)}#verdict=fail"], ["open", f"{address(broken)}#v1.reserved.ignores-writes"]
    )
    assert (shown["target"], shown["targetInView"]) == ("v1.reserved.ignores-writes", True)


def test_the_index_leads_to_the_report(index: Path) -> None:
    """By a click on a verdict to the rule in that run, and back to the same rows."""
    _, filtered, followed, back = used(
        ["open", address(index)],
        ["type", "words", "reserved"],
        ["click", "tr[id='v1.reserved.reads-zero'] td a"],
        ["back"],
    )
    assert followed["address"].endswith("/report.html#v1.reserved.reads-zero")
    assert followed["targetInView"]
    assert back["rows"] == filtered["rows"] != []


def test_by_keyboard_and_on_paper(good: Path) -> None:
    """The first stop leads past the top; one press of a button prints."""
    _, stop, _, printed = used(["open", address(good)], ["press", "Tab"], ["press", "Enter"], ["click", "#print"])
    assert stop["focus"] == "Skip to the content"
    assert printed["printed"] == "yes"
