# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's complaints, from files that stand in for its log and its taint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from descriptors import same_descriptors

from vfio_compliance.results.events import Kernel
from vfio_compliance.results.inflight import LastCall
from vfio_compliance.results.kernel_log import Mark, written
from vfio_compliance.watch.kernel_log import KernelLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[KernelLog]:
    """A log with an old complaint in it, an untainted kernel, and the watcher of both."""
    (tmp_path / "kmsg").write_text("4,1,1,-;BUG: long ago\n")
    (tmp_path / "tainted").write_text("0\n")
    watched = KernelLog(tmp_path / "kmsg", tmp_path / "tainted")
    yield watched
    watched.close()


def lines(log: KernelLog) -> list[str]:
    """What the kernel complains of."""
    return [line for each in log.over(None, never) for line in each.lines]


def say(tmp_path: Path, *lines: str, micros: int = 3) -> None:
    """The kernel says something."""
    with (tmp_path / "kmsg").open("a") as kmsg:
        kmsg.writelines(f"4,2,{micros},-;{line}\n" for line in lines)


def never(moment: int | None) -> None:
    """No call was made."""


def test_quiet(log: KernelLog, tmp_path: Path) -> None:
    """What was there before, and what is no complaint, does not count."""
    say(tmp_path, "usb 1-1: new device", "vfio-pci 0000:00:01.0: enabling device")
    assert lines(log) == []


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 1 PID: 7 at drivers/vfio/vfio_main.c:1 vfio_do+0x1/0x2",
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "Oops: 0000 [#1] PREEMPT SMP",
        "general protection fault, probably for non-canonical address",
        "INFO: task python:7 blocked for more than 120 seconds.",
        "INFO: possible circular locking dependency detected",
        "UBSAN: shift-out-of-bounds in lib/x.c",
        "refcount_t: underflow; use-after-free.",
        "BUG: KASAN: slab-out-of-bounds in vfio_do",
        "Kernel panic - not syncing: Fatal exception",
    ],
)
def test_complaint(log: KernelLog, tmp_path: Path, line: str) -> None:
    """A fault in the kernel is told once."""
    say(tmp_path, "all is well", line)
    assert lines(log) == [line]
    assert lines(log) == []


def test_taint(log: KernelLog, tmp_path: Path) -> None:
    """A new taint is told by its letters, once; one that was there is not."""
    (tmp_path / "tainted").write_text(f"{1 << 9 | 1 << 7}\n")
    assert lines(log) == ["the kernel got tainted: DW"]
    (tmp_path / "tainted").write_text(f"{1 << 12 | 1 << 9 | 1 << 7}\n")
    assert lines(log) == ["the kernel got tainted: O"]
    assert lines(log) == []


def test_bytes_that_are_no_text(log: KernelLog, tmp_path: Path) -> None:
    """A driver may log anything."""
    with (tmp_path / "kmsg").open("ab") as kmsg:
        kmsg.write(b"4,2,3,-;BUG: \xff\xfe\n")
    assert lines(log) == ["BUG: \ufffd\ufffd"]


def test_one_record_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: KernelLog) -> None:
    """As the kernel gives it: a record for each read, a broken pipe where some were overwritten, then nothing yet."""
    answers: Iterator[bytes | type[OSError]] = iter(
        [b"4,1,1,-;BUG: one\n", BrokenPipeError, b"6,3,1,-;fine\n SUBSYSTEM=pci\n", BlockingIOError]
    )

    def read(descriptor: int, most: int) -> bytes:
        answer = next(answers)
        if isinstance(answer, bytes):
            return answer
        raise answer

    monkeypatch.setattr(os, "read", read)
    assert lines(log) == ["BUG: one"]


@pytest.mark.parametrize("missing", ["kmsg", "tainted"])
def test_unreadable(tmp_path: Path, missing: str) -> None:
    """Who may not look is told so at once, and nothing stays open."""
    for name in {"kmsg", "tainted"} - {missing}:
        (tmp_path / name).write_text("0\n")
    with same_descriptors(), pytest.raises(FileNotFoundError):
        KernelLog(tmp_path / "kmsg", tmp_path / "tainted")


# -- to which case and call a complaint belongs -----------------------------------------------------------------------

CALL, LATER = LastCall("write", "region 9", 0, 4, 0.0), LastCall("ioctl", "device", 0x3B6F, 0, 0.0)
OURS, OTHERS = 4711, 4712


def marks(tmp_path: Path, case: str, process: int = OURS, gravity: int = 14, micros: int = 9, moment: int = 9) -> None:
    """A test process marks a case. The kernel gives a line of a process the number of its facility."""
    with (tmp_path / "kmsg").open("ab") as kmsg:
        line = written(Mark(process, moment, case)).removeprefix(b"<6>")
        kmsg.write(f"{gravity},9,{micros},-;".encode() + line)


def now(call: LastCall) -> Callable[..., Any]:
    """A call was made, whatever the time."""
    return lambda moment: call


