# SPDX-License-Identifier: GPL-2.0-only
"""Dirty page tracking by the container as an interface among others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..device import Container, Device, DeviceError
from ..run.checks import NotApplicable, Unjudged, missing
from ..run.exploring import Walked
from ..run.interface import Attachment, Interface, Seen
from ..run.session import Session
from ..run.stimulus import Actor
from .client import DirtyJudge
from .exploring import MemoryPart
from .guest_memory import GuestMemory
from .probing import probe
from .profile import DirtyClaims, DirtySection
from .scripted_memory import ScriptedMemory


class DirtyType1(Interface):
    """Dirty page tracking of type 1: it belongs to the container, and has no region."""

    section = DirtySection
    judge = DirtyJudge
    locks = 32 << 20
    fixtures = "vfio_compliance.dirty_type1.fixtures"

    def probe(self, device: Device, container: Container) -> Seen | None:
        """What the container announces."""
        return probe(container)

    def attach(self, session: Session) -> Dirtying:
        """The interface on the device of a run."""
        return Dirtying(self, session)


class Dirtying(Attachment):
    """The device of a run, and what it does to guest memory."""

    def failed(self) -> None:
        """The container is opened again with the device: a reset does not clear its mappings and tracking."""
        self.session.spoilt = True

    @contextmanager
    def guest(self) -> Iterator[ScriptedMemory]:
        """Guest memory, until the block ends. Raises NotApplicable if no pages are tracked."""
        session = self.session
        scope = session.profile.claims_of(DirtyClaims).dirty_scope
        page_sizes = session.container.known_page_sizes()
        memory = ScriptedMemory(session.transport, session.actor, scope, self.visitor, page_sizes)
        try:
            with memory:
                yield memory
        finally:
            session.lost |= memory.unsure

    def part(self, walk: Walked) -> MemoryPart | None:
        """Memory that is tracked while the device is explored, if the profile says how the device writes it."""
        session = self.session
        if self.interface.name not in session.profile.interfaces or session.profile.stimulus.dirty is None:
            return None
        scope = session.profile.claims_of(DirtyClaims).dirty_scope
        try:
            return MemoryPart(walk, session, GuestMemory(session.transport, session.actor, scope), scope)
        except (NotApplicable, Unjudged, DeviceError):
            return None

    @contextmanager
    def visitor(self) -> Iterator[Actor]:
        """A second device in the container of the first, until the block ends. Raises NotApplicable, Silent."""
        session = self.session
        if not session.transport.kernel:
            raise NotApplicable("each vfio-user server has a container of its own")
        with session.second() as device:
            if device is None:
                raise missing("device.second", denied=session.profile.denies("device.second"))
            yield Actor(device, session.profile)
