# SPDX-License-Identifier: GPL-2.0-only
"""Pages in a real browser, as readers use them: narrow and wide, light and dark, printed, by keyboard and by address.

`tox run -e browser` installs what this needs in addition to Chromium, Node.js and npm. VFIO_PICTURES names a folder for
screenshots.
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

#: Why no browser can be used.
MISSING = "" if CHROMIUM else "there is no Chromium"
if not MISSING and not (HERE / "node_modules").is_dir():
    MISSING = f"there is no {HERE / 'node_modules'}: npm ci makes it"

if MISSING and "VFIO_BROWSER" not in os.environ:
    pytest.skip(f"pages are not tested: {MISSING}; tox run -e browser", allow_module_level=True)

pytestmark = pytest.mark.timeout(300)


def node(script: str, *words: str) -> Any:
    """The JSON that a script of this folder prints."""
    assert not MISSING, MISSING
    command = ["node", str(HERE / script), str(CHROMIUM), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def address(file: Path) -> str:
    """A file's address for a browser."""
    return file.absolute().as_uri()


def recorded(folder: Path, *events: Event, **run: Any) -> Path:
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
    """The page of a run of a broken driver."""
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
    return reported(recorded(folder / "thousand", *cases))


@pytest.fixture(scope="session")
def hostile(folder: Path) -> Path:
    """The page of a device whose every text is hostile."""
    everything = "".join(HOSTILE.values()).encode("utf-8", "backslashreplace").decode()
    events = [ended("a[1]", "fail", what=everything, expected=everything, seen=everything), ended("b", "pass")]
    return reported(recorded(folder / "hostile", *events, description=everything, device={"product": everything}))


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


#: The pages, and the widths of the window. With a thousand failures, axe is slow.
WIDTHS = ("380", "900", "1400")
PAGES = {"good": WIDTHS, "broken": WIDTHS, "thousand": WIDTHS[:1], "hostile": WIDTHS, "index": WIDTHS}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_sound(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, report_line: Callable[[str], None]
) -> None:
    """Nothing is wider than the window, axe does not complain, nothing is fetched, and the page can be printed."""
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
    """According to html-validate, with its recommended rules."""
    assert not MISSING, MISSING
    program = HERE / "node_modules" / ".bin" / "html-validate"
    command = [*map(str, (program, "--config", HERE / "htmlvalidate.json", good, broken, hostile, index))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def views(*steps: Sequence[Any]) -> list[Any]:
    """The view after each step."""
    found = node("use.mjs", json.dumps(steps))
    assert found["errors"] == []
    return list(found["views"])


def test_filters(broken: Path) -> None:
    """By verdict and by words; the address records them, and leads to the same rows again."""
    opened, failed, words, again, cleared = views(
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


def test_filters_that_exclude_or_match_nothing(broken: Path) -> None:
    """All verdicts but one, a word in no rule, and an unknown value in the address, which does not filter."""
    other, nothing, unknown = views(
        ["open", f"{address(broken)}#verdict=!pass"],
        ["type", "words", "no such word"],
        ["open", f"{address(broken)}#verdict=perhaps&level=must"],
    )
    assert "v1.reserved.reads-zero" in other["rows"]
    assert "v1.reserved.ignores-writes" not in other["rows"]
    assert nothing["rows"] == []
    assert "v1.reserved.ignores-writes" in unknown["rows"]


def test_a_rule_has_an_address(broken: Path) -> None:
    """It leads to the rule's row, also from a failure, and shows a row that a filter had hidden."""
    opened, failure, hidden = views(
        ["open", f"{address(broken)}#v1.reserved.ignores-writes"],
        ["click", ".failure h3 a"],
        ["open", f"{address(broken)}#verdict=fail"],
    )
    assert (opened["target"], opened["targetInView"]) == ("v1.reserved.ignores-writes", True)
    assert (failure["target"], failure["targetInView"]) == ("v1.reserved.reads-zero", True)
    assert "v1.reserved.ignores-writes" not in hidden["rows"]
    _, shown = views(
        ["open", f"{address(broken)}#verdict=fail"], ["open", f"{address(broken)}#v1.reserved.ignores-writes"]
    )
    assert (shown["target"], shown["targetInView"]) == ("v1.reserved.ignores-writes", True)


def test_the_index_leads_to_the_report(index: Path) -> None:
    """A click on a verdict leads to the rule in that run, and Back to the same rows."""
    _, filtered, followed, back = views(
        ["open", address(index)],
        ["type", "words", "reserved"],
        ["click", "tr[id='v1.reserved.reads-zero'] td a"],
        ["back"],
    )
    assert followed["address"].endswith("/report.html#v1.reserved.reads-zero")
    assert followed["targetInView"]
    assert back["rows"] == filtered["rows"] != []


def test_keyboard_and_printing(good: Path) -> None:
    """The first Tab reaches a link to the content; one click on a button prints."""
    _, stop, _, printed = views(["open", address(good)], ["press", "Tab"], ["press", "Enter"], ["click", "#print"])
    assert stop["focus"] == "Skip to the content"
    assert printed["printed"] == "yes"
