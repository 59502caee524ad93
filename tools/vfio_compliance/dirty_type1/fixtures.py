# SPDX-License-Identifier: GPL-2.0-only
"""The fixtures of the tests of dirty page tracking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from ..device import Container, Device, DirtyTracker
from ..profiles import Profile
from ..run.checks import NotApplicable, Silent
from ..run.session import Session
from ..run.stimulus import Actor
from ..transport import GuardedBuffer, Misplaced
from ..uapi.type1 import VFIO_IOMMU_GET_INFO
from ..uapi.vfio import VFIO_DEVICE_GET_REGION_INFO
from .argsz_probe import CONTAINER, REGION, ArgszProbe
from .canary import Canary
from .guest_memory import GuestMemory
from .histories import Histories
from .interface import Dirtying
from .profile import DirtyClaims
from .rounds import ROUNDS, Rounds, Tally
from .scripted_memory import ScriptedMemory


@pytest.fixture(scope="session")
def dirtying(session: Session) -> Dirtying:
    """The device of the run, and what it does to memory."""
    return session.of(Dirtying)


@pytest.fixture
def rounds(session: Session, guest: GuestMemory, seed: int) -> Callable[..., Tally]:
    """Migration in miniature, many times, on memory that is being written; the numbers go into the report."""

    def run(*, stream: bool, unmapping: bool, most: int | None = None) -> Tally:
        limit = session.profile.limits.test / 6
        tally = Rounds(guest, seed, stream=stream, unmapping=unmapping).run(most or ROUNDS, limit)
        how = f"{'a stream of writes' if stream else 'single writes'}{', mappings come and go' * unmapping}"
        session.note(f"copied by dirty bitmaps alone, {how}: {tally}, seed {seed}")
        return tally

    return run


@pytest.fixture
def guest(dirtying: Dirtying, device: Device) -> Iterator[ScriptedMemory]:
    """Memory of a guest, with nothing mapped and tracking off. Raises NotApplicable if none can be tracked."""
    with dirtying.guest() as memory:
        yield memory


@pytest.fixture
def known_writes(profile: Profile) -> None:
    """A container that knows which pages its devices wrote. Raises NotApplicable if every mapped page counts."""
    if profile.claims_of(DirtyClaims).dirty_scope is None:
        raise Silent("claims.dirty_scope")
    if profile.claims_of(DirtyClaims).dirty_scope != "written":
        raise NotApplicable("the profile claims that every mapped page is reported")


@pytest.fixture
def other_device(dirtying: Dirtying, guest: GuestMemory) -> Iterator[Actor]:
    """A second device in the container of the first."""
    with dirtying.visitor() as actor:
        yield actor


@pytest.fixture(scope="session")
def histories(dirtying: Dirtying, seed: int) -> Histories:
    """Histories of guest memory, each made on first use."""
    return Histories(dirtying, seed)


@pytest.fixture
def tracker(session: Session, device: Device) -> Iterator[DirtyTracker]:
    """Dirty page tracking of a container, which is off, whether or not it is offered."""
    tracker = DirtyTracker(session.transport)
    yield tracker
    if session.transport.may_track and not session.lost:
        tracker.try_stop()


@pytest.fixture
def container(session: Session, tracker: DirtyTracker) -> Container:
    """A container that offers dirty page tracking, which is off."""
    if not session.container.offers_tracking:
        raise NotApplicable(session.container.no_tracking)
    return session.container


@pytest.fixture
def information(session: Session, device: Device) -> Container:
    """A container that can be asked what it offers."""
    if not session.container.has_info:
        agreed = "no container can be asked: the page size was agreed on when the transport connected"
        raise NotApplicable(session.transport.no_tracking or agreed)
    return session.container


@pytest.fixture
def container_argsz(information: Container) -> ArgszProbe:
    """What the container says of itself, as it grows with argsz."""
    return ArgszProbe(CONTAINER, partial(information.try_request, VFIO_IOMMU_GET_INFO))


@pytest.fixture
def region_argsz(device: Device) -> ArgszProbe:
    """What the device says of a region, as it grows with argsz: the first with capabilities, else the first of all."""
    ask = partial(device.try_request, VFIO_DEVICE_GET_REGION_INFO)
    probes = [ArgszProbe(REGION, ask, index.to_bytes(4, "little")) for index in range(device.info()[1])]
    if not probes:
        raise NotApplicable("the device has no regions")
    if not probes[0].answers:  # a device may refuse after other requests; right after an open it has to answer
        device.reopen()
    return next((probe for probe in probes if probe.has_capabilities), probes[0])


@pytest.fixture
def canary(session: Session, container: Container, guest: GuestMemory) -> Iterator[Canary]:
    """Guest memory that shows what a refused request has changed nevertheless."""
    canary = Canary(container, guest)
    yield canary
    canary.release()
    if not canary.sure:
        session.lost = True  # what is mapped and tracked now is unknown


@pytest.fixture
def bad_pointer(session: Session) -> Iterator[Callable[[str, bytes], int]]:
    """Puts an argument where it cannot be used, and gives its address.

    ``NULL``, ``unmapped``, ``read-only``, or ``cut``: the last of its bytes is not there.
    """
    with ExitStack() as kept:

        def put(place: str, argument: bytes) -> int:
            if not session.transport.takes_pointers:
                raise NotApplicable("a bad pointer cannot be passed over this transport")
            if place == "NULL":
                return 0
            inside = argument[:-1] if place == "cut" else argument
            memory = kept.enter_context(GuardedBuffer(len(inside)))
            memory.view[:] = inside
            if place == "read-only":
                memory.readonly()
            return memory.end if place == "unmapped" else Misplaced(memory.address, memory.view)

        yield put
