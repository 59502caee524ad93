# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel complains of while the suites run."""

from __future__ import annotations

import os
from pathlib import Path

from ..results.kernel_log import complaints, taint_letters

_LARGEST_RECORD = 8192


class KernelLog:
    """New complaints in the kernel's log, and new taints, since the last look."""

    def __init__(self, log: Path = Path("/dev/kmsg"), taint: Path = Path("/proc/sys/kernel/tainted")) -> None:
        """Starts at the end of the log. Raises OSError when the log or the taint cannot be read."""
        self._taint_file = taint
        self._taint = int(taint.read_text())
        self._file = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._file, 0, os.SEEK_END)

    def complaints(self) -> list[str]:
        """Lines since the last look that tell of a fault in the kernel; empty when all is well."""
        found = complaints(self._lines())
        taint = int(self._taint_file.read_text())
        if new := taint & ~self._taint:
            found.append(f"the kernel got tainted: {taint_letters(new)}")
        self._taint = taint
        return found

    def close(self) -> None:
        """Stop looking."""
        os.close(self._file)

    def _lines(self) -> list[str]:
        lines: list[str] = []
        while True:
            try:
                record = os.read(self._file, _LARGEST_RECORD)
            except BlockingIOError:
                return lines
            except BrokenPipeError:  # records were overwritten before they were read; the next read goes on after them
                continue
            if not record:
                return lines
            # Lines that begin with a blank tell of the device, for programs.
            text = [line for line in record.decode("utf-8", "replace").split("\n") if line and line[0] != " "]
            lines += [line.partition(";")[2] for line in text]
