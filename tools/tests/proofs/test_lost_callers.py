# SPDX-License-Identifier: GPL-2.0-only
"""A driver that warns, oopses under its caller, or never lets it go: that case is a verdict, and all others are judged.

The rules of device_state are run: the driver loses its caller at a write to it, and two runs by all rules take longer
in an emulated machine than one boot may.

Only a kernel can do this, and it is not the same afterwards. In a virtual machine:

    vfio-compliance vm --kernels 6.12 --append kfence.sample_interval=100 --ignore-log -- \\
        pytest -p no:cacheprovider tools/tests/proofs/test_lost_callers.py --target profiles/refdriver-kernel.yaml
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from vfio_compliance import profiles
from vfio_compliance.interfaces import PROFILE
from vfio_compliance.results import journal
from vfio_compliance.results.events import Broken, Hang, Kernel, Process, Way
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict

GOOD = {Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.WAIVED}

OF_THE_STATE = ("v1.state", "v1.transition", "v1.undrawn", "v1.self-write", "v1.reset")

#: The one warning of the module, as a waiver lists it.
KNOWN = """\
format: 1
waivers: []
kernel_warnings:
  - {file: defects/lost.c, function: defect_warn_once, reason: it is meant to, expires: 2999-12-31}
"""

#: Milliseconds between two allocations that this sanitizer looks at; 0 for none.
KFENCE = Path("/sys/module/kfence/parameters/sample_interval")

#: Lets the caller go that ``hang-once`` holds, so that the next test of this file has the device.
RELEASE = Path("/sys/module/vfio_refdriver/parameters/release")


def judged(target, project, out, defect, *options):
    """A run on the module with a defect: how it ended, and its journal."""
    if profiles.load(target, PROFILE).device.transport != "kernel-group":
        pytest.skip("a server's end is seen elsewhere: only a kernel warns, or holds a caller for ever")
    command = [sys.executable, "-m", "vfio_compliance", "run", str(target), "--out", str(out), f"--defect={defect}"]
    ended = subprocess.run([*command, *options], cwd=project, capture_output=True, text=True, check=False)
    return ended, list(journal.read(out / journal.NAME))


@pytest.mark.timeout(900)
def test_a_warning_is_of_its_case_and_call(target, project, tmp_path, tell):
    """It belongs to the write of device_state that it came from, and a waiver of it excuses it with its taint."""
    known = tmp_path / "known.yaml"
    known.write_text(KNOWN)
    options = ("--only=v1.transition", "--only=v1.undrawn", f"--waivers={known}")
    ended, lines = judged(target, project, tmp_path / "result", "warn-once", *options)
    result = summarise(lines)
    first = next(line.event for line in lines if isinstance(line.event, Kernel))
    tell(str(first))
    assert (first.call.verb, first.call.number, first.call.length) == ("write", 0, 4)
    assert any("called from" in line for line in first.lines)
    (struck,) = [case for case in result.cases.values() if case.verdict not in GOOD - {Verdict.WAIVED}]
    assert (struck.id, struck.verdict, struck.why.waiver) == (first.case, Verdict.WAIVED, "it is meant to")
    assert "the kernel got tainted: W" in struck.why.seen
    assert (ended.returncode, result.exit_code) == (0, 0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("defect", "words"), [("lockup-once", "soft lockup"), ("stray-once", "KFENCE: use-after-free")]
)
def test_a_report_is_of_its_case_and_call(target, project, tmp_path, tell, defect, words):
    """What the kernel's own watchdog and sanitizer find while a call is made is put down to that call, and counts."""
    if defect == "stray-once" and not (KFENCE.is_file() and int(KFENCE.read_text())):
        pytest.skip("KFENCE is not looking: boot with kfence.sample_interval=100 (--append, for a virtual machine)")
    ended, lines = judged(target, project, tmp_path / "result", defect, "--only=v1.transition", "--only=v1.undrawn")
    result = summarise(lines)
    first = next(line.event for line in lines if isinstance(line.event, Kernel))
    tell(str(first))
    assert any(words in line for line in first.lines)
    assert (first.call.verb, first.call.number, first.call.length) == ("write", 0, 4)
    struck = {case.id: case.verdict for case in result.cases.values() if case.verdict not in GOOD}
    assert struck == {first.case: Verdict.KERNEL}
    assert (ended.returncode, result.exit_code) == (1, 1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("defect", "verdict", "code"), [("hang-once", Verdict.HANG, 3), ("oops-once", Verdict.KERNEL, 1)]
)
def test_the_run_goes_on(target, project, tmp_path, count, tell, defect, verdict, code):
    """One case has the verdict, a second test process judges the rest, on a spare device where this one is held."""
    only = [f"--only={rules}" for rules in OF_THE_STATE]
    ended, lines = judged(target, project, tmp_path / "result", defect, *only)
    RELEASE.write_text("1")
    result = summarise(lines)
    struck = {case.id: case.verdict for case in result.cases.values() if case.verdict not in GOOD}
    assert list(struck.values()) == [verdict], (struck, ended.stdout[-2000:])
    assert len(result.processes) == 1
    assert (ended.returncode, result.exit_code) == (code, code)
    telling = (Hang, Broken, Process, Way)
    times = {type(line.event).__name__: line.time for line in lines if isinstance(line.event, telling)}
    tell(f"{defect}: {dict(Counter(case.verdict.value for case in result.cases.values()))}; {times}")
    count(cases_judged_after_a_lost_caller=len(result.cases) - 1)
