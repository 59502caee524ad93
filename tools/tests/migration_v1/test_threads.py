# SPDX-License-Identifier: GPL-2.0-only
"""Judging what two threads saw."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import Any

import pytest

from vfio_compliance.migration_v1.exploration.threads import Beside, Read, Stay, at_once, judge_race, judge_reads
from vfio_compliance.migration_v1.states import name
from vfio_compliance.run.exploring import Strayed
from vfio_compliance.transport import Outcome
from vfio_compliance.uapi.migration_v1 import DeviceState

RUNNING, STOP, PRE_COPY, ERROR = DeviceState.RUNNING, DeviceState.STOP, DeviceState.PRE_COPY, DeviceState.ERROR

WHOLE, SHORT, REFUSED = Outcome(4, 0), Outcome(2, 0), Outcome(-1, errno.EINVAL)

#: Running until 10, a change from 20 to 30, stop after it; the last step ends at 50.
STAYS = [Stay(0, 10, RUNNING, False), Stay(20, 30, STOP, True), Stay(40, 50, STOP, False)]


@pytest.mark.parametrize(
    ("began", "ended", "outcome", "value"),
    [
        (11, 12, WHOLE, RUNNING),
        (15, 25, WHOLE, RUNNING),
        (15, 25, WHOLE, STOP),
        (22, 45, WHOLE, RUNNING),
        (24, 26, WHOLE, PRE_COPY),
        (24, 26, REFUSED, 0),
        (35, 45, WHOLE, STOP),
        (35, 45, WHOLE, STOP | 0x100),
        (5, 55, WHOLE, 7),  # the time before and after is unknown
    ],
)
def test_reads_allowed(began: int, ended: int, outcome: Outcome, value: int) -> None:
    """Before and after a change, its state; during a change, any of the states, or a refusal."""
    judge_reads([Read(began, ended, outcome, value)], STAYS, [])


@pytest.mark.parametrize(
    ("began", "ended", "outcome", "value", "expected"),
    [
        (11, 12, WHOLE, STOP, "running"),
        (35, 45, WHOLE, RUNNING, "stop"),
        (31, 32, WHOLE, ERROR, "stop"),
        (15, 25, WHOLE, 7, "one of the states"),
        (15, 25, SHORT, STOP, "one of the states"),
        (35, 45, REFUSED, 0, "stop"),
    ],
)
def test_reads_forbidden(began: int, ended: int, outcome: Outcome, value: int, expected: str) -> None:
    """A state that the device has left, or is not in yet, or an invalid value."""
    with pytest.raises(Strayed) as caught:
        judge_reads([Read(began, ended, outcome, value)], STAYS, [])
    assert caught.value.lines[-1].expected == expected


def now(state: DeviceState) -> Callable[..., Any]:
    """Reads device_state."""
    return lambda: state


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [((WHOLE, WHOLE), STOP), ((WHOLE, WHOLE), PRE_COPY), ((WHOLE, REFUSED), STOP), ((REFUSED, WHOLE), ERROR)],
)
def test_races_allowed(outcomes: tuple[Outcome, Outcome], state: DeviceState) -> None:
    """The last state accepted is read, or error if one was refused."""
    judge_race([STOP, PRE_COPY], outcomes, now(state))


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ((REFUSED, REFUSED), RUNNING),
        ((WHOLE, SHORT), STOP),
        ((WHOLE, WHOLE), RUNNING),
        ((WHOLE, REFUSED), PRE_COPY),
        ((WHOLE, WHOLE), ERROR),
    ],
)
def test_races_forbidden(outcomes: tuple[Outcome, Outcome], state: DeviceState) -> None:
    """None was accepted, a part of one was, or the state read is neither."""
    with pytest.raises(Strayed):
        judge_race([STOP, PRE_COPY], outcomes, now(state))


def test_both_begin_together() -> None:
    """Each of two threads can wait for the other."""
    meeting = threading.Barrier(2, timeout=30)
    assert at_once(lambda number: (meeting.wait() is not None, name(number))) == [(True, "stop"), (True, "running")]


def test_error_of_the_other_thread_is_raised() -> None:
    """At the end of the block, unless the block raises its own."""

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError), Beside(fail):
        pass
    with pytest.raises(ZeroDivisionError), Beside(fail):
        raise ZeroDivisionError


def test_other_thread_runs_during_the_block() -> None:
    """It has begun when the block begins, continues, and has ended after it."""
    done = []
    more = threading.Event()

    def work() -> None:
        done.append(0)
        if len(done) > 100:
            more.set()

    with Beside(work):
        assert done
        assert more.wait(30)
    count = len(done)
    assert count == len(done) > 100
