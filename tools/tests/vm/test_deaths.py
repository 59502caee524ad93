# SPDX-License-Identifier: GPL-2.0-only
"""The death of a guest loses no run. A program acts as the machine, and leaves the journal of a run behind."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from stories import RULE, case, ended, first

from vfio_compliance.cli.main import parser
from vfio_compliance.cli.vm import orders as ordered
from vfio_compliance.common.signals import terminated_as_interrupted
from vfio_compliance.results import journal, reports
from vfio_compliance.results.events import Event, Hang, Kernel, Plan, Start
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.vm import boot, guests, kernels, outcome
from vfio_compliance.vm.accelerator import Accelerator
from vfio_compliance.vm.guest.reporting import MARK

DONE, UNDER_WAY, LEFT = "one[done]", "one[under way]", "one[left]"
OOPS = "[   70.1] BUG: kernel NULL pointer dereference, address: 0000000000000008"
WORDS = f"""{OOPS}
[   70.4] RIP: 0010:driver_write+0x1f/0x40 [driver]
[   70.5] Call Trace:
[   70.6]  vfio_device_fops_write+0x25/0x40 [vfio]
[   70.7] ---[ end trace 0000000000000000 ]---
[   70.8] RIP: 0010:driver_write+0x1f/0x40 [driver]"""
PANIC = "[   71.1] Kernel panic - not syncing: Fatal exception"

#: A machine that boots, and can then run the first command of its plan and leave the journal of a run behind.
BEGIN = f"""
import json, os, pathlib, sys, time
sys.path[:0] = {sys.path!r}
from vfio_compliance.results.inflight import Inflight
plan, calls, left = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
def emit(**event):
    print({MARK!r} + json.dumps(event), flush=True)
def log(line):
    print(line, file=sys.stderr, flush=True)
log("[    1.0] Linux version 6.12")
emit(event="up", release="6.12.0")
emit(event="ready", monotonic=time.monotonic())
def die():
    emit(event="start", index=0)
    folder = pathlib.Path(plan["keep"], "r")
    folder.mkdir(exist_ok=True)
    (folder / "journal.jsonl").write_bytes(open(left, "rb").read())
    Inflight(os.open(calls, os.O_RDWR)).begin("write", "region 9", 24, 8)
def live():
    for index, command in enumerate(plan["commands"]):
        emit(event="start", index=index)
        emit(event="end", index=index, exit=0)
    emit(event="over")
