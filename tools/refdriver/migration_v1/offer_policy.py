# SPDX-License-Identifier: GPL-2.0-only
"""Ways of offering data that the specification leaves to the driver: when, in which sizes, and how it is counted."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns
from typing import NamedTuple

from .stream import Image, Incoming, Outgoing

_BURST_NS = 1_000_000

#: The value of pending_bytes for a number of bytes left above 0. It matters only that it is not 0.
ESTIMATES: dict[str, Callable[[Outgoing, int], int]] = {
    "exact": lambda outgoing, left: left,
    "over": lambda outgoing, left: left + (4 << 30),
    "one": lambda outgoing, left: 1,
    "growing": lambda outgoing, left: outgoing.position + 1,
    "drifting": lambda outgoing, left: left + monotonic_ns() // 1000 % 4096,
}

#: The sizes of the buffers in turn: the largest, divided by this.
SHARES = {"even": (1,), "mixed": (3, 1, 7, 2)}


class Buffers(NamedTuple):
    """How buffers are offered and loaded."""

    pre_copy: type[Outgoing]
    whole: type[Outgoing]
    #: The divisors of the largest buffer that give the buffers' sizes, in turn.
    shares: tuple[int, ...]
    resuming: type[Incoming]


class Nothing(Outgoing):
    """There is never any data."""

    def __init__(self, image: Image, which: int, largest: int, shares: tuple[int, ...]) -> None:
        super().__init__(image, which, largest, shares)
        self.end()


class Endless(Outgoing):
    """Begins again when all was offered, like a device whose state never stops changing."""

    def advance(self) -> None:
        """Advance to the next buffer; after the last one that is the first one."""
        super().advance()
        if not self.left():
            self.rewind()


class Bursts(Outgoing):
    """For a while there is no data: at first, and after each buffer."""

    def __init__(self, image: Image, which: int, largest: int, shares: tuple[int, ...]) -> None:
        super().__init__(image, which, largest, shares)
        self._ready = monotonic_ns() + _BURST_NS

    def advance(self) -> None:
        """Advance to the next buffer, which takes a while."""
        super().advance()
        self._ready = monotonic_ns() + _BURST_NS

    def pending(self) -> int:
        """A read of pending_bytes: 0 until the next buffer has been gathered."""
        left = super().pending()
        return left if monotonic_ns() >= self._ready else 0


#: By the value of the option.
PRE_COPY: dict[str, type[Outgoing]] = {"data": Outgoing, "none": Nothing, "endless": Endless, "bursts": Bursts}
