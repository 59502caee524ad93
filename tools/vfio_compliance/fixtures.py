# SPDX-License-Identifier: GPL-2.0-only
"""What a test may ask for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from .device import Device, MigrationRegion, Qemu
from .guest_memory import GuestMemory
from .histories import Histories
from .journeys_v1 import Journeys
from .profiles import Profile
from .rounds import ROUNDS, Rounds, Tally
from .session import Session
from .stimulus import Actor

SESSION: pytest.StashKey[Session] = pytest.StashKey()
OBSERVATIONS: pytest.StashKey[dict[str, str]] = pytest.StashKey()


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
    chosen: int | None = pytestconfig.getoption("--seed")
    return random.randrange(1 << 32) if chosen is None else chosen


@pytest.fixture
def rounds(session: Session, guest: GuestMemory, seed: int) -> Callable[[bool, bool], Tally]:
    """Migration in small, many times, on memory that is written meanwhile; the numbers go into the report."""

    def run(stream: bool, unmapping: bool) -> Tally:
        tally = Rounds(guest, seed, stream=stream, unmapping=unmapping).run(ROUNDS, session.profile.limits.test / 6)
        session.note(f"copied by dirty bitmaps alone: {tally} (--seed {seed})")
        return tally

    return run


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


@pytest.fixture(scope="session")
def histories(session: Session) -> Histories:
    """Histories of guest memory, each made when it is first asked for."""
    return session.histories
