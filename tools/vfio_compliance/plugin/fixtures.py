# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of every interface may ask for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..device import Device
from ..profiles import Profile
from ..run.exploring import Exploring
from ..run.session import Session
from .options import SHORTENING
from .stash import OBSERVATIONS, SESSION, STRESS


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
    """The open device, as after a reset, whatever state the reset led to."""
    return session.as_after_reset()


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of everything random in this run."""
    return int(pytestconfig.getoption("--seed"))


@pytest.fixture
def observe(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Records what the device did where the specification is silent: a question and the answer seen."""
    seen: dict[str, str] = request.node.stash.setdefault(OBSERVATIONS, {})
    return seen.__setitem__


@pytest.fixture(scope="session")
def exploring(pytestconfig: pytest.Config) -> Exploring:
    """For how long the run was asked to explore the device."""
    return Exploring(pytestconfig.stash[STRESS] or 0.0, SHORTENING)
