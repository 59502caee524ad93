# SPDX-License-Identifier: GPL-2.0-only
"""Explorations of the reference device: of the good one, and of ones that are broken, hang or die."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from vfio_compliance import profiles
from vfio_compliance.device import Device
from vfio_compliance.interfaces import INTERFACES
from vfio_compliance.migration_v1.exploration.explorer import Explorer, Finding, Tally
from vfio_compliance.migration_v1.exploration.threads import Threads
from vfio_compliance.migration_v1.migration import Migration
from vfio_compliance.results import journal
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.run.exploring import Line
from vfio_compliance.run.session import Session
from vfio_compliance.sections import PROFILE

WALK = "stress.walk.answers-allowed"

#: Defects, which the model does not know, with what the last line shows: did, expected, seen.
FOUND = {
    "state-latched-after-failure": ("-> ", "success", "EIO"),
    "second-offset-refused": ("read data_offset", "0x", "EINVAL"),
    "early-leave-wedges": ("read device_state", "", "invalid 101b"),
    "pre-copy-must-drain": ("pre-copy -> stop-and-copy", "success", "EBUSY"),
    "data-offset-writable": ("read data_offset", "0x", "0x"),
    "reset-keeps-error": ("read device_state", "running", "error"),
    "bitmap-not-cleared": ("fetch the bitmap of page", "no other", "dirty"),
    "close-keeps-mappings": ("map page", "success", "EEXIST"),
    "close-needs-stop": ("read device_state", "running", ""),
}

#: Defects that need a second migration.
FOUND_LATER = {
    "left-cancelled-kept": ("look at the visible state", "as before", "0x"),
    "resume-again-ignored": ("look at the visible state", "as before", "0x"),
}

#: Explores as a user would; returns the result, if there is one, and the output.
Run: TypeAlias = Callable[..., tuple[Summary | None, str]]

LONGEST, LONGER = 10, 30


def explore(path: Path, seconds: int, *defects: str, seed: int = 1, most: int = 1) -> tuple[list[Finding], Tally]:
    """At most ``most`` findings, and the counts of steps."""
    session = Session(profiles.load(path, PROFILE), defects, INTERFACES)
    session.start()
    try:
        explorer = Explorer(session.of(Migration), seed, lambda steps: None)
        return explorer.explore(seconds, shortening=80, most=most), explorer.tally
    finally:
        session.finish()


def ends_with(finding: Finding, shows: Sequence[str]) -> None:
    """The last line of the path has these parts."""
    assert all(part in text for part, text in zip(shows, finding.lines[-1], strict=True)), finding.lines[-1]


@pytest.mark.parametrize("name", FOUND)
def test_defect_is_found_by_a_short_path(target: Path, name: str) -> None:
    """It has at most ten steps, and fails again when it is repeated."""
    (finding,), _ = explore(target, 30, name)
    assert finding.repeatable
    assert 0 < len(finding.lines) <= LONGEST
    ends_with(finding, FOUND[name])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FOUND_LATER)
def test_defect_of_a_second_migration_is_found(target: Path, name: str) -> None:
    """The path has the steps of an earlier migration, or walk, that matter."""
    (finding,), _ = explore(target, 300, name)
    assert finding.repeatable
    assert 0 < len(finding.lines) <= LONGER
    ends_with(finding, FOUND_LATER[name])


def test_exploration_continues_after_a_finding(target: Path) -> None:
    """None of three defects hides the others, and none is found twice in the same way."""
    defects = ("pre-copy-must-drain", "bitmap-not-cleared", "close-needs-stop")
    findings, _ = explore(target, 30, *defects, most=8)
    for name in defects:
        assert any(all(map(str.__contains__, finding.lines[-1], FOUND[name])) for finding in findings), name
    kinds = [finding.kind for finding in findings]
    assert len(set(kinds)) == len(kinds) <= 8


def test_seed_finds_the_defect_again(target: Path) -> None:
    """The reported seed leads to the finding at once, however long the first exploration was."""
    (finding,), _ = explore(target, 60, "bad-data-wedges")
    (again,), tally = explore(target, 60, "bad-data-wedges", seed=finding.seed)
    assert again.seed == finding.seed
    assert tally.rounds <= 1


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (
            ("fetch the bitmap of pages 0-3", "dirty: 1, 3", "reported clean: 3"),
            "fetch the bitmap of page N: dirty: N, ",
        ),
        (("read data_offset", "0x20 to 0x4fff", "EINVAL"), "read data_offset: N to N, EINVAL"),
        (("fetch the bitmap of page 9", "dirty: none", "dirty: 9"), "fetch the bitmap of page N: dirty: N, dirty: N"),
        (("second: read device_state", "stop", "stop-and-copy"), "read device_state: a state, a state"),
        (("read device_state", "running", "error"), "read device_state: a state, error"),
        (("reopen", "an answer", "DMA_MAP at 0x9000: closed"), "a call: an answer, DMA_MAP at N: closed"),
        (("running -> stop", "success", "EIO"), "write device_state: success, EIO"),
        (("pre-copy -> stop-and-copy", "success", "EIO"), "write device_state: success, EIO"),
    ],
)
def test_kind_of_a_finding(lines: tuple[str, str, str], kind: str) -> None:
    """It depends neither on numbers nor on the states."""
    assert Finding([], [Line(*lines)], 1).kind.startswith(kind)


@pytest.mark.parametrize(
    ("before", "step", "exactly", "includes"),
    [
        ([("put", {"value": 1}), ("reset", {})], ("show", {}), True, True),
        ([("put", {"value": 2}), ("reset", {})], ("show", {}), True, False),
        ([("put", {"value": 2}), ("reset", {})], ("show", {}), False, True),
        ([("reset", {}), ("put", {"value": 1})], ("show", {}), False, False),
        ([("put", {"value": 1}), ("reset", {})], ("peek", {}), False, False),
    ],
)
def test_walk_that_includes_a_finding(
    before: Sequence[tuple[str, dict[str, Any]]], step: tuple[str, dict[str, Any]], exactly: bool, includes: bool
) -> None:
    """It has the steps of the finding in order, with others between them; the last one is the step itself."""
    finding = Finding([("put", {"value": 1}), ("reset", {}), ("show", {})], [], 1)
    assert finding.comes_with(before, step, exactly) is includes


def test_device_without_reset_is_reopened_between_reads(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread reads before and after, not in the meantime."""
    monkeypatch.setattr(Device, "announces_reset", False)
    session = Session(profiles.load(target, PROFILE), [], INTERFACES)
    session.start()
    try:
        rounds = Threads(session.of(Migration), 1, lambda rounds: None).watch(1)
    finally:
        session.finish()
    assert rounds
    assert session.transport.tracer.counts.opens > rounds


