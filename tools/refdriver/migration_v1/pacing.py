# SPDX-License-Identifier: GPL-2.0-only
"""Ways of handing out data that the text leaves to the driver: when, in which sizes, and how it is counted."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import NamedTuple

from .stream import Image, Incoming, Outgoing

_BURST_NS = 1_000_000

#: What pending_bytes reads for so many bytes that are left, which is more than 0. Only that it is not 0 counts.
ESTIMATES: dict[str, Callable[[Outgoing, int], int]] = {
    "exact": lambda outgoing, left: left,
    "over": lambda outgoing, left: left + (4 << 30),
    "one": lambda outgoing, left: 1,
    "growing": lambda outgoing, left: outgoing.position + 1,
    "drifting": lambda outgoing, left: left + monotonic_ns() // 1000 % 4096,
}

#: What the buffers carry in turn: the largest, divided by this.
SHARES = {"even": (1,), "mixed": (3, 1, 7, 2)}


class Buffers(NamedTuple):
    """How buffers are handed out and taken in."""

    pre_copy: type[Outgoing]
    whole: type[Outgoing]
    #: By what the largest buffer is divided to give the buffers' sizes, in turn.
    shares: tuple[int, ...]
    resuming: type[Incoming]


class Nothing(Outgoing):
    """There is never anything."""

    def __init__(self, image: Image, which: int, largest: int, shares: tuple[int, ...]) -> None:
        super().__init__(image, which, largest, shares)
        self.end()


class Endless(Outgoing):
    """Begins again when all was handed out, as with a device whose state never comes to rest."""

    def advance(self) -> None:
        """Go on to the next buffer, which after the last one is the first one."""
        super().advance()
        if not self.left():
            self.rewind()


class Bursts(Outgoing):
    """For a while there is nothing: at first, and after each buffer."""

    def __init__(self, image: Image, which: int, largest: int, shares: tuple[int, ...]) -> None:
        super().__init__(image, which, largest, shares)
        self._ready = monotonic_ns() + _BURST_NS

    def advance(self) -> None:
        """Go on to the next buffer, which takes a while."""
        super().advance()
        self._ready = monotonic_ns() + _BURST_NS

    def pending(self) -> int:
        """A read of pending_bytes: 0 until the next buffer has been gathered."""
        left = super().pending()
        return left if monotonic_ns() >= self._ready else 0


#: By what is chosen.
PRE_COPY: dict[str, type[Outgoing]] = {"data": Outgoing, "none": Nothing, "endless": Endless, "bursts": Bursts}
