# SPDX-License-Identifier: GPL-2.0-only
"""The device's interrupts: which vectors a user has reported, and by which descriptors."""

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
    """One of them."""

    def __init__(self) -> None:
        self._fd = -1
        self._masked = False
        #: It was raised while masked, once or more often.
        self._pending = False

    @property
    def attached(self) -> bool:
        """Whether anybody is told of it."""
        return self._fd >= 0

    def attach(self, fd: int) -> None:
        """Tell it by this descriptor, which becomes ours, from now on."""
        self._close()
        self._fd = fd

    def detach(self) -> None:
        """Tell nobody. It is not masked any more, and what was kept back is forgotten."""
        self._close()
        self._masked = self._pending = False

    def _close(self) -> None:
        if self.attached:
            os.close(self._fd)
        self._fd = -1

    def fire(self) -> None:
        """Tell it now, or once it is unmasked; where nobody is attached it is lost."""
        if self._masked:
            self._pending = self.attached
        elif self.attached:
            _add_one(self._fd)

    def mask(self) -> None:
        """Keep it back from now on."""
        self._masked = True

    def unmask(self) -> None:
        """Tell it again, and now if it was raised meanwhile."""
        pending, self._masked, self._pending = self._pending, False, False
        if pending:
            self.fire()

    def reset(self) -> None:
        """What is kept back is forgotten."""
        self._pending = False


class Interrupts:
    """All vectors. Their descriptors outlive a reset, and end with the user."""

    def __init__(self) -> None:
        self.vectors = [Vector() for _ in range(VECTORS)]

    def fire(self, vector: int) -> None:
        """The device has something to tell."""
        self.vectors[vector].fire()

    def attach(self, start: int, fds: Sequence[int]) -> None:
        """Tell vectors by these eventfds, which stay the caller's. EINVAL for another file; all of them or none."""
        if not all(map(_is_eventfd, fds)):
            raise Refusal(EINVAL)
        for vector, fd in zip(self.vectors[start:], _copies(fds), strict=False):
            vector.attach(fd)

    def close(self) -> None:
        """The user has gone: every descriptor of theirs is closed."""
        for vector in self.vectors:
            vector.detach()

    def reset(self) -> None:
        """The device was reset."""
        for vector in self.vectors:
            vector.reset()


def _is_eventfd(fd: int) -> bool:
    """Whether adding to it cannot have another meaning. Nothing but an eventfd can be waited for as below."""
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
