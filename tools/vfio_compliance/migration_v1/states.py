# SPDX-License-Identifier: GPL-2.0-only
"""The states of version 1 and the transitions between them (kabi v23, lines 91-155)."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..uapi.migration_v1 import VFIO_DEVICE_STATE_RUNNING, DeviceState

#: The five states; the other three values of DeviceState are not states.
STATES: Final = (
    DeviceState.RUNNING,
    DeviceState.PRE_COPY,
    DeviceState.STOP_AND_COPY,
    DeviceState.STOP,
    DeviceState.RESUMING,
)

#: Values that a user never writes successfully.
UNWRITABLE: Final = (DeviceState.INVALID_5, DeviceState.ERROR, DeviceState.INVALID_7)

_NAMES: Final = {
    DeviceState.RUNNING: "running",
    DeviceState.PRE_COPY: "pre-copy",
    DeviceState.STOP_AND_COPY: "stop-and-copy",
    DeviceState.STOP: "stop",
    DeviceState.RESUMING: "resuming",
    DeviceState.ERROR: "error",
    DeviceState.INVALID_5: "invalid 101b",
    DeviceState.INVALID_7: "invalid 111b",
}


def name(state: int) -> str:
    """The word for bits 0-2 of ``state``, with the reserved bits added in hexadecimal if any is set."""
    word = _NAMES[DeviceState(state & 7)]
    return f"{word} + 0x{state & ~7:x}" if state & ~7 else word


def is_running(state: int) -> bool:
    """Whether a device in ``state`` runs: bit 0."""
    return bool(state & VFIO_DEVICE_STATE_RUNNING)


class Transition(NamedTuple):
    """A change of device_state by one write; ``str()`` gives "running -> stop"."""

    before: DeviceState
    after: DeviceState

    def __str__(self) -> str:
        return f"{name(self.before)} -> {name(self.after)}"


#: The documented transitions, which the specification draws.
DRAWN: Final = (
    Transition(DeviceState.RUNNING, DeviceState.STOP),
    Transition(DeviceState.RUNNING, DeviceState.STOP_AND_COPY),
    Transition(DeviceState.RUNNING, DeviceState.PRE_COPY),
    Transition(DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY),
    Transition(DeviceState.STOP_AND_COPY, DeviceState.STOP),
    Transition(DeviceState.RUNNING, DeviceState.RESUMING),
    Transition(DeviceState.RESUMING, DeviceState.RUNNING),
)

#: Those of them that stop a running device.
STOPPING: Final = tuple(drawn for drawn in DRAWN if is_running(drawn.before) and not is_running(drawn.after))

#: Between two different states, and not drawn: the specification neither requires nor forbids them.
UNDRAWN: Final = tuple(
    Transition(before, after)
    for before in STATES
    for after in STATES
    if before != after and Transition(before, after) not in DRAWN
)

#: A write of the state that the device is in.
SELF_WRITES: Final = tuple(Transition(state, state) for state in STATES)


def drawn_from(state: DeviceState) -> tuple[DeviceState, ...]:
    """States to which a drawn transition leads from ``state``; none from STOP."""
    return tuple(after for before, after in DRAWN if before == state)
