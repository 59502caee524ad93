# SPDX-License-Identifier: GPL-2.0-only
"""Saving a device's state to keep it, and restoring it later: what an interface offers for this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from ..device import Stream


@dataclass(frozen=True)
class Taken:
    """A state as it was saved."""

    stream: Stream
    #: The state of the device in which each buffer was read, by name.
    read_in: Sequence[str]
    #: What the device showed of its state; None if the profile cannot show it.
    shown: Sequence[int] | None


class Fate(Enum):
    """The outcome of restoring a state on a device."""

    SAME = "restored, and shown to be the same"
    UNCOMPARED = "accepted, but not compared with the saved state"
    OTHER = "accepted, but it is another state"
    REFUSED = "refused cleanly"
    UNCLEAN = "refused, but not cleanly"


@dataclass(frozen=True)
class Given:
    """The outcome, and how it came about."""

    fate: Fate
    #: What was seen: the step, the answer, what followed.
    seen: str
    #: In a few words.
    brief: str = ""

    @property
    def answer(self) -> str:
        """Whether the device restores the state, in a line of a report."""
        match self.fate:
            case Fate.SAME:
                return "yes, the same state"
            case Fate.UNCOMPARED:
                return "accepted; whether it is the same state is unknown"
            case Fate.OTHER:
                return "no: it is accepted, but is another state"
            case Fate.REFUSED:
                return f"refused {self.brief}"
        return f"no, and not refused cleanly: {self.brief}"


@dataclass(frozen=True)
class Kept:
    """A state to restore on a device."""

    #: Bytes of each buffer.
    sizes: Sequence[int]
    #: The data of a buffer, by its index.
    pieces: Callable[[int], Iterator[bytes]]
    #: What the saved device showed, if that can be compared.
    shown: Sequence[int] | None
    #: Otherwise, why it cannot.
    why: str = ""


class Keeper(ABC):
    """Saves states of a session's device, and restores them. Each operation begins and ends with a reset."""

    @abstractmethod
    def take(self, *, live: bool) -> Taken:
        """Save the state of the device; if ``live``, beginning while it still runs.

        The device is made to show a value that it has not shown before, if the profile says how. Raises DeviceError,
        Broken, TransportError.
        """

    @abstractmethod
    def give(self, kept: Kept) -> Given:
        """Restore a state on the device. Raises Broken, TransportError, and DeviceError if it could not begin."""
