# SPDX-License-Identifier: GPL-2.0-only
"""The guest kernel's log and taint."""

import os
from pathlib import Path
from typing import Any

from vfio_compliance.results.kernel_log import unescaped


def taint() -> int:
    """The present mask."""
    return int(Path("/proc/sys/kernel/tainted").read_text())


def records() -> list[tuple[int, str]]:
    """The kernel's log as (sequence number, ``[seconds] text``)."""
    found: list[tuple[int, str]] = []
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                head, _, text = os.read(log, 8192).decode(errors="replace").partition(";")
            except BlockingIOError:
                return found
            except BrokenPipeError:
                continue  # older records were overwritten: the next read continues with the oldest one left
            _, number, microseconds, *_ = head.split(",")
            found.append((int(number), f"[{int(microseconds) / 1e6:12.6f}] {unescaped(text)}"))
    finally:
        os.close(log)


class Log:
    """What is new in the kernel's log and taint since the last look."""

    def __init__(self) -> None:
        self._taint = taint()
        self._last = max((number for number, _ in records()), default=-1)

    def since(self) -> dict[str, Any]:
        """The lines since the last look, and the taint then (``before``) and now (``after``)."""
        found = [(number, line) for number, line in records() if number > self._last]
        self._last = max((number for number, _ in found), default=self._last)
        before, self._taint = self._taint, taint()
        return {"since": [line for _, line in found], "before": before, "after": self._taint}