def test_marked_case(log: KernelLog, tmp_path: Path) -> None:
    """What is logged after a mark is of that case, though the watcher has not heard of it; what comes before is not."""
    log.follow(OURS)
    marks(tmp_path, "one")
    say(tmp_path, "BUG: one")
    marks(tmp_path, "two")
    say(tmp_path, "BUG: two")
    log.look("one", now(CALL))
    assert log.over("one", never) == [Kernel(("BUG: one",), "one", CALL), Kernel(("BUG: two",), "two", CALL)]
    say(tmp_path, "BUG: two again")
    log.look(None, now(CALL))
    assert log.over("two", never) == [Kernel(("BUG: two again",), "two", CALL)]
    say(tmp_path, "BUG: later")
    log.look(None, now(LATER))
    assert log.over(None, never) == [Kernel(("BUG: later",), None, LATER)]


def test_no_marks(log: KernelLog, tmp_path: Path) -> None:
    """Where nothing can be marked, a complaint is of the case that the watcher knows."""
    log.follow(OURS)
    say(tmp_path, "BUG: one")
    log.look("one", now(CALL))
    assert log.over("one", never) == [Kernel(("BUG: one",), "one", CALL)]


@pytest.mark.parametrize(
    ("process", "gravity"), [(OTHERS, 14), (OURS, 4)], ids=["another run marks", "a driver logs what looks like a mark"]
)
def test_foreign_mark(log: KernelLog, tmp_path: Path, process: int, gravity: int) -> None:
    """Marks of other runs on this machine, and of the kernel's drivers, count for nothing."""
    log.follow(OURS)
    marks(tmp_path, "one")
    marks(tmp_path, "two", process, gravity)
    say(tmp_path, "BUG: here")
    log.look(None, never)
    assert log.over("one", never) == [Kernel(("BUG: here",), "one")]


def test_next_process(log: KernelLog, tmp_path: Path) -> None:
    """A mark is over with its process."""
    log.follow(OURS)
    marks(tmp_path, "one")
    log.look("one", now(CALL))
    log.follow(OTHERS)
    say(tmp_path, "BUG: here")
    log.look("two", now(CALL))
    assert log.over("two", never) == [Kernel(("BUG: here",), "two", CALL)]


def test_process_that_complains(log: KernelLog, tmp_path: Path) -> None:
    """What a process writes into the log is no complaint of the kernel."""
    marks(tmp_path, "BUG: WARNING: ")
    with (tmp_path / "kmsg").open("a") as kmsg:
        kmsg.write("12,9,9,-;systemd[1]: BUG: mine\n")
    assert lines(log) == []


def test_call_when_it_is_seen(log: KernelLog, tmp_path: Path) -> None:
    """Each complaint has the last call before it was seen; the lines that tell where the kernel was go with it."""
    say(tmp_path, "BUG: one")
    log.look("case", now(CALL))
    say(tmp_path, "RIP: 0010:wrong+0x1/0x2 [driver]", "BUG: two")
    log.look("case", now(LATER))
    assert log.over("case", never) == [
        Kernel(("BUG: one", "  in wrong+0x1/0x2 [driver]"), "case", CALL),
        Kernel(("BUG: two",), "case", LATER),
    ]


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives a function by which the kernel says lines, one for each read as it does."""

    def say_them(lines: Iterable[str]) -> None:
        answers = iter([*(f"4,2,3,-;{line}\n".encode() for line in lines), b""])
        monkeypatch.setattr(os, "read", lambda descriptor, most: next(answers))

    return say_them


def test_again_and_again(log: KernelLog, records: Callable[..., None]) -> None:
    """A warning that comes at each call of a case is noted once, with how often it came; in the next case anew."""
    warning = "WARNING: CPU: 0 PID: {} at drivers/a.c:77 do+0x1f/0x40 [a]"
    records([*map(warning.format, range(1000)), "BUG: it", "BUG: it"])
    log.look("case", now(CALL))
    records([])
    assert log.over("case", never) == [
        Kernel((warning.format(0), "BUG: it"), "case", CALL),
        Kernel(("  999 times more: drivers/a.c, do",), "case"),
        Kernel(("  1 time more: BUG: it",), "case"),
    ]
    records([warning.format(1)])
    log.look("next", now(CALL))
    records([])
    assert log.over("next", never) == [Kernel((warning.format(1),), "next", CALL)]


def test_more_than_anybody_reads(log: KernelLog, records: Callable[..., None]) -> None:
    """Complaints that all differ are counted, and those that are not noted count as complaints."""
    records(f"BUG: at {number}" for number in range(100_000))
    log.look("case", now(CALL))
    records([])
    first, more = log.over("case", never)
    assert (len(first.lines), more) == (200, Kernel(("and 99800 more complaints",), "case"))
    assert more.lines[0][0] != " "


@pytest.mark.parametrize("ahead", [0, 5_000_000, -5_000_000], ids=["as one", "ahead", "behind"])
def test_call_when_it_was_logged(log: KernelLog, tmp_path: Path, ahead: int) -> None:
    """The log's clock is compared with that of the calls by the marks: one that was written fast comes nearest."""
    asked: list[Any] = []
    log.follow(OURS)
    say(tmp_path, "BUG: before any mark", micros=10_000_000)
    for slow in (700, 20, 300):
        marks(tmp_path, "case", micros=10_000_000 + slow, moment=10_000_000 + ahead)
    marks(tmp_path, "case", process=OTHERS, micros=10_000_000, moment=99_000_000)
    say(tmp_path, "BUG: here", micros=11_000_000)
    log.look("case", asked.append)
    assert asked == [None, (11_000_000 + ahead - 20) * 1000]


