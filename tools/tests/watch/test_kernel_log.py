# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's complaints, from files that stand in for its log and its taint."""

from __future__ import annotations

import pytest
from descriptors import same_descriptors

from vfio_compliance.watch import kernel_log
from vfio_compliance.watch.kernel_log import KernelLog


@pytest.fixture
def log(tmp_path):
    """A log with an old complaint in it, an untainted kernel, and the watcher of both."""
    (tmp_path / "kmsg").write_text("4,1,1,-;BUG: long ago\n")
    (tmp_path / "tainted").write_text("0\n")
    watched = KernelLog(tmp_path / "kmsg", tmp_path / "tainted")
    yield watched
    watched.close()


def say(tmp_path, *lines):
    """The kernel says something."""
    with (tmp_path / "kmsg").open("a") as kmsg:
        kmsg.writelines(f"4,2,3,-;{line}\n" for line in lines)


def test_quiet(log, tmp_path):
    """What was there before, and what is no complaint, does not count."""
    say(tmp_path, "usb 1-1: new device", "vfio-pci 0000:00:01.0: enabling device")
    assert log.complaints() == []


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
def test_complaint(log, tmp_path, line):
    """A fault in the kernel is told once."""
    say(tmp_path, "all is well", line)
    assert log.complaints() == [line]
    assert log.complaints() == []


def test_taint(log, tmp_path):
    """A new taint is told by its letters, once; one that was there is not."""
    (tmp_path / "tainted").write_text(f"{1 << 9 | 1 << 7}\n")
    assert log.complaints() == ["the kernel got tainted: DW"]
    (tmp_path / "tainted").write_text(f"{1 << 12 | 1 << 9 | 1 << 7}\n")
    assert log.complaints() == ["the kernel got tainted: O"]
    assert log.complaints() == []


def test_bytes_that_are_no_text(log, tmp_path):
    """A driver may log anything."""
    with (tmp_path / "kmsg").open("ab") as kmsg:
        kmsg.write(b"4,2,3,-;BUG: \xff\xfe\n")
    assert log.complaints() == ["BUG: \ufffd\ufffd"]


def test_one_record_at_a_time(tmp_path, monkeypatch, log):
    """As the kernel gives it: a record for each read, a broken pipe where some were overwritten, then nothing yet."""
    answers = iter([b"4,1,1,-;BUG: one\n", BrokenPipeError, b"6,3,1,-;fine\n SUBSYSTEM=pci\n", BlockingIOError])

    def read(descriptor: int, most: int) -> bytes:
        answer = next(answers)
        if isinstance(answer, bytes):
            return answer
        raise answer

    monkeypatch.setattr(kernel_log.os, "read", read)
    assert log.complaints() == ["BUG: one"]


@pytest.mark.parametrize("missing", ["kmsg", "tainted"])
def test_unreadable(tmp_path, missing):
    """Who may not look is told so at once, and nothing stays open."""
    for name in {"kmsg", "tainted"} - {missing}:
        (tmp_path / name).write_text("0\n")
    with same_descriptors(), pytest.raises(FileNotFoundError):
        KernelLog(tmp_path / "kmsg", tmp_path / "tainted")
