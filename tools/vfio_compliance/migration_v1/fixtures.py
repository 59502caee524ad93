# SPDX-License-Identifier: GPL-2.0-only
"""The fixtures of the tests of version 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from ..device import Device
from ..profiles import Profile
from ..run.checks import NotApplicable, one_of, succeeded, unless
from ..run.exploring import Exploring
from ..run.session import Session
from ..uapi.migration_v1 import DeviceState
from .actor import MigrationActor
from .flows import Flows
from .guide import StateGuide
from .migration import Destination, Migration
from .players import Players
from .profile import MigrationSection
from .qemu import Qemu
from .reach import Reach
from .region import MigrationRegion
from .states import name

if TYPE_CHECKING:
    from .exploration.stress import Stress


@pytest.fixture(scope="session")
def v1(session: Session) -> Migration:
    """Version 1 on the device of the run."""
    return session.of(Migration)


@pytest.fixture
def header(v1: Migration, device: Device) -> MigrationRegion:
    """The migration region as after a reset, whatever state it is in."""
    return v1.region()


@pytest.fixture
def migration(v1: Migration, device: Device) -> MigrationRegion:
    """The migration region of a device that is RUNNING."""
    return v1.require_running()


@pytest.fixture
def resuming(v1: Migration) -> MigrationRegion:
    """The migration region of a device in RESUMING that has received nothing; cases of a rule leave it there."""
    return v1.rest_in(DeviceState.RESUMING)


@pytest.fixture
def migrates(profile: Profile) -> None:
    """A device judged by version 1, for rules of others in its states. Raises NotApplicable for any other device."""
    if MigrationSection.name not in profile.interfaces:
        raise NotApplicable(f"{MigrationSection.name} is not among the interfaces of the profile")


@pytest.fixture
def fresh(session: Session, v1: Migration) -> Callable[[], MigrationRegion]:
    """Brings the device back to RUNNING in the middle of a test, by a reset or what replaces it."""

    def bring_back() -> MigrationRegion:
        session.after_reset()
        return v1.require_running()

    return bring_back


@pytest.fixture(scope="session")
def way_to(v1: Migration, flows: Flows) -> Reach:
    """Brings the device along states; what it must know about the device for this is found out once."""
    return Reach(v1, flows)


@pytest.fixture
def reach(way_to: Reach, device: Device) -> Reach:
    """Brings the device along states; may reset it now, so request this before whatever a reset would disturb."""
    way_to.get_ready()
    return way_to


@pytest.fixture
def guide(v1: Migration, flows: Flows, reach: Reach) -> StateGuide:
    """Takes the device to states in which something else is judged."""
    return StateGuide(v1, flows, reach)


@pytest.fixture(scope="session")
def all_players(v1: Migration, flows: Flows, way_to: Reach) -> Players:
    """Clients that play migration sessions, and the migrations that theirs are compared with."""
    return Players(v1, flows, way_to)


@pytest.fixture
def players(all_players: Players, reach: Reach) -> Players:
    """The same, once the way along the states is known."""
    return all_players


@pytest.fixture
def recovers(v1: Migration, device: Device, fresh: Callable[[], MigrationRegion]) -> Callable[[], None]:
    """Checks that a reset recovers the device from where it is now, as from the same state entered as documented."""

    def reset() -> None:
        state = v1.region().state()
        documented = DeviceState.RUNNING if state == DeviceState.ERROR else state

        def control() -> None:
            fresh().enter(documented)
            device.reset()

        with unless(control, f"in {name(documented)} entered as documented"):
            succeeded("resetting the device afterwards", device.try_reset())
        left = v1.region().state()
        allowed = dict.fromkeys((DeviceState.RUNNING, v1.opened_in, documented))
        if left not in allowed:
            control()
            allowed[v1.region().state()] = None
        one_of("reading device_state after the reset", left, list(allowed), name)

    return reset


@pytest.fixture
def opened_in(v1: Migration, migration: MigrationRegion) -> DeviceState:
    """device_state as first read after the device was opened for the first time."""
    return v1.opened_in


@pytest.fixture(scope="session")
def pre_copy_patience(flows: Flows) -> float:
    """Seconds to wait in pre-copy for data, which may come late; 0 unless the profile claims that data comes."""
    return flows.patience


@pytest.fixture
def actor(v1: Migration, migration: MigrationRegion) -> MigrationActor:
    """The profile's ways to make the device run, change and fail."""
    return v1.actor


@pytest.fixture(scope="session")
def flows(v1: Migration) -> Flows:
    """The whole flows of saving and resuming, each made on first use."""
    return Flows(v1)


@pytest.fixture
def qemu(device: Device, profile: Profile) -> Iterator[Qemu]:
    """The device as QEMU uses it."""
    client = Qemu(device, profile.limits.largest_state)
    yield client
    client.cleanup()


@pytest.fixture
def stress(v1: Migration, migration: MigrationRegion, seed: int, exploring: Exploring) -> Stress:
    """Random operations, for a part of the time that the run has for them."""
    from .exploration.stress import Stress  # hypothesis is an optional package

    if v1.claims.data_section == "mapped-only":
        raise NotApplicable("exploring uses read() and write() of the data section; the profile claims mapped-only")

    return Stress(v1, seed, exploring.seconds, exploring.shortening)


@pytest.fixture
def destination(v1: Migration) -> Iterator[Destination]:
    """Where a state is restored: the second device if there is one, otherwise the device itself; RUNNING.

    In the second case this resets the device itself, so request it after anything that needs the device before.
    """
    with v1.destination() as destination:
        yield destination


@pytest.fixture
def loading(destination: Destination, profile: Profile) -> Iterator[Qemu]:
    """The destination as QEMU uses it."""
    client = Qemu(destination.device, profile.limits.largest_state)
    yield client
    client.cleanup()