def test_taint_is_of_the_case_that_ends(log: KernelLog, tmp_path: Path) -> None:
    """It shows in no line of the log."""
    (tmp_path / "tainted").write_text("512\n")
    assert log.over("case", never) == [Kernel(("the kernel got tainted: W",), "case")]


def test_taint_is_of_the_complaint(log: KernelLog, tmp_path: Path) -> None:
    """Where something was logged, the taint comes of that: the next case may have begun, and the watcher not know."""
    log.follow(OURS)
    marks(tmp_path, "two")
    say(tmp_path, "BUG: two")
    (tmp_path / "tainted").write_text("512\n")
    taint = Kernel(("the kernel got tainted: W",), "two")
    assert log.over("one", now(CALL)) == [Kernel(("BUG: two",), "two", CALL), taint]


WARNED = "WARNING: CPU: 0 PID: 9 at drivers/x.c:48 struck+0x33/0x50 [x]"


@pytest.mark.parametrize(
    ("complaint", "letters", "mask"),
    [
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [python:693]", "L", 1 << 14),
        ("BUG: KFENCE: use-after-free read in struck+0xa2/0xc0 [x]", "B", 1 << 5),
        ("BUG: kernel NULL pointer dereference, address: 0000000000000000", "D", 1 << 7),
        ("INFO: task python3:7 blocked for more than 120 seconds.", "O", 1 << 12),
    ],
)
def test_taints_of_two_cases(log: KernelLog, tmp_path: Path, complaint: str, letters: str, mask: int) -> None:
    """Each belongs to the case with the complaint that brought it, when both are looked at together."""
    log.follow(OURS)
    for case, said in (("one", WARNED), ("two", complaint)):
        marks(tmp_path, case)
        say(tmp_path, said)
    (tmp_path / "tainted").write_text(f"{1 << 9 | mask}\n")
    found = log.over("one", now(CALL))
    tainted = {line: each.case for each in found for line in each.lines if "tainted" in line}
    assert tainted == {"the kernel got tainted: W": "one", f"the kernel got tainted: {letters}": "two"}


def test_taint_after_its_complaint(log: KernelLog, tmp_path: Path) -> None:
    """The complaint was noted, and the next case has one of its own, before the taint is seen."""
    log.follow(OURS)
    marks(tmp_path, "one")
    say(tmp_path, WARNED)
    log.over("none", now(CALL))
    marks(tmp_path, "two")
    say(tmp_path, "UBSAN: shift-out-of-bounds in x.c:9:1")
    (tmp_path / "tainted").write_text("512\n")
    assert log.over("one", now(CALL))[-1] == Kernel(("the kernel got tainted: W",), "one")


def test_waited_for(log: KernelLog, tmp_path: Path) -> None:
    """The descriptor to wait for is that of the log."""
    assert os.path.samestat(os.fstat(log.fileno()), os.stat(tmp_path / "kmsg"))


ASLEEP = "INFO: task python3:{} blocked for more than 120 seconds."


@pytest.mark.parametrize(("process", "case"), [(224, "hung"), (225, "now")])
def test_a_process_that_was_left_asleep_is_told_of_at_its_own_case(
    log: KernelLog, tmp_path: Path, process: int, case: str
) -> None:
    """The kernel says so two minutes later, in the middle of another case; of another process it is that case's."""
    log.leave(224, "hung")
    say(tmp_path, ASLEEP.format(process), "Call Trace:", " driver_write+0x1/0x2 [driver]")
    (told,) = log.over("now", lambda moment: LastCall("close", "device", 0, 0, 1.0))
    assert told.case == case
    assert (told.call is None) == (case == "hung")
    assert told.lines == (ASLEEP.format(process), "  called from driver_write+0x1/0x2 [driver]")


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ("INFO: task python3:7 blocked for more than {} seconds.", (4, 8, 12)),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for {}s! [python3:7]", (22, 45, 68)),
    ],
)
def test_what_a_watchdog_says_again_is_told_once(
    log: KernelLog, tmp_path: Path, words: str, times: tuple[int, int, int]
) -> None:
    """It only lasts longer; how often it was said is told. Another task is another complaint."""
    for seconds in times:
        say(tmp_path, words.format(seconds), "Call Trace:", " driver_write+0x1/0x2 [driver]")
    say(tmp_path, words.format(4).replace("3:7", "3:8"))
    first, *others = [line for each in log.over("a", now(CALL)) for line in each.lines]
    assert first == words.format(times[0])
    assert others[:2] == ["  called from driver_write+0x1/0x2 [driver]", words.format(4).replace("3:7", "3:8")]
    assert [line for line in others[2:] if "2 times more" in line]
    assert len(others) == 3
