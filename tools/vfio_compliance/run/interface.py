# SPDX-License-Identifier: GPL-2.0-only
"""What an interface provides to the rooms that know none: a new one implements this, and is listed in interfaces.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ..common.registers import Register
from ..device import Container, Device, Region
from ..profiles import Section
from .client import ClientJudge
from .exploring import Part, Walked
from .keeping import Keeper

if TYPE_CHECKING:
    from .session import Session


class Seen(NamedTuple):
    """What can be seen of an interface on a device without changing anything."""

    #: Values of its keys below ``claims``, as in a profile.
    claims: Mapping[str, str]
    #: What else is worth knowing: a sentence each.
    says: Sequence[str] = ()


class Interface(ABC):
    """An interface that drivers implement. It has only one object; what it knows about a device is an Attachment."""

    #: What it adds to the format of profiles; its name is the word for it in profiles, rules and journals.
    section: ClassVar[type[Section]]
    #: Type and subtype of the region through which it is used; None for an interface without one.
    region_type: ClassVar[tuple[int, int] | None] = None
    #: The registers at the start of that region, for readers of calls.
    registers: ClassVar[Sequence[Register]] = ()
    #: The changes of state that it documents, from and to, by the names of the registers' values.
    drawn: ClassVar[Sequence[tuple[str, str]]] = ()
    #: Module with the fixtures of its tests.
    fixtures: ClassVar[str]
    #: Bytes that a run of its rules maps for DMA, and a driver may lock; more is tried only if possible.
    locks: ClassVar[int] = 0
    #: Judges its clients by what they do to its region, or to the container; None if nothing does.
    judge: ClassVar[type[ClientJudge] | None] = None

    @property
    def name(self) -> str:
        """The word for it."""
        return self.section.name

    def find(self, device: Device) -> Sequence[Region]:
        """The regions of a device through which it is used. Raises DeviceError."""
        return device.regions_of_type(self.region_type) if self.region_type else ()

    def probe(self, device: Device, container: Container) -> Seen | None:
        """What can be seen of it on an open device without changing anything; None if the device does not have it.

        Raises DeviceError for an answer that no working device gives.
        """
        return None

    def sessions(self) -> Sequence[tuple[str, str]]:
        """What a client may have done before the migration that a case judges: the name of each, and its steps."""
        return ()

    def keeper(self, session: Session) -> Keeper | None:
        """Saves and restores states of a session's device; None if it moves no states, or not here.

        The device is open.
        """
        return None

    @abstractmethod
    def attach(self, session: Session) -> Attachment:
        """The interface on the device of a run, which is not open yet."""


class Attachment:
    """An interface on the device of a run."""

    def __init__(self, interface: Interface, session: Session) -> None:
        self.interface = interface
        self.session = session
        #: The regions through which it is used, as far as they were found.
        self.regions: Sequence[Region] = ()
        #: Why no test can use it here; empty if it is there.
        self.missing = ""

    def look(self) -> None:
        """See whether the device has it. Called once, right after the device was opened. Raises TransportError."""

    def unready(self, device: Device, *, insist: bool) -> str:
        """What prevents it from being used on a device that was opened or reset; empty if it can be used.

        This may fix the problem if it can; with ``insist``, even in a way that hides a fault. Raises TransportError.
        """
        return ""

    def reads_as_reset(self) -> bool:
        """Whether the session's device, to which nothing was done, reads as after a reset. Raises TransportError."""
        return True

    def brought_back(self) -> bool:
        """Whether the session's device, which only this interface has changed, is where its user begins again.

        Takes the steps for that which are documented or claimed. Raises TransportError.
        """
        return True

    def has_failed(self) -> bool:
        """Whether the session's device reports that it has failed, which only a reset ends. Raises TransportError."""
        return False

    def failed(self) -> None:
        """A case of it did not pass. What outlives a reset of the device, and may now be spoilt, must be made anew."""

    def identity(self) -> dict[str, str]:
        """Facts for a report, in addition to those of the transport about the device."""
        return {}

    def part(self, walk: Walked) -> Part | None:
        """What it adds to a walk of an exploration; None if nothing. Raises TransportError."""
        return None
