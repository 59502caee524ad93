# SPDX-License-Identifier: GPL-2.0-only
"""A page that the device writes by itself, and a client that copies it by the bitmaps."""

from __future__ import annotations

import time
from contextlib import ExitStack

from ..run.checks import Unjudged
from .guest_memory import GuestMemory


class Streamed:
    """The page and its copy, until the block ends. A change since the copy must be in the next bitmap."""

    def __init__(self, guest: GuestMemory) -> None:
        self._guest, self._streams = guest, ExitStack()
        self._page, self._within = 0, 0.0
        self._copy = b""

    def __enter__(self) -> Streamed:
        return self

    def __exit__(self, *error: object) -> None:
        self._streams.__exit__(*error)  # type: ignore[arg-type]

    def stream(self, page: int) -> None:
        """Make the device write ``page`` repeatedly. Raises NotApplicable, Silent."""
        guest, self._page = self._guest, page
        self._copy = self._now()
        guest.device_streams(page)
        self._within = self._streams.enter_context(guest.actor.stream(guest.iova(page), guest.page, in_any_state=True))

    def written(self) -> None:
        """The device writes it after the last copy. Raises Unjudged if it does not."""
        end = time.monotonic() + self._within
        while self._now() == self._copy:
            if time.monotonic() > end:
                raise Unjudged(f"the memory that the device writes does not change in {self._within:g} s")
            self._guest.transport.pause(self._within / 1024)  # soon: the next write is to come after what follows

    def copy(self, first: int, count: int) -> None:
        """Copy the page behind a bitmap of ``count`` pages from ``first`` on, which must be correct."""
        if self._now() != self._copy:
            self._guest.device_wrote(self._page)
        self._guest.get(first, count).correct()
        self._copy = self._now()

    def _now(self) -> bytes:
        return self._guest.look(self._page)
