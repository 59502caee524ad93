# SPDX-License-Identifier: GPL-2.0-only
"""A driver that warns, oopses under its caller, or never lets it go: that case has a verdict, the others are judged.

One run has all of them. They strike at writes of device_state, so the rules about it are judged; each defect strikes at
another write, the graver ones later.

Only a kernel can do this, and it is not the same afterwards. In a virtual machine:

    vfio-compliance vm --kernels 6.12 --append kfence.sample_interval=100 --ignore-log -- \\
        pytest -p no:cacheprovider tools/tests/proofs/test_lost_callers.py --target profiles/refdriver-kernel.yaml
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from vfio_compliance import profiles
from vfio_compliance.results import journal
from vfio_compliance.results.case import Case
from vfio_compliance.results.events import Broken, Event, Hang, Kernel, Process, Way
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.sections import PROFILE

#: What the kernel reports of each defect, and the verdict of the case that it strikes, in the order of the strikes.
#: Two watchdogs may report a lockup; on a busy machine, it is chance which one is first.
STRUCK = {
    "warn-once": ("defect_warn_once", Verdict.WAIVED),
    "lockup-once": ("soft lockup|detected stalls", Verdict.KERNEL),
    "stray-once": ("KFENCE: use-after-free", Verdict.KERNEL),
    "oops-once": ("NULL pointer dereference", Verdict.KERNEL),
    "hang-once": ("", Verdict.HANG),
}

GOOD = {Verdict.PASS, Verdict.NOT_APPLICABLE}

#: Rules whose cases write device_state.
ONLY = ("v1.transition", "v1.undrawn", "v1.reset", "v1.self-write")

#: The one warning of the module, as a waiver lists it.
KNOWN = """\
format: 1
waivers: []
kernel_warnings:
  - {file: defects/lost.c, function: defect_warn_once, reason: it is meant to, expires: 2999-12-31}
"""

#: Milliseconds between two allocations that this sanitizer checks; 0 if it checks none.
KFENCE = Path("/sys/module/kfence/parameters/sample_interval")

#: Releases the caller that ``hang-once`` holds, so that the next test of this file can use the device.
RELEASE = Path("/sys/module/vfio_refdriver/parameters/release")


class Struck(NamedTuple):
    """A run on the module with all these defects."""

    #: Those that strike here.
    defects: list[str]
    exit_code: int
    shown: str
    events: list[Event]
    summary: Summary

    def complaint(self, defect: str) -> Kernel:
        """What the kernel reported of a defect."""
        words = re.compile(STRUCK[defect][0])
        found = [e for e in self.events if isinstance(e, Kernel) and any(map(words.search, e.lines))]
        assert found, f"the kernel reported nothing of {defect}: {self.shown[-3000:]}"
        return found[0]

    @property
    def cases(self) -> list[Case]:
        """Those that did not pass, in the order in which they ran."""
        return [case for case in self.summary.cases.values() if case.verdict not in GOOD]


@pytest.fixture(scope="module")
def struck(target: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Struck:
    if profiles.load(target, PROFILE).device.transport != "kernel-group":
        pytest.skip("only a kernel warns, or holds a caller forever; another test has the end of a server")
    folder = tmp_path_factory.mktemp("struck")
    known = folder / "known.yaml"
    known.write_text(KNOWN)
    defects = [each for each in STRUCK if each != "stray-once" or (KFENCE.is_file() and int(KFENCE.read_text()))]
    words = [sys.executable, "-m", "vfio_compliance", "run", str(target), "--out", str(folder / "result")]
    words += [f"--waivers={known}", *(f"--only={each}" for each in ONLY), *(f"--defect={each}" for each in defects)]
    ended = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    RELEASE.write_text("1")
    lines = list(journal.read(folder / "result" / journal.NAME))
    events = [line.event for line in lines if isinstance(line, journal.Recorded) and line.event]
    return Struck(defects, ended.returncode, ended.stdout + ended.stderr, events, summarise(lines))


@pytest.mark.timeout(900)
def test_each_strikes_one_case_and_all_others_are_judged(
    struck: Struck, count: Callable[..., None], report_line: Callable[[str], None]
) -> None:
    """A second test process continues after the oops, a third one after the hang, on a spare device."""
    report_line(str(Counter(case.verdict.value for case in struck.summary.cases.values())))
    report_line(
        str([type(event).__name__ for event in struck.events if isinstance(event, Hang | Broken | Process | Way)])
    )
    verdicts = [verdict for defect, (_, verdict) in STRUCK.items() if defect in struck.defects]
    assert [case.verdict for case in struck.cases] == verdicts, struck.shown[-3000:]
    assert len(struck.summary.processes) == 2
    assert (struck.exit_code, struck.summary.exit_code) == (1, 1)
    count(other_cases_judged=len(struck.summary.cases) - len(verdicts))


@pytest.mark.parametrize("defect", [defect for defect, (words, _) in STRUCK.items() if words])
def test_a_report_names_its_case_and_call(struck: Struck, report_line: Callable[[str], None], defect: str) -> None:
    """What the kernel, its watchdog or its sanitizer reports during a call is attributed to that call."""
    if defect not in struck.defects:
        pytest.skip("KFENCE is off: boot with kfence.sample_interval=100 (--append, for a virtual machine)")
    report = struck.complaint(defect)
    report_line(f"{defect}: {report.lines[0]}")
    assert report.call
    assert (report.call.verb, report.call.number, report.call.length) == ("write", 0, 4)
    assert report.case == struck.cases[struck.defects.index(defect)].id


def test_a_waiver_excuses_a_warning_with_its_taint(struck: Struck) -> None:
    """The warning is listed by file and function; the report names its caller."""
    report = struck.complaint("warn-once")
    assert any("called from" in line for line in report.lines)
    (case,) = [case for case in struck.cases if case.verdict is Verdict.WAIVED]
    assert case.why.waiver == "it is meant to"
    assert "the kernel got tainted: W" in (case.why.seen or "")
