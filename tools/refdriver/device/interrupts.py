# SPDX-License-Identifier: GPL-2.0-only
"""The device's interrupts: which vectors are reported to the user, and through which descriptors."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from contextlib import suppress
from errno import EINVAL, EMFILE

from ..refusal import Refusal

#: What each vector is for: a doorbell's DMA is over; the stream has written.
DONE = 0
STREAMED = 1
#: How many there are.
VECTORS = 2

_EVENTFD = "anon_inode:[eventfd]"


class Vector:
    """One vector."""

    def __init__(self) -> None:
        self._fd = -1
        self._masked = False
        #: It was raised while masked, once or more.
        self._pending = False

    @property
    def attached(self) -> bool:
        """Whether it is reported through a descriptor."""
        return self._fd >= 0

    def attach(self, fd: int) -> None:
        """Report it through this descriptor from now on, which we then own."""
        self._close()
        self._fd = fd

    def detach(self) -> None:
        """Stop reporting it. It is no longer masked, and a pending interrupt is forgotten."""
        self._close()
        self._masked = self._pending = False

    def _close(self) -> None:
        if self.attached:
            os.close(self._fd)
        self._fd = -1

    def fire(self) -> None:
        """Report it now, or once it is unmasked; without a descriptor it is lost."""
        if self._masked:
            self._pending = self.attached
        elif self.attached:
            _add_one(self._fd)

    def mask(self) -> None:
        """Do not report it from now on."""
        self._masked = True

    def unmask(self) -> None:
        """Report it again; at once if it was raised while masked."""
        pending, self._masked, self._pending = self._pending, False, False
        if pending:
            self.fire()

    def reset(self) -> None:
        """Forget a pending interrupt."""
        self._pending = False


class Interrupts:
    """All vectors. Their descriptors outlive a reset, but not the user."""

    def __init__(self) -> None:
        self.vectors = [Vector() for _ in range(VECTORS)]

    def fire(self, vector: int) -> None:
        """The device raises a vector."""
        self.vectors[vector].fire()

    def attach(self, start: int, fds: Sequence[int]) -> None:
        """Report vectors through these eventfds, which the caller owns. EINVAL for another file; all or nothing."""
        if not all(map(_is_eventfd, fds)):
            raise Refusal(EINVAL)
        for vector, fd in zip(self.vectors[start:], _copies(fds), strict=False):
            vector.attach(fd)

    def close(self) -> None:
        """The user has closed the device: all their descriptors are closed."""
        for vector in self.vectors:
            vector.detach()

    def reset(self) -> None:
        """The device was reset."""
        for vector in self.vectors:
            vector.reset()


def _is_eventfd(fd: int) -> bool:
    """Whether a descriptor is an eventfd, so that a write only adds to it. No other file can be polled as below."""
    return os.readlink(f"/proc/self/fd/{fd}") == _EVENTFD


def _copies(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError as error:
        for fd in copies:
            os.close(fd)
        raise Refusal(error.errno or EMFILE) from error
    return copies


def _add_one(fd: int) -> None:
    """Unless the counter is full: the user would stop the device by it."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    if poll.poll(0):
        with suppress(BlockingIOError):
            os.eventfd_write(fd, 1)
