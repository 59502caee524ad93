# SPDX-License-Identifier: GPL-2.0-only
"""Starts processes and ends them, with all that they start in turn."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from typing import Any


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process without input, in a session and a group of its own; ``options`` are those of Popen.

    A Ctrl-C for this process does not reach it. Raises what Popen raises.
    """
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)


def exited(descriptor: int, seconds: float | None = 0.0) -> bool:
    """Whether the process of a pidfd has exited; waits up to ``seconds``, or forever if None."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def await_exit(process: subprocess.Popen[bytes], seconds: float | None = None) -> bool:
    """Whether a process exits within ``seconds``, or forever if None; it keeps its process id."""
    if process.returncode is not None:
        return True
    descriptor = os.pidfd_open(process.pid)
    try:
        return exited(descriptor, seconds)
    finally:
        os.close(descriptor)


def end(process: subprocess.Popen[bytes], patience: float, dying: float) -> None:
    """End a process and its group, preferably before anyone has waited for it: after that, its id can be reused.

    It gets a request to end and ``patience`` seconds for that, unless that is 0; then the whole group is killed. A
    process that cannot die is left behind after ``dying`` more seconds, without a returncode.
    """
    if patience and not await_exit(process, 0.0):
        _signal(process, signal.SIGTERM)
        await_exit(process, patience)
    _signal(process, signal.SIGKILL)
    if await_exit(process, dying):
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
