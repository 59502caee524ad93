# SPDX-License-Identifier: GPL-2.0-only
"""Memory on the walks of an exploration: what its model accepts, and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance import profiles
from vfio_compliance.device import Device
from vfio_compliance.dirty_type1.exploring import MemoryPart
from vfio_compliance.dirty_type1.interface import Dirtying
from vfio_compliance.interfaces import INTERFACES
from vfio_compliance.run.exploring import Line, Strayed
from vfio_compliance.run.session import Session
from vfio_compliance.sections import PROFILE


class Walk:
    """A walk without steps of its own, in which the device runs."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.works = True
        self.interruptions = 0

    def disturbed(self) -> None:
        """Nothing is checked."""


@pytest.fixture
def begin(target: Path) -> Iterator[Callable[..., tuple[Walk, Device, MemoryPart]]]:
    """Makes a walk, a device with defects, and its part of the walk."""
    sessions = []

    def make(*defects: str) -> tuple[Walk, Device, MemoryPart]:
        session = Session(profiles.load(target, PROFILE), defects, INTERFACES)
        sessions.append(session)
        session.start()
        walk = Walk()
        part = session.of(Dirtying).part(walk)
        assert isinstance(part, MemoryPart)
        return walk, session.device, part

    yield make
    for session in sessions:
        session.finish()


def reset(walk: Walk, device: Device, part: MemoryPart) -> None:
    """Reset the device."""
    device.reset()
    walk.interruptions += 1


def next_user(walk: Walk, device: Device, part: MemoryPart) -> None:
    """Close the device, and open it for the next user."""
    device.reopen()
    walk.interruptions += 1
    part.user_gone()


def take(verb: str, *numbers: int) -> Callable[..., Any]:
    """A step of the part."""
    return lambda walk, device, part: getattr(part, verb)(*numbers)


WALKS = {
    "written and fetched": [take("write_tracked", 0, 1, 2, 2)],
    "in a row of mappings": [
        *(take("write_tracked", place, 1, 1) for place in (0, 1, 2)),
        take("fetch_all"),
        take("fetch_bitmap", 0, 2),
        take("fetch_bitmap", 2, 1),
    ],
    "not while nothing is tracked": [take("fetch_bitmap", 0), take("write_memory", 0, 1, 1), take("fetch_bitmap", 0)],
    "unmapped and mapped again": [take("write_tracked", 0, 1, 1), take("unmap_memory", 0, 2)],
    "unmapped with the bitmap": [take("write_tracked", 2, 3, 2), take("unmap_reporting", 2, 1)],
    "stopped and started": [take("write_tracked", 0, 1, 1), take("stop_tracking", 2), take("fetch_all")],
    "begun twice, ended twice": [
        take("start_tracking", 1),
        take("write_tracked", 0, 1, 1),
        take("start_tracking", 1),
        take("stop_tracking"),
        take("stop_tracking", 1),
    ],
    "pinned": [take("start_tracking"), take("pin_memory", 0, 1, 2), take("unpin_memory", 2)],
    "across a reset": [take("write_tracked", 0, 1, 1), reset, take("fetch_bitmap", 0)],
    "pinned when it is reset": [
        take("start_tracking"),
        take("pin_memory", 0, 1, 1),
        reset,
        take("fetch_bitmap", 0),
        take("fetch_bitmap", 0),
        take("unpin_memory"),
        take("write_tracked", 0, 3, 1, 2),
    ],
    "left behind": [take("write_tracked", 0, 1, 1), take("pin_memory", 0, 1), next_user, take("start_tracking", 1)],
}


def go(name: str, walk: Walk, device: Device, part: MemoryPart) -> None:
    """The steps of a walk."""
    for step in WALKS[name]:
        step(walk, device, part)


@pytest.mark.parametrize("name", WALKS)
def test_good_device_passes(begin: Callable[..., tuple[Walk, Device, MemoryPart]], name: str) -> None:
    """Each of its answers is accepted; nothing is left when the walk ends."""
    walk, device, part = begin()
    go(name, walk, device, part)
    assert walk.lines
    part.end()
    for place in (0, 1, 2):
        part.map_memory(place)
        part.fetch_bitmap(place)
    part.end()


def test_stopped_device_writes_nothing(
    begin: Callable[..., tuple[Walk, Device, MemoryPart]],
) -> None:
    """And pins nothing; all other steps continue."""
    walk, _, part = begin()
    walk.works = False
    part.write_memory(0, 1, 1)
    part.pin_memory(0, 1)
    assert not walk.lines
    part.start_tracking(1)
    part.map_memory(0)
    part.fetch_all()
    part.end()


@pytest.mark.parametrize(
    ("defect", "name", "last"),
    [
        ("bitmap-not-cleared", "written and fetched", ("dirty: none, no other", "dirty: 1-2")),
        ("bitmap-hole-bits", "in a row of mappings", ("no bit but of 0-5, 60-69", "set too: 6-59")),
        ("bitmap-unmapped-lingers", "unmapped and mapped again", ("dirty: none, no other", "dirty: 1")),
        ("tracking-stale-after-stop", "stopped and started", ("dirty: none, no other", "dirty: 1")),
        ("tracking-restart-clears", "begun twice, ended twice", ("dirty: 1", "reported clean: 1")),
        ("tracking-pinned-once", "pinned", ("dirty: 1", "reported clean: 1")),
        ("close-keeps-mappings", "left behind", ("success", "EEXIST (File exists)")),
        ("close-keeps-tracking", "left behind", ("an error: nothing is tracked", "success")),
    ],
)
def test_defect_is_detected(
    begin: Callable[..., tuple[Walk, Device, MemoryPart]], defect: str, name: str, last: tuple[str, str]
) -> None:
    """In the step that shows it, with its pages."""
    walk, device, part = begin(defect)
    with pytest.raises(Strayed) as strayed:
        go(name, walk, device, part)
    assert strayed.value.lines[-1][1:] == last
    part.end()
