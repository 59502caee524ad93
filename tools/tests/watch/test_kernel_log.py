# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's complaints, read from files instead of its log and its taint."""

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
    """The watcher of a log with an old complaint and of an untainted kernel."""
    (tmp_path / "kmsg").write_text("4,1,1,-;BUG: long ago\n")
    (tmp_path / "tainted").write_text("0\n")
    watched = KernelLog(tmp_path / "kmsg", tmp_path / "tainted")
    yield watched
    watched.close()


def lines(log: KernelLog) -> list[str]:
    """The complaints since the last call."""
    return [line for each in log.over(None, never) for line in each.lines]


def log_lines(tmp_path: Path, *lines: str, micros: int = 3) -> None:
    """The kernel logs these lines."""
    with (tmp_path / "kmsg").open("a") as kmsg:
        kmsg.writelines(f"4,2,{micros},-;{line}\n" for line in lines)


def never(moment: int | None) -> None:
    """Stands for a run without any call."""


def test_quiet(log: KernelLog, tmp_path: Path) -> None:
    """Earlier complaints and harmless lines do not count."""
    log_lines(tmp_path, "usb 1-1: new device", "vfio-pci 0000:00:01.0: enabling device")
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
    """A fault in the kernel is reported once."""
    log_lines(tmp_path, "all is well", line)
    assert lines(log) == [line]
    assert lines(log) == []


def test_taint(log: KernelLog, tmp_path: Path) -> None:
    """A new taint is reported once, by its letters; an earlier one is not."""
    (tmp_path / "tainted").write_text(f"{1 << 9 | 1 << 7}\n")
    assert lines(log) == ["the kernel got tainted: DW"]
    (tmp_path / "tainted").write_text(f"{1 << 12 | 1 << 9 | 1 << 7}\n")
    assert lines(log) == ["the kernel got tainted: O"]
    assert lines(log) == []


def test_invalid_utf8(log: KernelLog, tmp_path: Path) -> None:
    """A driver may log anything."""
    with (tmp_path / "kmsg").open("ab") as kmsg:
        kmsg.write(b"4,2,3,-;BUG: \xff\xfe\n")
    assert lines(log) == ["BUG: \ufffd\ufffd"]


def test_one_record_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: KernelLog) -> None:
    """Like the kernel: a record for each read, EPIPE if some were overwritten, EAGAIN at the end."""
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
    """This is an error at once, and nothing stays open."""
    for name in {"kmsg", "tainted"} - {missing}:
        (tmp_path / name).write_text("0\n")
    with same_descriptors(), pytest.raises(FileNotFoundError):
        KernelLog(tmp_path / "kmsg", tmp_path / "tainted")


# -- the case and the call of a complaint -----------------------------------------------------------------------------

CALL, LATER = LastCall("write", "region 9", 0, 4, 0.0), LastCall("ioctl", "device", 0x3B6F, 0, 0.0)
OURS, OTHERS = 4711, 4712


def marks(tmp_path: Path, case: str, process: int = OURS, gravity: int = 14, micros: int = 9, moment: int = 9) -> None:
    """A test process marks a case. The kernel adds a facility number to lines written by processes."""
    with (tmp_path / "kmsg").open("ab") as kmsg:
        line = written(Mark(process, moment, case)).removeprefix(b"<6>")
        kmsg.write(f"{gravity},9,{micros},-;".encode() + line)


def now(call: LastCall) -> Callable[..., Any]:
    """Returns this call for any time."""
    return lambda moment: call


def test_marked_case(log: KernelLog, tmp_path: Path) -> None:
    """Lines after a mark belong to its case, even if the watcher has not seen the case begin; lines before do not."""
    log.follow(OURS)
    marks(tmp_path, "one")
    log_lines(tmp_path, "BUG: one")
    marks(tmp_path, "two")
    log_lines(tmp_path, "BUG: two")
    log.look("one", now(CALL))
    assert log.over("one", never) == [Kernel(("BUG: one",), "one", CALL), Kernel(("BUG: two",), "two", CALL)]
    log_lines(tmp_path, "BUG: two again")
    log.look(None, now(CALL))
    assert log.over("two", never) == [Kernel(("BUG: two again",), "two", CALL)]
    log_lines(tmp_path, "BUG: later")
    log.look(None, now(LATER))
    assert log.over(None, never) == [Kernel(("BUG: later",), None, LATER)]


