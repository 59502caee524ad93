# SPDX-License-Identifier: GPL-2.0-only
"""A run that is killed at any moment, and resumed, has the result of one that is not.

pytest tools/tests/proofs/test_kills.py --runs 20 --complete    # twenty kills of runs of all cases
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from vfio_compliance.results import journal
from vfio_compliance.results.events import End
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.watch.folder import FolderError, claimed

#: Without --complete: about a hundred cases, a few of which fail.
ONLY = ("v1.reserved", "v1.state", "v1.saving", "dirty.bitmap")

#: How likely a resumed run is killed as well.
_TWICE = 0.25

#: Seconds in which a test process that is no longer watched must end.
PATIENCE = 60


@pytest.fixture
def command(project: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts ``vfio-compliance run`` with these words, in a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory() as temporary:
        environment = {**os.environ, "TMPDIR": temporary}

        def start(*words: str | Path) -> subprocess.Popen[bytes]:
            asked = [sys.executable, "-m", "vfio_compliance", "run", *map(str, words)]
            return subprocess.Popen(asked, cwd=project, stdout=subprocess.DEVNULL, env=environment)

        yield start
        # A killed run leaves its folder until the next one starts.
        assert start("profiles/reference.yaml", "--only=v1.open", f"--out={tmp_path / 'last'}").wait() == 0
        assert [*Path(temporary).iterdir()] == []


def verdicts(out: Path) -> dict[str, tuple[Verdict, tuple[str, str | None] | None]]:
    """Each case with its verdict, and what was seen."""
    result = summarise(journal.read(out / journal.NAME))
    assert result.stops == []
    cases = result.cases.values()
    return {
        case.key: (case.verdict, (case.failure.what, case.failure.seen) if case.failure else None) for case in cases
    }


def ended(out: Path) -> int | None:
    """The exit code of a run that was killed only after its end; None for any other."""
    if not (out / journal.NAME).exists():
        return None
    try:
        result = summarise(journal.read(out / journal.NAME))
    except journal.JournalError:
        return None
    return None if result.stops else result.exit_code


def wait_until_free(out: Path) -> None:
    """Wait until no process uses the folder: the test process notices that it is no longer watched, and ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with claimed(out):
                return
        except FolderError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.timeout(0)
def test_killed_anywhere(
    command: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    pytestconfig: pytest.Config,
    report_line: Callable[[str], None],
) -> None:
    """SIGKILL to the watching process at a random moment, in ``--runs`` runs; some runs are killed twice."""
    only = [] if pytestconfig.getoption("--complete") else [f"--only={each}" for each in ONLY]
    words = ["profiles/reference.yaml", "--defect=reserved-garbage", "--seed=1", *only]
    began = time.monotonic()
    assert command(*words, f"--out={tmp_path / 'whole'}").wait() == 1
    took = time.monotonic() - began
    expected = verdicts(tmp_path / "whole")
    rng, kills, before_the_plan = Random(7), 0, 0
    for number in range(pytestconfig.getoption("--runs")):
        out = tmp_path / str(number)
        more: list[str | Path] = [*words, f"--out={out}"]
        dies = True
        while True:
            with command(*more) as running:
                try:
                    code = running.wait(rng.uniform(0, took) if dies else None)
                except subprocess.TimeoutExpired:
                    running.send_signal(signal.SIGKILL)
                    kills += 1
                    code = None
            dies = rng.random() < _TWICE
            wait_until_free(out)
            code = ended(out) if code is None else code
            if code is not None:
                break
            planned = (out / journal.NAME).exists() and b'"event":"plan"' in (out / journal.NAME).read_bytes()
            before_the_plan += not planned
            out = out if planned else out.with_name(f"{out.name}-again")  # there is nothing to resume
            more = ["--resume", out] if planned else [*words, f"--out={out}"]
        assert code == 1
        assert verdicts(out) == expected
        events = [each.event for each in journal.read(out / journal.NAME) if isinstance(each, journal.Recorded)]
        ends = Counter(event.case for event in events if isinstance(event, End))
        assert set(ends.values()) == {1}
    early = f"{before_the_plan} of them before the plan was made"
    report_line(f"{kills} kills, {early}: the same {len(expected)} verdicts each time")
