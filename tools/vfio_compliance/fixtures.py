# SPDX-License-Identifier: GPL-2.0-only
"""What a test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .device import Device, MigrationRegion, Qemu
from .journeys_v1 import Journeys
from .profiles import Profile
from .session import Destination, Session
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
