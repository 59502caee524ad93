# SPDX-License-Identifier: GPL-2.0-only
"""For how long calls were under way."""

from __future__ import annotations

from typing import Final

#: So many stretches of time are kept in which calls were under way, for a longer call that began before them.
_KEPT: Final = 1024


class UnderWay:
    """The time in which at least one call was under way.

    Opening a device is made of calls, a device reaches memory while a call waits for it, and threads make calls side by
    side: no moment counts twice. A call during which more than some hundred others came and went counts from there on.
    """

    def __init__(self) -> None:
        #: Nanoseconds.
        self.ns = 0
        #: When each stretch began and ended; they are apart from each other, the last one is the latest.
        self._stretches: list[tuple[int, int]] = []
        #: When the last one ended of those that were dropped.
        self._dropped = 0

    def add(self, started: int, duration: int) -> None:
        """A call has ended, after all those that were added before it; in nanoseconds."""
        stretches, ended = self._stretches, started + duration
        if started < self._dropped:
            started = self._dropped
        while stretches and stretches[-1][1] > started:
            first, last = stretches.pop()
            self.ns -= last - first
            started, ended = min(first, started), max(last, ended)
        if ended <= started:
            return
        self.ns += ended - started
        stretches.append((started, ended))
        if len(stretches) > _KEPT:
            self._dropped = stretches[_KEPT // 2][1]
            del stretches[: _KEPT // 2 + 1]
