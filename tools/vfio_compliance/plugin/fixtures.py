# SPDX-License-Identifier: GPL-2.0-only
"""What a test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ..device import Container, Device, DirtyTracker
from ..dirty_type1.growth import CONTAINER, REGION, Growth
from ..dirty_type1.guest_memory import GuestMemory
from ..dirty_type1.histories import Histories
from ..dirty_type1.rounds import ROUNDS, Rounds, Tally
from ..dirty_type1.witness import Witness
from ..migration_v1.flows import Journeys
from ..migration_v1.qemu import Qemu
from ..migration_v1.reach import Reach
from ..migration_v1.region import MigrationRegion
from ..migration_v1.states import name
from ..profiles import Profile
from ..run.checks import NotApplicable, Silent, missing, one_of, succeeded, unless
from ..run.session import Destination, Session
from ..run.stimulus import Actor
from ..transport import GuardedBuffer
from ..uapi.migration_v1 import DeviceState
from ..uapi.type1 import VFIO_IOMMU_GET_INFO
from ..uapi.vfio import VFIO_DEVICE_GET_REGION_INFO
from .options import SHORTENING
from .stash import OBSERVATIONS, SESSION, STRESS

if TYPE_CHECKING:
    from ..migration_v1.exploration.stress import Stress


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config) -> Session:
    """The run's open device. A device must be named: there is no default."""
    opened = pytestconfig.stash.get(SESSION, None)
    if opened is None:
        raise pytest.UsageError("name the device to judge: --profile profiles/NAME.yaml")
    return opened


@pytest.fixture(scope="session")
def profile(session: Session) -> Profile:
    """What is claimed about the device."""
    return session.profile


@pytest.fixture
def device(session: Session) -> Device:
    """The open device, after a reset, whatever came of that."""
    return session.plain()


@pytest.fixture
def header(session: Session, device: Device) -> MigrationRegion:
    """The migration region after a reset, whatever state it is in."""
    return session.migration()


@pytest.fixture
def migration(session: Session, device: Device) -> MigrationRegion:
    """The migration region of a device that is RUNNING."""
    return session.prepare()


@pytest.fixture
def fresh(session: Session) -> Callable[[], MigrationRegion]:
    """Brings the device back to RUNNING in the middle of a test, by a reset or what stands in for it."""

    def bring_back() -> MigrationRegion:
        session.plain()
        return session.prepare()

    return bring_back


@pytest.fixture
def reach(session: Session, device: Device) -> Reach:
    """Brings the device along states; may reset it now, so ask for it before whatever that would disturb."""
    session.reach.get_ready()
    return session.reach


@pytest.fixture
def recovers(session: Session, device: Device, fresh: Callable[[], MigrationRegion]) -> Callable[[], None]:
    """Sees that a reset brings the device back from where it is now, as from the same state entered as documented."""

    def reset() -> None:
        state = session.migration().state()
        documented = DeviceState.RUNNING if state == DeviceState.ERROR else state

        def control() -> None:
            fresh().enter(documented)
            device.reset()

        with unless(control, f"in {name(documented)} entered as documented"):
            succeeded("resetting the device afterwards", device.try_reset())
        left = session.migration().state()
        allowed = dict.fromkeys((DeviceState.RUNNING, session.opened_in, documented))
        if left not in allowed:
            control()
            allowed[session.migration().state()] = None
        one_of("reading device_state after the reset", left, list(allowed), name)

    return reset


@pytest.fixture
def opened_in(session: Session, migration: MigrationRegion) -> DeviceState:
    """device_state as it was read first after the device was opened for the first time."""
    return session.opened_in


@pytest.fixture(scope="session")
def pre_copy_patience(journeys: Journeys) -> float:
    """Seconds to wait in pre-copy for data, which may take its time; none unless the profile claims that data comes."""
    return journeys.patience


@pytest.fixture
def actor(session: Session, migration: MigrationRegion) -> Actor:
    """The profile's ways to make the device work, change and fail."""
    return session.actor


@pytest.fixture(scope="session")
def journeys(session: Session) -> Journeys:
    """The whole flows of saving and resuming, each made when it is first asked for."""
    return session.journeys


@pytest.fixture
def qemu(device: Device, profile: Profile) -> Iterator[Qemu]:
    """The device as QEMU uses it."""
    client = Qemu(device, profile.limits.largest_state)
    yield client
    client.cleanup()


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """What everything random in this run comes from."""
    return int(pytestconfig.getoption("--seed"))


@pytest.fixture
def stress(session: Session, migration: MigrationRegion, seed: int, pytestconfig: pytest.Config) -> Stress:
    """Random operations, for a part of the time that the run was given for them."""
    from ..migration_v1.exploration.stress import Stress  # hypothesis is an optional package

    return Stress(session, seed, pytestconfig.stash[STRESS] or 0.0, SHORTENING)


