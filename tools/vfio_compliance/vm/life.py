# SPDX-License-Identifier: GPL-2.0-only
"""Signs of life of a guest that is starting: whether KVM really runs this kernel here.

A /dev/kvm that opens, or one that runs a few instructions, proves little: some hosts offer one on which no kernel
gets to its first line. So the kernel itself is the probe.
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds, on an idle machine, to the kernel's first line, and to the guest's first report. A usable KVM needs two and
#: five. A guest that is not up by then would be up sooner under emulation.
FIRST_LINE, UP = 25.0, 60.0
_SLOWEST = 3.0  # at most this many times as long is allowed, however busy the machine is
_KERNEL = re.compile(r"^\[ *\d+\.\d+\]|Linux version ")
#: QEMU's messages when it has stopped the machine for good.
_GIVEN_UP = re.compile(r"KVM internal error|kvm run failed|KVM: entry failed")


def slowdown() -> float:
    """How many processes want each processor now, at least 1: everything takes this many times as long."""
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1.0
    return max(1.0, running / len(os.sched_getaffinity(0)))


class Life:
    """What a starting guest has shown up to now.

    Time is counted as on an idle machine: on a busy one the clock runs slower, so that KVM is not
    taken for dead while processes wait for their turn.
    """

    def __init__(
        self,
        first_line: float = FIRST_LINE,
        up: float = UP,
        clock: Callable[[], float] = time.monotonic,
        slowdown: Callable[[], float] = slowdown,
    ) -> None:
        self._first_line, self._up = first_line, up
        self._clock = clock
        self._slowdown = slowdown
        self._seen = clock()
        self._spent = 0.0
        self._refused = ""
        self._last = ""
        #: The kernel has printed a line; the guest has reported.
        self.kernel = self.up = False

    def line(self, text: str) -> None:
        """Takes a line of the console, to which QEMU and virtme-ng write, too."""
        self._last = text.strip() or self._last
        self.kernel = self.kernel or bool(_KERNEL.search(text))
        if _GIVEN_UP.search(text) and not self.up:
            self._refused = text.strip()

    def stalled(self) -> str:
        """Why this guest is given up, or nothing. Ask at least every few seconds."""
        now = self._clock()
        self._spent += (now - self._seen) / min(self._slowdown(), _SLOWEST)
        self._seen = now
        if self.up:
            return ""
        if self._refused:
            return f"QEMU stopped the machine: {self._refused}"
        if not self.kernel and self._spent > self._first_line:
            return f"the kernel printed nothing within {self._first_line:.0f} s"
        return f"the guest was not up within {self._up:.0f} s" if self._spent > self._up else ""

    def stillborn(self) -> str:
        """Why a machine that has ended was never alive, or nothing if its kernel ran."""
        last = self._last or "no output"
        return "" if self.kernel or self.up else f"it ended before the kernel's first line ({last})"
