# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel complains of while the suites run."""

from __future__ import annotations

import os
import re
from pathlib import Path

_COMPLAINT = re.compile(
    r"WARNING:|BUG:|Oops|general protection|INFO: task .* blocked|INFO: (possible|suspicious)|"
    r"UBSAN|KASAN|KCSAN|KFENCE|inconsistent lock|refcount_t:|Kernel panic|kernel NULL pointer"
)

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
        found = [line for line in self._lines() if _COMPLAINT.search(line)]
        taint = int(self._taint_file.read_text())
        if new := taint & ~self._taint:
            bits = ", ".join(str(bit) for bit in range(new.bit_length()) if new >> bit & 1)
            found.append(f"the kernel got tainted: bit {bits}")
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
            lines.append(record.decode("utf-8", "replace").partition(";")[2].rstrip("\n"))
