# SPDX-License-Identifier: GPL-2.0-only
"""Lines in the kernel's log that say which case begins.

The console of a machine that died then ends with the case under way, and what the kernel complains of comes after the
line of the case that it belongs to.
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
    """Marks the cases of this process, where a kernel is judged and its log can be written; else it does nothing."""

    def __init__(self, profile: Profile, log: Path = LOG) -> None:
        self._log = None if profile.device.transport == "vfio-user" else log

    def begin(self, case: str) -> None:
        """Say that a case begins. A mark that cannot be made is no matter of the case: nothing is raised."""
        if self._log is None:
            return
        # Opened for each mark: the kernel limits the rate of what is written through one descriptor. So nothing of the
        # host has to be changed (kernel.printk_devkmsg), and put back.
        with contextlib.suppress(OSError):
            descriptor = os.open(self._log, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.write(descriptor, written(Mark(os.getpid(), time.monotonic_ns() // 1000, case)))
            finally:
                os.close(descriptor)
