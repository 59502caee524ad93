# SPDX-License-Identifier: GPL-2.0-only
"""Processes that are started here and ended here, with all that they start in their turn."""

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

    A Ctrl-C that is meant for this process does not reach it. Raises what Popen does.
    """
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options)


def exited(descriptor: int, seconds: float | None = 0.0) -> bool:
    """Whether the process of a pidfd has exited; that is awaited for so many seconds, None for ever."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def await_exit(process: subprocess.Popen[bytes], seconds: float | None = None) -> bool:
    """Whether a process exits within so many seconds, None for ever; its number stays its own all the same."""
    if process.returncode is not None:
        return True
    descriptor = os.pidfd_open(process.pid)
    try:
        return exited(descriptor, seconds)
    finally:
        os.close(descriptor)


def end(process: subprocess.Popen[bytes], patience: float, dying: float) -> None:
    """End a process and its group, best before anybody has waited for it: until then its number is its own.

    It is asked to end, unless ``patience`` is 0, and has that many seconds for it; then all of the group is killed. One
    that cannot die is left behind after ``dying`` seconds more; then it has no returncode.
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
