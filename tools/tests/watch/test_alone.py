# SPDX-License-Identifier: GPL-2.0-only
"""Work on a device in a separate process: its answer, a hang, its death, and a signal during the work."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import Any

import pytest

from vfio_compliance.results.inflight import Inflight
from vfio_compliance.watch.alone import Hung, alone


def gone(process: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return False
    return True


def test_an_answer() -> None:
    """It comes complete from another process, whatever its length."""
    answer = alone(lambda calls: str(os.getpid()).encode().ljust(1 << 20), 5)
    assert len(answer) == 1 << 20
    assert int(answer) != os.getpid()
    assert gone(int(answer))


def test_a_call_that_does_not_return(tmp_path: Path) -> None:
    """The call is named, and the process is killed even if it ignores other signals."""
    note = tmp_path / "process"

    def work(calls: Inflight) -> bytes:
        note.write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        calls.begin("write", "region 9", 0x18, 8)
        time.sleep(600)
        return b""

    with pytest.raises(Hung, match=r"write of 8 bytes at 0x18 of region 9: it did not return within 0\.5 s"):
        alone(work, 0.5)
    assert gone(int(note.read_text()))


def test_long_work_without_a_call() -> None:
    """After the device is closed, there is no time limit."""

    def work(calls: Inflight) -> bytes:
        calls.begin("close", "device", 0, 0)
        calls.none()
        time.sleep(1.2)
        return b"written"

    assert alone(work, 0.3) == b"written"


@pytest.mark.parametrize("end", [lambda calls: os._exit(3), lambda calls: 1 // 0], ids=["exit", "error"])
def test_no_answer(end: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="without an answer"):
        alone(end, 5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal(tmp_path: Path, number: Signals) -> None:
    """The process cleans up, and then this one is interrupted."""
    note = tmp_path / "undone"

    def work(calls: Inflight) -> bytes:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            os.kill(os.getppid(), number)
            time.sleep(600)
        finally:
            note.write_text("undone")
        return b""

    with pytest.raises(KeyboardInterrupt):
        alone(work, 60)
    assert note.read_text() == "undone"


def test_a_signal_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal right after the fork, delivered to another thread that blocks no signals, is not lost."""
    note = tmp_path / "undone"
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    fork = os.fork

    def forked() -> int:
        if child := fork():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        return child

    def work(calls: Inflight) -> bytes:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            time.sleep(600)
        finally:
            note.write_text("undone")
        return b""

    monkeypatch.setattr(os, "fork", forked)
    with pytest.raises(KeyboardInterrupt):
        alone(work, 60)
    over.set()
    other.join()
    assert note.read_text() == "undone"
