# SPDX-License-Identifier: GPL-2.0-only
"""Lines in the kernel's log that mark the beginning of each case.

The console of a machine that died then ends with the case under way, and a complaint of the kernel comes after the
line of its case.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ..profiles import Profile
from ..results.kernel_log import Mark, written

LOG = Path("/dev/kmsg")


class KernelMarks:
    """Marks the cases of this process, if a kernel is judged and its log can be written; otherwise does nothing."""

    def __init__(self, profile: Profile, log: Path = LOG) -> None:
        self._log = None if profile.device.transport == "vfio-user" else log

    def begin(self, case: str) -> None:
        """Mark the beginning of a case. A mark that fails does not affect the case: nothing is raised."""
        if self._log is None:
            return
        # Opened for each mark: the kernel limits the rate of writes through one descriptor. So nothing on the host
        # (kernel.printk_devkmsg) has to be changed and restored.
        with contextlib.suppress(OSError):
            descriptor = os.open(self._log, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, written(Mark(os.getpid(), time.monotonic_ns() // 1000, case)))
            finally:
                os.close(descriptor)