"""
LIVE = "live()"


@dataclass
class Machines:
    """Guests, each a program, one after another: the commands that they were given, and the results."""

    folder: Path
    left: Path
    commands: list[list[list[str]]] = field(default_factory=list)

    def boot(
        self,
        *scripts: str,
        options: Sequence[str] = (),
        begin: str = BEGIN,
        second: Sequence[str] = ("echo", "after"),
    ) -> outcome.Outcome:
        """Runs two commands in these guests."""
        words = ["vm", "--out", str(self.folder), "--accel", "tcg", *options, "--", "judge", "--then", *second]
        parsed = ordered(parser().parse_args(words))
        rest = iter(scripts)

        def line(_: Path, __: boot.Machine, scratch: boot.Scratch, page: object, *___: object) -> list[str]:
            self.commands.append(json.loads(scratch.plan.read_text())["commands"])
            script = f"{begin}\n{next(rest)}"
            return [sys.executable, "-uc", script, str(scratch.plan), str(scratch.folder / "calls"), str(self.left)]

        judged = outcome.Outcome("6.12", "")
        kernel = kernels.Kernel("6.12", self.folder, None, "6.12.0")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(boot, "command_line", line)
            guests.Guests(parsed, Accelerator("tcg", ""), kernel, self.folder / "6.12", judged, call=["again"]).run()
        return judged

    @property
    def run(self) -> Summary:
        """The run that was left behind, as the host reads it."""
        return summarise(journal.read(self.folder / "6.12" / "r" / journal.NAME))

    @property
    def report(self) -> str:
        """The report that the host wrote about it."""
        return (self.folder / "6.12" / "r" / reports.NAME).read_text()


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    """Guests with a journal to leave behind: one case is done, one is running, one is left."""
    cases = {case(name): "v1.one" for name in (DONE, UNDER_WAY, LEFT)}
    run = replace(first([RULE], cases), limits={"test": 5.0})
    events: list[Event] = [run, Plan(tuple(cases.items())), Start(case(DONE), "v1.one"), ended(DONE, "pass")]
    events += [Start(case(UNDER_WAY), "v1.one")]
    with journal.Journal(tmp_path / "left") as opened:
        for event in events:
            opened.write(event)
    return Machines(tmp_path / "out", tmp_path / "left")


def verdicts(run: Summary) -> list[Verdict]:
    """The verdicts on the three cases."""
    return [run.cases[case(name)].verdict for name in (DONE, UNDER_WAY, LEFT)]


def test_a_panic_is_reported_at_its_case_with_the_call_and_the_kernels_words(machines: Machines) -> None:
    judged = machines.boot(f"die(); log({WORDS!r}); log({PANIC!r})", options=["--continue", "0"])
    assert verdicts(machines.run) == [Verdict.PASS, Verdict.KERNEL, Verdict.NOT_RUN]
    failure = machines.run.cases[case(UNDER_WAY)].why
    lines = [line.partition("] ")[2] for line in (OOPS, PANIC)]
    assert (failure.seen or "").splitlines() == [
        lines[0],
        "  last call before it: write of 8 bytes at 0x18 of region 9",
        "  in driver_write+0x1f/0x40 [driver]",
        "  called from vfio_device_fops_write+0x25/0x40 [vfio]",
        lines[1],
    ]
    assert "last call write of 8 bytes at 0x18 of region 9" in failure.also
    assert (judged.ending, judged.code, judged.release) == ("panicked", 1, "6.12.0")
    assert {"boot", "run"} <= judged.seconds.keys()
    assert lines[1] in machines.report
    assert machines.report.splitlines()[-1].startswith("NOT CONFORMANT")


def test_another_guest_continues_after_the_case_with_the_remaining_commands(machines: Machines) -> None:
    judged = machines.boot(f"die(); log({PANIC!r})", LIVE)
    assert machines.commands[0] == [["judge"], ["echo", "after"]]
    folder = str(machines.folder / "6.12" / "r")
    assert machines.commands[1] == [["vfio-compliance", "run", "--resume", folder], ["echo", "after"]]
    assert judged.exits == [0, 0]
    assert judged.ending == "panicked, continued"
    assert {path.name for path in (machines.folder / "6.12").glob("console*")} == {"console.log", "console-2.log"}


def test_the_number_of_guests_is_limited(machines: Machines) -> None:
    die = f"die(); log({PANIC!r})"
    judged = machines.boot(die, die, die, options=["--continue", "2"])
    assert len(machines.commands) == 3
    assert (judged.ending, judged.code) == ("panicked", 1)


def test_a_hang_of_the_guest_is_reported_at_its_case_soon_after_the_deadline(machines: Machines) -> None:
    old = machines.left.read_bytes()
    events = [line.event for line in journal.read(machines.left) if isinstance(line, journal.Recorded)]
    machines.left.unlink()
    with journal.Journal(machines.left, offset=journal.clock_offset() - 3600) as opened:  # silent for an hour
        for event in events:
            if event:
                opened.write(event)
    assert machines.left.read_bytes() != old
    start = time.monotonic()
    judged = machines.boot("die(); time.sleep(600)", options=["--deadline", "8s", "--continue", "0"])
    assert time.monotonic() - start < 8 + 5
    assert verdicts(machines.run) == [Verdict.PASS, Verdict.HANG, Verdict.NOT_RUN]
    (hang,) = [event for event in _events(machines) if isinstance(event, Hang)]
    assert hang.call is not None
    assert hang.call.target == "region 9"
    assert (judged.ending, judged.code) == ("hung", 3)
    assert machines.report.splitlines()[-1].startswith("INCOMPLETE by plan default: a call hung in 1 rule")


def test_a_deadline_that_was_too_short_is_not_a_hang(machines: Machines) -> None:
    judged = machines.boot("die(); time.sleep(600)", options=["--deadline", "8s", "--continue", "0"])
    assert verdicts(machines.run) == [Verdict.PASS, Verdict.NOT_RUN, Verdict.NOT_RUN]
    (stop,) = machines.run.stops
    assert "came while the run was still going, in " + case(UNDER_WAY) in stop.message
    assert "--deadline" in stop.remedy
    assert judged.code == 2


@pytest.mark.parametrize(
    ("end", "word", "seen"),
    [
        pytest.param("die(); sys.exit(1)", "killed", "QEMU ended", id="QEMU gone"),
        pytest.param("die(); os.kill(os.getpid(), 9)", "killed", "QEMU ended", id="QEMU killed"),
    ],
)
def test_killing_the_guest_blames_no_case(machines: Machines, end: str, word: str, seen: str) -> None:
    judged = machines.boot(end, options=["--continue", "0"])
    assert verdicts(machines.run) == [Verdict.PASS, Verdict.NOT_RUN, Verdict.NOT_RUN]
    (stop,) = machines.run.stops
    assert stop.message.startswith(seen)
    assert f"in {case(UNDER_WAY)}, last call write of 8 bytes at 0x18 of region 9" in stop.message
    assert (judged.ending, judged.code) == (word, 2)


def test_a_reset_of_the_guest_is_reported_at_its_case(machines: Machines) -> None:
    judged = machines.boot("die()", options=["--continue", "0"])
    assert verdicts(machines.run) == [Verdict.PASS, Verdict.BROKEN, Verdict.NOT_RUN]
    assert (judged.ending, judged.code) == ("ended early", 2)


def test_a_signal_ends_the_guest_and_keeps_the_run(machines: Machines) -> None:
    """The signal comes during a case."""

    def later() -> None:
        place = machines.folder / "6.12" / "r" / journal.NAME
        while not place.exists():
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=later, daemon=True).start()
    with pytest.raises(guests.Interrupted), terminated_as_interrupted():
        machines.boot("die(); time.sleep(600)")
    assert verdicts(machines.run) == [Verdict.PASS, Verdict.NOT_RUN, Verdict.NOT_RUN]
    (stop,) = machines.run.stops
    assert stop.message.startswith("interrupted: ")
    assert machines.report.splitlines()[-1].startswith("INCOMPLETE")


def test_a_run_that_its_guest_reported_is_not_reported_again(
    machines: Machines, capfd: pytest.CaptureFixture[str]
) -> None:
    """The kernel of the guest dies after the run is over."""
    with journal.Journal(machines.left) as opened:
        opened.write(ended(UNDER_WAY, "pass"))
        opened.write(ended(LEFT, "pass"))
        opened.end()
    whole = machines.left.read_bytes()
    report = "pathlib.Path(plan['keep'], 'r', 'report.txt').write_text('reported')"
    judged = machines.boot(f"die(); {report}; emit(event='end', index=0, exit=0); log({PANIC!r})", LIVE)
    assert (machines.folder / "6.12" / "r" / journal.NAME).read_bytes() == whole
    assert machines.commands[1] == [["echo", "after"]]
    assert "judged" not in capfd.readouterr().out
    assert judged.code == 2


def test_a_full_disk_before_the_boot_is_reported(machines: Machines, capfd: pytest.CaptureFixture[str]) -> None:
    """The archive that a guest boots from is written beside the results."""
    full = "import sys; sys.exit('OSError: [Errno 28] No space left on device')"
    judged = machines.boot("", begin=full)
    assert "is full: name another folder with --out" in capfd.readouterr().out
    assert (judged.ending, judged.code) == ("no boot", 2)


def test_a_death_outside_of_any_run(machines: Machines) -> None:
    judged = machines.boot(f"log({PANIC!r})", options=["--continue", "0"])
    assert (judged.ending, judged.code) == ("panicked", 2)


def test_a_guest_that_dies_before_it_is_ready_is_not_booted_again(machines: Machines) -> None:
    """The result would be the same."""
    judged = machines.boot("", begin=BEGIN.partition('emit(event="ready"')[0])
    assert len(machines.commands) == 1
    assert (judged.ending, judged.code) == ("ended early", 2)


UNCLEAN = """
for index in (0, 1):
    emit(event="start", index=index)
    emit(event="log", since=["[    5.0] WARNING: CPU: 0 at x.c:1 y+0x1/0x2"] if index == {} else [], before=0, after=0)
    emit(event="end", index=index, exit=0)
