# SPDX-License-Identifier: GPL-2.0-only
"""For how long calls were under way."""

from __future__ import annotations

from typing import Final

#: The most stretches of time with calls under way that are kept, for a longer call that began before them.
_KEPT: Final = 1024


class UnderWay:
    """The time in which at least one call was under way.

    Opening a device is made of calls, a device reaches memory while a call waits for it, and threads make calls side by
    side: no moment counts twice. If more than some hundred others came and went during a call, it counts only
    from the end of the last one that is no longer kept.
    """

    def __init__(self) -> None:
        #: Nanoseconds.
        self.ns = 0
        #: When each stretch began and ended; they do not overlap, and the last one is the latest.
        self._stretches: list[tuple[int, int]] = []
        #: When the last dropped one ended.
        self._dropped = 0

    def add(self, started: int, duration: int) -> None:
        """Add a call that ended after all those added before it; in nanoseconds."""
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
