# SPDX-License-Identifier: GPL-2.0-only
"""A run that was killed anywhere, and resumed, has the result of one that was not.

pytest tools/tests/proofs/test_kills.py --runs 20 --whole    # twenty kills of runs of all cases
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from vfio_compliance.results import journal
from vfio_compliance.results.events import End
from vfio_compliance.results.reading import summarise
from vfio_compliance.watch.folder import FolderError, claimed

#: Without --whole: some hundred cases, of which a few fail.
ONLY = ("v1.reserved", "v1.state", "v1.saving", "dirty.bitmap")

#: How often a resumed run is killed, too.
_TWICE = 0.25

#: Seconds for which a test process may go on that is watched no more.
PATIENCE = 60


@pytest.fixture
def command(project, pytestconfig):
    """Runs vfio-compliance run with these words, where the path of a socket is not too long; the process."""
    with tempfile.TemporaryDirectory() as temporary:
        keys = {"cwd": project, "stdout": subprocess.DEVNULL, "env": {**os.environ, "TMPDIR": temporary}}

        def start(*words):
            return subprocess.Popen([sys.executable, "-m", "vfio_compliance", "run", *map(str, words)], **keys)

        yield start
        assert [*Path(temporary).iterdir()] == []


def verdicts(out):
    """Each case with its verdict, and what was seen."""
    result = summarise(journal.read(out / journal.NAME))
    assert result.stops == []
    cases = result.cases.values()
    return {case.key: (case.verdict, case.failure and (case.failure.what, case.failure.seen)) for case in cases}


def ended(out):
    """The exit code of a run that was killed only after it had come to its end; None of any other."""
    if not (out / journal.NAME).exists():
        return None
    try:
        result = summarise(journal.read(out / journal.NAME))
    except journal.JournalError:
        return None
    return None if result.stops else result.exit_code


def wait_until_free(out):
    """Until no process uses the folder: the test process notices that it is watched no more, and closes the device."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with claimed(out):
                return
        except FolderError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.timeout(0)
def test_killed_anywhere(command, tmp_path, pytestconfig, report_line):
    """Kill -9 of the watching process at a random moment, as often as ``--runs`` says; some runs are killed twice."""
    only = [] if pytestconfig.getoption("--whole") else [f"--only={each}" for each in ONLY]
    words = ["profiles/reference.yaml", "--defect=reserved-garbage", "--seed=1", *only]
    began = time.monotonic()
    assert command(*words, f"--out={tmp_path / 'whole'}").wait() == 1
    took = time.monotonic() - began
    expected = verdicts(tmp_path / "whole")
    rng, kills, before_the_plan = Random(7), 0, 0
    for number in range(pytestconfig.getoption("--runs")):
        out = tmp_path / str(number)
        more, dies = [*words, f"--out={out}"], True
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
            out = out if planned else out.with_name(f"{out.name}-again")  # there was nothing to go on with
            more = ["--resume", out] if planned else [*words, f"--out={out}"]
        assert code == 1
        assert verdicts(out) == expected
        ends = Counter(line.event.case for line in journal.read(out / journal.NAME) if isinstance(line.event, End))
        assert set(ends.values()) == {1}
    early = f"{before_the_plan} of them before there was a plan"
    report_line(f"{kills} kills, {early}: the same {len(expected)} verdicts each time")