emit(event="over")
"""


@pytest.mark.parametrize(("at", "code"), [(0, 1), (1, 0)])
def test_the_kernel_log_counts_except_for_a_command_with_ignore_log(
    machines: Machines, capfd: pytest.CaptureFixture[str], at: int, code: int
) -> None:
    judged = machines.boot(UNCLEAN.format(at), second=["--ignore-log", "echo", "after"])
    assert machines.commands == [[["judge"], ["echo", "after"]]]
    assert judged.code == code
    assert judged.log == ["[    5.0] WARNING: CPU: 0 at x.c:1 y+0x1/0x2"]
    assert ("which does not count here" in capfd.readouterr().out) == (code == 0)


JUDGED = """
die()
pathlib.Path(plan["keep"], "r", "report.txt").write_text("reported")
emit(event="log", since={}, before=0, after={})
emit(event="end", index=0, exit=3)
emit(event="over")
"""
WARNING = "WARNING: CPU: {} PID: 7 at drivers/x.c:1 y+0x1/0x2"


@pytest.mark.parametrize(
    ("since", "taint", "log"),
    [
        pytest.param([f"[    5.0] {WARNING.format(0)}"], 1 << 9, [], id="reported by the run"),
        pytest.param([f"[    5.0] {WARNING.format(n)}" for n in (0, 1)], 1 << 9, [], id="and again"),
        pytest.param(["[    5.0] BUG: x"], 0, ["[    5.0] BUG: x"], id="another"),
        pytest.param([], 1 << 7, ["tainted: D"], id="another taint"),
    ],
)
def test_kernel_complaints_that_a_run_has_judged_are_not_judged_again(
    machines: Machines, since: list[str], taint: int, log: list[str]
) -> None:
    """They may be waived there, or be part of a hang."""
    with journal.Journal(machines.left) as opened:
        opened.write(
            Kernel((WARNING.format(0), "  called from z+0x1/0x2", "the kernel got tainted: W"), case(UNDER_WAY))
        )
    judged = machines.boot(JUDGED.format(since, taint))
    assert judged.log == log
    assert judged.code == (1 if log else 3)


def _events(machines: Machines) -> list[Event | None]:
    lines = journal.read(machines.folder / "6.12" / "r" / journal.NAME)
    return [line.event for line in lines if isinstance(line, journal.Recorded)]