def test_no_marks(log: KernelLog, tmp_path: Path) -> None:
    """Without marks, a complaint belongs to the case that the watcher knows."""
    log.follow(OURS)
    log_lines(tmp_path, "BUG: one")
    log.look("one", now(CALL))
    assert log.over("one", never) == [Kernel(("BUG: one",), "one", CALL)]


@pytest.mark.parametrize(
    ("process", "gravity"), [(OTHERS, 14), (OURS, 4)], ids=["another run marks", "a driver logs what looks like a mark"]
)
def test_foreign_mark(log: KernelLog, tmp_path: Path, process: int, gravity: int) -> None:
    """Marks of other runs on this machine are ignored, and so are those written by drivers."""
    log.follow(OURS)
    marks(tmp_path, "one")
    marks(tmp_path, "two", process, gravity)
    log_lines(tmp_path, "BUG: here")
    log.look(None, never)
    assert log.over("one", never) == [Kernel(("BUG: here",), "one")]


def test_next_process(log: KernelLog, tmp_path: Path) -> None:
    """A mark ends with its process."""
    log.follow(OURS)
    marks(tmp_path, "one")
    log.look("one", now(CALL))
    log.follow(OTHERS)
    log_lines(tmp_path, "BUG: here")
    log.look("two", now(CALL))
    assert log.over("two", never) == [Kernel(("BUG: here",), "two", CALL)]


def test_lines_written_by_processes(log: KernelLog, tmp_path: Path) -> None:
    """They are not complaints of the kernel."""
    marks(tmp_path, "BUG: WARNING: ")
    with (tmp_path / "kmsg").open("a") as kmsg:
        kmsg.write("12,9,9,-;systemd[1]: BUG: mine\n")
    assert lines(log) == []


def test_last_call_before_a_complaint_is_seen(log: KernelLog, tmp_path: Path) -> None:
    """Each complaint has the last call before it was seen, and the lines that show where the kernel was."""
    log_lines(tmp_path, "BUG: one")
    log.look("case", now(CALL))
    log_lines(tmp_path, "RIP: 0010:wrong+0x1/0x2 [driver]", "BUG: two")
    log.look("case", now(LATER))
    assert log.over("case", never) == [
        Kernel(("BUG: one", "  in wrong+0x1/0x2 [driver]"), "case", CALL),
        Kernel(("BUG: two",), "case", LATER),
    ]


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the kernel log these lines, one for each read."""

    def log_them(lines: Iterable[str]) -> None:
        answers = iter([*(f"4,2,3,-;{line}\n".encode() for line in lines), b""])
        monkeypatch.setattr(os, "read", lambda descriptor, most: next(answers))

    return log_them


def test_a_repeated_complaint(log: KernelLog, records: Callable[..., None]) -> None:
    """A warning at each call of a case is noted once, with a count; in the next case, it is noted again."""
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


def test_very_many_complaints(log: KernelLog, records: Callable[..., None]) -> None:
    """Beyond the first 200, they are only counted, and still count as complaints."""
    records(f"BUG: at {number}" for number in range(100_000))
    log.look("case", now(CALL))
    records([])
    first, more = log.over("case", never)
    assert (len(first.lines), more) == (200, Kernel(("and 99800 more complaints",), "case"))
    assert more.lines[0][0] != " "


@pytest.mark.parametrize("ahead", [0, 5_000_000, -5_000_000], ids=["equal", "ahead", "behind"])
def test_last_call_before_a_complaint_was_logged(log: KernelLog, tmp_path: Path, ahead: int) -> None:
    """The marks relate the log's clock to that of the calls; the mark with the least delay is the most exact."""
    moments: list[Any] = []
    log.follow(OURS)
    log_lines(tmp_path, "BUG: before any mark", micros=10_000_000)
    for slow in (700, 20, 300):
        marks(tmp_path, "case", micros=10_000_000 + slow, moment=10_000_000 + ahead)
    marks(tmp_path, "case", process=OTHERS, micros=10_000_000, moment=99_000_000)
    log_lines(tmp_path, "BUG: here", micros=11_000_000)
    log.look("case", moments.append)
    assert moments == [None, (11_000_000 + ahead - 20) * 1000]