@pytest.fixture
def rounds(session: Session, guest: GuestMemory, seed: int) -> Callable[[bool, bool], Tally]:
    """Migration in small, many times, on memory that is written meanwhile; the numbers go into the report."""

    def run(stream: bool, unmapping: bool) -> Tally:
        tally = Rounds(guest, seed, stream=stream, unmapping=unmapping).run(ROUNDS, session.profile.limits.test / 6)
        session.note(f"copied by dirty bitmaps alone: {tally} (--seed {seed})")
        return tally

    return run


@pytest.fixture
def destination(session: Session) -> Iterator[Destination]:
    """Where a state is restored: the second device where there is one, else the device itself; RUNNING after a reset.

    It is the device itself that this resets then, so ask for it after whatever that is to be asked first.
    """
    with session.destination() as destination:
        yield destination


@pytest.fixture
def loading(destination: Destination, profile: Profile) -> Iterator[Qemu]:
    """The destination as QEMU uses it."""
    client = Qemu(destination.device, profile.limits.largest_state)
    yield client
    client.cleanup()


@pytest.fixture
def observe(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Records what the device did where the text is silent: a question and the answer seen."""
    seen: dict[str, str] = request.node.stash.setdefault(OBSERVATIONS, {})
    return seen.__setitem__


@pytest.fixture
def guest(session: Session, device: Device) -> Iterator[GuestMemory]:
    """Memory of a guest, with nothing mapped and tracking off. Raises NotApplicable where none can be tracked."""
    with session.guest() as memory:
        yield memory


@pytest.fixture
def known_writes(profile: Profile) -> None:
    """A container that knows which pages its devices wrote. Raises NotApplicable where every mapped page counts."""
    if profile.claims.dirty_scope is None:
        raise Silent("claims.dirty_scope")
    if profile.claims.dirty_scope != "written":
        raise NotApplicable("the profile claims that every mapped page is reported")


@pytest.fixture
def other_device(session: Session, guest: GuestMemory) -> Iterator[Actor]:
    """A second device in the container of the first."""
    if not session.transport.kernel:
        raise NotApplicable("each server has a container of its own")
    with session.second() as device:
        if device is None:
            raise missing("device.second", denied=session.profile.denies("device.second"))
        yield Actor(device, session.profile)


@pytest.fixture(scope="session")
def histories(session: Session) -> Histories:
    """Histories of guest memory, each made when it is first asked for."""
    return session.histories


# -- the container ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tracker(session: Session, device: Device) -> Iterator[DirtyTracker]:
    """Dirty page tracking of a container where it is off, whether it is offered or not."""
    tracker = DirtyTracker(session.transport)
    tracker.try_stop()
    yield tracker
    if not session.lost:
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
    if not session.container.tells:
        agreed = "no container can be asked: the page size was agreed on when the transport connected"
        raise NotApplicable(session.transport.no_tracking or agreed)
    return session.container


@pytest.fixture
def container_growth(information: Container) -> Growth:
    """What the container says of itself, as it grows with argsz."""
    return Growth(CONTAINER, partial(information.try_request, VFIO_IOMMU_GET_INFO))


@pytest.fixture
def region_growth(device: Device) -> Growth:
    """What the device says of a region, as it grows with argsz: the first with capabilities, else the first of all."""
    ask = partial(device.try_request, VFIO_DEVICE_GET_REGION_INFO)
    growths = [Growth(REGION, ask, index.to_bytes(4, "little")) for index in range(device.info()[1])]
    if not growths:
        raise NotApplicable("the device has no regions")
    if not growths[0].answers:  # a device may refuse after other requests; right after an open it has to answer
        device.reopen()
    return next((growth for growth in growths if growth.has_capabilities), growths[0])


@pytest.fixture
def witness(session: Session, container: Container, guest: GuestMemory) -> Iterator[Witness]:
    """Memory of the guest that shows what a refused request has changed all the same."""
    witness = Witness(container, guest)
    yield witness
    witness.release()
    if not witness.sure:
        session.lost = True  # nobody knows what is mapped and tracked now


@pytest.fixture
def misplace(session: Session) -> Iterator[Callable[[str, bytes], int]]:
    """Puts an argument where it cannot be used, and gives its address.

    ``NULL``, ``unmapped``, ``read-only``, or ``cut``: the last of its bytes is not there.
    """
    with ExitStack() as kept:

        def put(place: str, argument: bytes) -> int:
            if not session.transport.takes_pointers:
                raise NotApplicable("bad pointers cannot be expressed here")
            if place == "NULL":
                return 0
            inside = argument[:-1] if place == "cut" else argument
            memory = kept.enter_context(GuardedBuffer(len(inside)))
            memory.view[:] = inside
            if place == "read-only":
                memory.readonly()
            return memory.end if place == "unmapped" else memory.address

        yield put
