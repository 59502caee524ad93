# SPDX-License-Identifier: GPL-2.0-only
"""A device's state taken out to be kept, and given back later: what an interface offers for that."""

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
    #: The state of the device in which each buffer was read, by its word.
    read_in: Sequence[str]
    #: What the device showed of its state; None where the profile cannot show it.
    shown: Sequence[int] | None


class Fate(Enum):
    """What became of a state that a device was given."""

    SAME = "restored, and shown to be the same"
    UNCOMPARED = "taken; whether it is the same state was not compared"
    OTHER = "taken, and it is another state"
    REFUSED = "refused cleanly"
    UNCLEAN = "refused, and not cleanly"


@dataclass(frozen=True)
class Given:
    """The same, and how it came to that."""

    fate: Fate
    #: What was seen: which step, which answer, what after it.
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
                return "taken; whether it is the same state is not known"
            case Fate.OTHER:
                return "no: it is taken, and is another state"
            case Fate.REFUSED:
                return f"refused {self.brief}"
        return f"no, and not refused cleanly: {self.brief}"


@dataclass(frozen=True)
class Kept:
    """A state to be given to a device."""

    #: Bytes of each buffer.
    sizes: Sequence[int]
    #: The data of a buffer, by its index.
    pieces: Callable[[int], Iterator[bytes]]
    #: What the device that was saved showed, if that can be compared.
    shown: Sequence[int] | None
    #: Why it cannot, else.
    why: str = ""


class Keeper(ABC):
    """Takes states out of the device of a session, and gives them to it. Each begins with a reset and ends with one."""

    @abstractmethod
    def take(self, *, live: bool) -> Taken:
        """Save the state of the device, ``live``: while it runs on at first.

        The device is made to show a value that it has not shown before, where the profile says how. Raises DeviceError,
        Broken, TransportError.
        """

    @abstractmethod
    def give(self, kept: Kept) -> Given:
        """Have the device take a state. Raises Broken, TransportError, and DeviceError where it could not begin."""
