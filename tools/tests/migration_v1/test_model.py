# SPDX-License-Identifier: GPL-2.0-only
"""What the model of the specification knows about saved states, and about whether a device runs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vfio_compliance.migration_v1.model import Answer, Deviation, DeviceModel, Layout, Saved
from vfio_compliance.uapi.migration_v1 import DeviceState

RUNNING, STOP, PRE_COPY = DeviceState.RUNNING, DeviceState.STOP, DeviceState.PRE_COPY
STOP_AND_COPY, RESUMING = DeviceState.STOP_AND_COPY, DeviceState.RESUMING

TAKEN, REFUSED = Answer(4), Answer(-1)


def number(value: int) -> Answer:
    """A register of 8 bytes."""
    return Answer(8, value.to_bytes(8, "little"))


@pytest.fixture
def model() -> DeviceModel:
    """A model after a reset, with a data section from 0x1000 on."""
    return DeviceModel(Layout(0x5000, [], 4096))


def go(model: DeviceModel, *states: DeviceState) -> None:
    """Write states, each of which is accepted."""
    for state in states:
        model.write_state(state, TAKEN)


def save(model: DeviceModel, content: bytes) -> None:
    """Save a whole state of one buffer."""
    go(model, STOP_AND_COPY)
    model.read_pending(number(len(content)))
    model.read_offset(number(0x1000))
    model.read_size(number(len(content)))
    model.read_data(0x1000, len(content), Answer(len(content), content))
    model.read_pending(number(0))
    model.read_pending(number(0))


def load(model: DeviceModel) -> None:
    """Restore the whole state that was chosen."""
    go(model, RESUMING)
    assert model.resuming is not None
    content = model.resuming.next_buffer
    assert content is not None
    model.read_offset(number(0x1000))
    model.write_data(0x1000, content, Answer(len(content)))
    model.write_size(len(content), Answer(8))
    go(model, RUNNING)


def test_last_four_states_are_kept_once_each(model: DeviceModel) -> None:
    """However often pending_bytes reads 0."""
    for value in range(6):
        model.visible = value
        save(model, bytes([value]))
        model.reset(Answer(0))
    assert model.saved == [Saved((bytes([value]),), value) for value in (2, 3, 4, 5)]


@pytest.mark.parametrize(("which", "visible"), [(0, 8), (1, 7), (2, 8)])
def test_restored_state_must_be_shown(model: DeviceModel, which: int, visible: int) -> None:
    """The latest, or an earlier one."""
    for value in (7, 8):
        model.visible = value
        save(model, bytes([value]))
        model.reset(Answer(0))
    model.choose(which)
    load(model)
    model.shown(visible)
    with pytest.raises(Deviation):
        model.shown(9)


def test_second_state_replaces_the_first(model: DeviceModel) -> None:
    """Without a reset between the two."""
    for value in (7, 8):
        model.visible = value
        save(model, bytes([value]))
        model.reset(Answer(0))
    for which, visible in ((1, 7), (0, 8)):
        model.choose(which)
        load(model)
        model.shown(visible)
    assert model.works


def test_states_are_shared_with_the_second_device(model: DeviceModel) -> None:
    """Each can be given the states that the other has saved."""
    model.visible = 7
    save(model, b"7")
    other = DeviceModel(Layout(0x5000, [], 4096), model.saved)
    load(other)
    other.shown(7)
    save(other, b"again")
    assert [state.buffers for state in model.saved] == [(b"7",), (b"again",)]


@pytest.mark.parametrize(
    ("states", "runs", "interruptions"),
    [
        ([], True, 0),
        ([PRE_COPY], True, 0),
        ([PRE_COPY, RUNNING], True, 1),
        ([STOP], False, 1),
        ([PRE_COPY, STOP_AND_COPY], False, 1),
        ([RESUMING, RUNNING], False, 2),
        ([RUNNING], False, 1),
    ],
    ids=str,
)
def test_device_runs_after_states(
    model: DeviceModel, states: Sequence[DeviceState], runs: bool, interruptions: int
) -> None:
    """If it must run by the specification; it was interrupted wherever it may have stopped."""
    go(model, *states)
    assert (model.works, model.interruptions) == (runs, interruptions)
    model.reset(Answer(0))
    assert model.works
    assert model.interruptions > interruptions


def test_refusal_interrupts(model: DeviceModel) -> None:
    """Until device_state is read, the device may be in the error state."""
    model.write_state(7, REFUSED)
    assert not model.works
    assert model.interruptions == 1
    model.read_state(Answer(4, bytes([1, 0, 0, 0])))
    assert model.works
