# SPDX-License-Identifier: GPL-2.0-only
"""A user leaves without unmapping anything or ending tracking: what the next user finds."""

from collections.abc import Iterator

import pytest

from vfio_compliance.device import Device
from vfio_compliance.dirty_type1.interface import Dirtying
from vfio_compliance.dirty_type1.scripted_memory import ScriptedMemory
from vfio_compliance.run.checks import declined, given

#: What the user who left had done.
LEFT = {
    "mapped": "map 0 70",
    "tracked": "map 0 70; start",
    "written": "map 0 70; start; dirty 5; dirty 69",
    "pinned": "map 0 70; pin 3 2; start",
}

each_end = pytest.mark.parametrize("script", LEFT.values(), ids=LEFT)


@pytest.fixture
def left(dirtying: Dirtying, device: Device, script: str) -> Iterator[ScriptedMemory]:
    """Memory of the user who left; the next user has opened the device."""
    with dirtying.guest() as memory:
        memory.play(script)
        device.reopen()
        memory.abandon()
        yield memory


@pytest.fixture
def next_guest(left: ScriptedMemory, dirtying: Dirtying) -> Iterator[ScriptedMemory]:
    """Memory of the next user."""
    with dirtying.guest() as memory:
        yield memory


@pytest.mark.rule("dirty.users.next-starts-anew")
@each_end
def test_nothing_mapped(next_guest: ScriptedMemory) -> None:
    """The next user can map memory where the previous user's was."""
    next_guest.map(0, 70, judged=True)


@pytest.mark.rule("dirty.users.next-starts-anew")
@each_end
def test_nothing_tracked(next_guest: ScriptedMemory) -> None:
    """The next user gets no bitmap before it starts tracking."""
    with given():
        next_guest.map(0, 70)
    declined("asking for a bitmap as the next user, before START", next_guest.try_get(0, 70))


@pytest.mark.rule("dirty.users.next-starts-anew")
@pytest.mark.stimulus
@pytest.mark.usefixtures("known_writes")
@each_end
def test_nothing_recorded(next_guest: ScriptedMemory) -> None:
    """Pages that the device wrote for the previous user are not reported to the next one, whose own pages are."""
    next_guest.map(0, 70)
    next_guest.start()
    next_guest.make_dirty(7)
    answer = next_guest.get(0, 70)
    answer.complete()
    answer.exact()
