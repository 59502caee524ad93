# SPDX-License-Identifier: GPL-2.0-only
"""An eventfd through which a driver reports a device's interrupts."""

from __future__ import annotations

import os
import select
import weakref

from .errors import SetupError


class Event:
    """A counter that a driver adds to. The descriptor is open until ``close``, or as long as the object exists."""

    def __init__(self) -> None:
        """Raises SetupError if this process may open no more descriptors."""
        try:
            self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:
            raise SetupError(
                f"cannot create an eventfd: {error.strerror}", "allow more open files, by `ulimit -n`"
            ) from None
        self._poll = select.poll()
        self._poll.register(self.descriptor, select.POLLIN)
        self._close = weakref.finalize(self, os.close, self.descriptor)

    @property
    def closed(self) -> bool:
        """Whether it was closed: its number may belong to another file by now."""
        return not self._close.alive

    def take(self) -> int:
        """What was added since the last call, without waiting; 0 for nothing, and if it is closed."""
        # Whether a read waits is a property of the open file, which the driver has too and may change.
        if self.closed or not self._poll.poll(0):
            return 0
        return os.eventfd_read(self.descriptor)

    def close(self) -> None:
        """Close the descriptor, once."""
        self._close()