def test_a_taint_without_a_line_belongs_to_the_case_that_ends(log: KernelLog, tmp_path: Path) -> None:
    """There is no line in the log."""
    (tmp_path / "tainted").write_text("512\n")
    assert log.over("case", never) == [Kernel(("the kernel got tainted: W",), "case")]


def test_a_taint_belongs_to_the_complaint(log: KernelLog, tmp_path: Path) -> None:
    """If there is a complaint, the taint came from it: the next case may have begun without the watcher's notice."""
    log.follow(OURS)
    marks(tmp_path, "two")
    log_lines(tmp_path, "BUG: two")
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
    """Each belongs to the case with the complaint that caused it, even if both are seen together."""
    log.follow(OURS)
    for case, logged in (("one", WARNED), ("two", complaint)):
        marks(tmp_path, case)
        log_lines(tmp_path, logged)
    (tmp_path / "tainted").write_text(f"{1 << 9 | mask}\n")
    found = log.over("one", now(CALL))
    tainted = {line: each.case for each in found for line in each.lines if "tainted" in line}
    assert tainted == {"the kernel got tainted: W": "one", f"the kernel got tainted: {letters}": "two"}


def test_taint_after_its_complaint(log: KernelLog, tmp_path: Path) -> None:
    """Before the taint is seen, the complaint was noted and the next case has another complaint."""
    log.follow(OURS)
    marks(tmp_path, "one")
    log_lines(tmp_path, WARNED)
    log.over("none", now(CALL))
    marks(tmp_path, "two")
    log_lines(tmp_path, "UBSAN: shift-out-of-bounds in x.c:9:1")
    (tmp_path / "tainted").write_text("512\n")
    assert log.over("one", now(CALL))[-1] == Kernel(("the kernel got tainted: W",), "one")


def test_the_descriptor(log: KernelLog, tmp_path: Path) -> None:
    """The descriptor to poll is that of the log."""
    assert os.path.samestat(os.fstat(log.fileno()), os.stat(tmp_path / "kmsg"))


ASLEEP = "INFO: task python3:{} blocked for more than 120 seconds."


@pytest.mark.parametrize(("process", "case"), [(224, "hung"), (225, "now")])
def test_a_hung_task_that_was_left_behind_belongs_to_its_own_case(
    log: KernelLog, tmp_path: Path, process: int, case: str
) -> None:
    """The kernel reports it two minutes later, during another case. Other reports belong to that case."""
    log.leave(224, "hung")
    log_lines(tmp_path, ASLEEP.format(process), "Call Trace:", " driver_write+0x1/0x2 [driver]")
    (kernel,) = log.over("now", lambda moment: LastCall("close", "device", 0, 0, 1.0))
    assert kernel.case == case
    assert (kernel.call is None) == (case == "hung")
    assert kernel.lines == (ASLEEP.format(process), "  called from driver_write+0x1/0x2 [driver]")


@pytest.mark.parametrize(
    ("words", "times"),
    [
        ("INFO: task python3:7 blocked for more than {} seconds.", (4, 8, 12)),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for {}s! [python3:7]", (22, 45, 68)),
    ],
)
def test_a_repeated_watchdog_report_is_noted_once(
    log: KernelLog, tmp_path: Path, words: str, times: tuple[int, int, int]
) -> None:
    """Only the time in it differs; the repetitions are counted. Another task is another complaint."""
    for seconds in times:
        log_lines(tmp_path, words.format(seconds), "Call Trace:", " driver_write+0x1/0x2 [driver]")
    log_lines(tmp_path, words.format(4).replace("3:7", "3:8"))
    first, *others = [line for each in log.over("a", now(CALL)) for line in each.lines]
    assert first == words.format(times[0])
    assert others[:2] == ["  called from driver_write+0x1/0x2 [driver]", words.format(4).replace("3:7", "3:8")]
    assert [line for line in others[2:] if "2 times more" in line]
    assert len(others) == 3
