# SPDX-License-Identifier: GPL-2.0-only
"""How every part of the device refuses a request."""

from __future__ import annotations

import os


class Refusal(Exception):
    """A request is answered with an error: ``errno``, as a system call would report it."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno


class Failure(Refusal):
    """A refusal that leaves the device in the error state."""