@pytest.fixture
def run(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Explores as a user would, in another process; returns the result and the output."""

    def start(*options: str, profile: str | Path = "profiles/reference.yaml") -> tuple[Summary | None, str]:
        command = [sys.executable, "-m", "vfio_compliance", "run", str(profile), f"--out={tmp_path / 'out'}", *options]
        environment = {**os.environ, "COLUMNS": "100"}
        ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=110)
        assert "Traceback" not in ended.stdout + ended.stderr
        if not (tmp_path / "out" / journal.NAME).exists():
            return None, ended.stderr
        result = summarise(journal.read(tmp_path / "out" / journal.NAME))
        assert result.exit_code == ended.returncode
        return result, ended.stdout

    return start


@pytest.fixture
def hasty(project: Path, tmp_path: Path) -> Path:
    """Profile of the good device with less time for a test than for the exploration."""
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    document["limits"] |= {"call": "6s", "test": "8s"}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return tmp_path / "profile.yaml"


def test_good_device_passes(run: Run, hasty: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rules of the suite are kept, and no others are judged; nothing is left in the checkout."""
    monkeypatch.delenv("HYPOTHESIS_STORAGE_DIRECTORY")
    result, text = run("--stress=20s", profile=hasty)
    assert result is not None
    assert set(result.verdicts.values()) == {Verdict.PASS}
    assert {rule.id for rule in result.rules.values() if rule.on_request} == set(result.verdicts)
    assert "explored: " in text
    assert not (project / ".hypothesis").exists()


def test_report_shows_the_path(run: Run) -> None:
    """A line for each step, no wider than the terminal, and a command that finds it again."""
    result, text = run("--stress=20s", "--seed=1", "--defect=second-offset-refused", f"--only={WALK}")
    assert result is not None
    assert result.verdicts == {WALK: Verdict.FAIL}
    path = text.partition("   path      did")[2].partition("   did       ")[0].splitlines()
    assert 3 <= len(path) <= LONGEST + 1
    assert path[-1].split()[:2] == ["read", "data_offset"]
    assert path[-1].endswith(" EINVAL")
    assert max(map(len, path)) <= 100
    assert "--stress 20s --seed " in text.partition("rerun")[2]


@pytest.fixture
def hostile(project: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Profile of a server with a hostile trick."""

    def write(trick: str) -> Path:
        document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
        server = Path(__file__).parents[1] / "servers/misbehaving.py"
        document["device"]["command"] = ["{python}", str(server), "{socket}", trick]
        document["limits"]["call"] = "2s"
        (tmp_path / "profile.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        return tmp_path / "profile.yaml"

    return write


def test_report_shows_all_findings(run: Run) -> None:
    """The case fails by the first; the others are below it, each with its path."""
    broken = ("--defect=pre-copy-must-drain", "--defect=close-needs-stop")
    result, text = run("--stress=20s", "--seed=1", *broken, f"--only={WALK}")
    assert result is not None
    assert result.verdicts == {WALK: Verdict.FAIL}
    (case,) = result.cases.values()
    assert case.failure is not None
    assert len(case.failure.further) >= 1
    for further in case.failure.further:
        assert further.path
    assert text.count("   moreover  ") == len(case.failure.further)
    assert text.count("   path      did") == 1 + len(case.failure.further)


def test_hang_has_its_own_verdict(run: Run, hostile: Callable[[str], Path]) -> None:
    """The device is tried once, and the report has the path to the call."""
    result, text = run("--stress=60s", f"--only={WALK}", profile=hostile("data_size#3-:hang"))
    assert result is not None
    assert result.verdicts == {WALK: Verdict.HANG}
    assert "REGION_READ" in text
    assert text.partition("   path      did")[2]


def test_server_that_dies_is_found(hostile: Callable[[str], Path]) -> None:
    """The last step of the path is the one without an answer."""
    (finding,), _ = explore(hostile("data_size#2-:die"), 30)
    assert finding.repeatable
    assert len(finding.lines) <= LONGEST
    assert "closed the connection" in finding.lines[-1].seen


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--stress=soon"], "expected a time such as `500ms`"),
        (["--stress=1ms"], "`1ms` is out of range: 1s to 24h"),
        ([f"--only={WALK}"], "only a run with --stress has cases of it"),
    ],
)
def test_invalid_requests_are_refused(run: Run, options: Sequence[str], complaint: str) -> None:
    """Times that are invalid, and rules of this suite without a time."""
    _, text = run(*options)
    assert complaint in text
