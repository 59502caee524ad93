# SPDX-License-Identifier: GPL-2.0-only
"""Earlier migration sessions: how each begins, how far it goes, and how it ends."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..uapi.migration_v1 import DeviceState
from . import progress
from .progress import Progress
from .states import STATES, name

PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
STOP, RESUMING, RUNNING = DeviceState.STOP, DeviceState.RESUMING, DeviceState.RUNNING


class Move(NamedTuple):
    """A step of a client: a verb of the player, and its arguments."""

    verb: str
    arguments: tuple[object, ...]
    words: str

    def __str__(self) -> str:
        return self.words


def go(state: DeviceState) -> Move:
    """Write a state."""
    return Move("go", (state,), f"to {name(state)}")


def read(far: Progress) -> Move:
    """Read the data up to this point."""
    return Move("read", (far,), f"{far.words} read")


def give(far: Progress) -> Move:
    """Write a saved state up to this point."""
    return Move("give", (far,), f"{far.words} given")


#: Another value is put into the state that can be seen.
CHANGE: Final = Move("change", (), "changed")
#: The device meets a fault at the next buffer that is saved or written.
FAIL: Final = Move("fail", (), "a fault in the next one")

#: The ways out of any state.
RESET: Final = Move("reset", (), "reset")
CLOSE: Final = Move("close", (), "closed")
LOSE: Final = Move("lose", (), "user lost with memory mapped and tracked")


class Session(NamedTuple):
    """What a client does, starting from a running device, with a name that summarises it."""

    name: str
    moves: tuple[Move, ...]

    def __str__(self) -> str:
        return self.name

    @property
    def keeps_user(self) -> bool:
        """Whether its user continues with the device, without a reset: it shows what it showed before."""
        return self.moves[-1] not in (RESET, CLOSE, LOSE)

    @property
    def resumes(self) -> bool:
        """Whether it starts to resume the device."""
        return go(RESUMING) in self.moves


def _session(words: str, *moves: Move) -> Session:
    return Session(words, moves)


#: The sessions that another one may follow: each leaves a device that runs, or can be brought to running.
ALPHABET: Final = (
    _session("saved, then reset", go(STOP_AND_COPY), read(progress.COMPLETE), go(STOP), RESET),
    _session("saved, then run again", go(STOP_AND_COPY), read(progress.COMPLETE), go(STOP), go(RUNNING)),
    _session(
        "migrated, then closed",
        *(go(PRE_COPY), read(progress.ONE), go(STOP_AND_COPY), read(progress.COMPLETE), go(STOP), CLOSE),
    ),
    _session("pre-copy cancelled", go(PRE_COPY), read(progress.TWO), go(RUNNING)),
    _session("pre-copy reset in a buffer", go(PRE_COPY), read(progress.HALF), RESET),
    _session("pre-copy and its user lost", go(PRE_COPY), read(progress.ONE), LOSE),
    _session("live migration cancelled", go(PRE_COPY), read(progress.ONE), go(STOP_AND_COPY), go(RUNNING)),
    _session("stop-and-copy cancelled", go(STOP_AND_COPY), read(progress.TWO), go(RUNNING)),
    _session("stop-and-copy reset in the second buffer", go(STOP_AND_COPY), read(progress.ONE_AND_HALF), RESET),
    _session("stop-and-copy aborted", go(STOP_AND_COPY), read(progress.OFFSET), go(STOP), RESET),
    _session("stop-and-copy and its user lost", go(STOP_AND_COPY), read(progress.ALL_BUT_ONE), LOSE),
    _session("resumed", go(RESUMING), give(progress.COMPLETE), go(RUNNING)),
    _session("resuming reset after a buffer", go(RESUMING), give(progress.ONE), RESET),
    _session("resuming reset in a buffer", go(RESUMING), give(progress.HALF), RESET),
    _session("resuming closed", go(RESUMING), give(progress.ALL_BUT_ONE), CLOSE),
    _session("stopped, then closed", go(STOP), CLOSE),
)


def left(state: DeviceState, far: Progress, *ways: Move) -> Session:
    """A saving state is left at a point of the protocol."""
    return Session(f"{name(state)}, {far.words}, {', '.join(map(str, ways))}", (go(state), read(far), *ways))


def ways_from(state: DeviceState) -> tuple[Move, ...]:
    """Every way out of a state: to every other one, drawn or not, by a reset, and by closing the device."""
    return (*(go(after) for after in STATES if after != state), RESET, CLOSE)
