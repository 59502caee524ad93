# SPDX-License-Identifier: GPL-2.0-only
"""Migrations that end early, one after another, and the result of a full migration after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import combinations_with_replacement

import pytest

from vfio_compliance.migration_v1.interruptions import PLACES
from vfio_compliance.migration_v1.player import Last
from vfio_compliance.migration_v1.players import Players
from vfio_compliance.migration_v1.progress import ALL_BUT_ONE, COMPLETE, NOTHING, ONE, POINTS, TWO, Progress
from vfio_compliance.migration_v1.sessions import (
    ALPHABET,
    CHANGE,
    CLOSE,
    FAIL,
    RESET,
    Move,
    Session,
    give,
    go,
    left,
    read,
    ways_from,
)
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import DeviceState

PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY
STOP, RESUMING, RUNNING = DeviceState.STOP, DeviceState.RESUMING, DeviceState.RUNNING

at_each_point = pytest.mark.parametrize("far", POINTS, ids=lambda far: far.words)


def deep_unless(chosen: bool) -> list[pytest.MarkDecorator]:
    """The marks of a case that is always run if ``chosen``."""
    return [] if chosen else [pytest.mark.deep]


def judge_pre_copy_left(players: Players, far: Progress, *on_the_way: Move) -> None:
    """A live migration that leaves pre-copy there restores the device."""
    on = (*on_the_way, go(STOP_AND_COPY))
    players.judge(
        left(PRE_COPY, far, *on),
        controls=[left(PRE_COPY, COMPLETE, *on)],
        when="where all data of pre-copy was read",
    )


@pytest.mark.rule("v1.sessions.pre-copy-left")
@pytest.mark.stimulus
@at_each_point
def test_pre_copy_left(players: Players, far: Progress) -> None:
    """Pre-copy is left for stop-and-copy at any point, and what was read in both restores the device."""
    judge_pre_copy_left(players, far)


@pytest.mark.rule("v1.sessions.pre-copy-left")
@pytest.mark.stimulus
@at_each_point
def test_pre_copy_left_after_a_change(players: Players, far: Progress) -> None:
    """The same if the state changed after the last read in pre-copy."""
    judge_pre_copy_left(players, far, CHANGE)


@pytest.mark.rule("v1.sessions.pre-copy-left")
@pytest.mark.stimulus
@pytest.mark.parametrize("buffer", ["first", "last"])
def test_changed_in_a_buffer(players: Players, buffer: str) -> None:
    """What changes in pre-copy between the data of a buffer and the next pending_bytes is in the state."""
    players.judge_changed(PLACES[buffer])


RESUMED = next(each for each in ALPHABET if each.name == "resumed")


#: How a device is saved.
SAVED = [Last.LIVE, Last.AT_ONCE]


def saved_after(session: Session) -> list[Last]:
    """How it is saved after a session: if the visible state is gone, it cannot be unchanged.

    A device that was resumed keeps a state: saving that is judged by another rule.
    """
    if session is RESUMED:
        return []
    return [*SAVED, Last.SAME_LIVE, Last.SAME_AT_ONCE] if session.keeps_user else SAVED


def after(number: int, session: Session) -> Last:
    """Saved or resumed: one of the migrations that may follow a session, in turn by ``number``."""
    return SAVED[number % len(SAVED)] if saved_after(session) else Last.RESUMED


def cells() -> Iterator[pytest.ParameterSet]:
    """Every way out of both saving states at every point, before each way to save it in turn, or before resuming it.

    All are deep except half of those in which it is saved: these have each way at each point in one of the two states.
    """
    for turn, state in enumerate((PRE_COPY, STOP_AND_COPY)):
        ways = [way for way in ways_from(state) if (state, way) != (PRE_COPY, go(STOP_AND_COPY))]
        for row, far in enumerate([*POINTS, COMPLETE]):
            for column, way in enumerate(ways):
                before = left(state, far, way)
                saved = saved_after(before)
                half = (row + column + turn) % 2 == 0
                lasts = [saved[(row // 2 + column) % len(saved)], *([] if half else [Last.RESUMED])]
                for last in lasts:
                    yield pytest.param(before, last, id=f"{before}, then {last.value}", marks=deep_unless(half))


@pytest.mark.rule("v1.sessions.complete-after-one")
@pytest.mark.stimulus
@pytest.mark.parametrize(("before", "last"), list(cells()))
def test_complete_after_one_left(players: Players, before: Session, last: Last) -> None:
    """However and wherever a saving state was left, a full migration after it restores the device."""
    players.judge(before, last=last, when="with nothing before it")


def single() -> Iterator[pytest.ParameterSet]:
    """Each session before each migration; deep except before resuming and before one way to save, in turn."""
    for row, before in enumerate(ALPHABET):
        saved = saved_after(before)
        for turn, last in enumerate([*saved, Last.RESUMED]):
            marks = deep_unless(last == Last.RESUMED or turn == row % len(saved))
            yield pytest.param(before, last, id=f"{before}, then {last.value}", marks=marks)


@pytest.mark.rule("v1.sessions.complete-after-one")
@pytest.mark.stimulus
@pytest.mark.parametrize(("before", "last"), list(single()))
def test_complete_after_one(players: Players, before: Session, last: Last) -> None:
    """After a session, however it ended, a full migration restores the device."""
    players.judge(before, last=last, when="with nothing before it")


@contextmanager
def unless_it_stays() -> Iterator[None]:
    """Raises NotApplicable if an access reports the failure again: only a reset may end a fault."""
    try:
        yield
    except checks.Refused as again:
        if again.errno is None:
            raise
        raise checks.NotApplicable(f"the fault stays until a reset: {again}") from None


#: How a client may continue after the device has failed while it was saved, and which outcome is allowed.
AFTER_A_FAULT = {
    "reset": ((RESET,), nullcontext),
    "stopped, then reset": ((go(STOP), RESET), nullcontext),
    "cancelled": ((go(RUNNING),), unless_it_stays),
}


@pytest.mark.rule("v1.sessions.complete-after-one")
@pytest.mark.stimulus
@pytest.mark.parametrize(("ways", "allowed"), AFTER_A_FAULT.values(), ids=AFTER_A_FAULT)
@pytest.mark.parametrize("far", [NOTHING, TWO, ALL_BUT_ONE], ids=lambda far: f"after {far.words}")
def test_complete_after_a_fault(
    players: Players, far: Progress, ways: tuple[Move, ...], allowed: Callable[[], AbstractContextManager[None]]
) -> None:
    """After the device has failed while it was saved, a full migration restores it."""
    failed = Session(f"a fault after {far.words}", (go(STOP_AND_COPY), read(far), FAIL, *ways))
    with allowed():
        players.judge(failed, when="with nothing before it")


@pytest.mark.rule("v1.sessions.complete-after-one")
@pytest.mark.stimulus
@pytest.mark.parametrize("way", [RESET, CLOSE], ids=str)
@pytest.mark.parametrize("far", [NOTHING, ONE, ALL_BUT_ONE], ids=lambda far: f"after {far.words}")
def test_complete_after_a_fault_in_resuming(players: Players, far: Progress, way: Move) -> None:
    """After the device has failed while it was resumed, a full state restores it."""
    failed = Session(f"a fault after {far.words}", (go(RESUMING), give(far), FAIL, way))
    players.judge(failed, last=Last.RESUMED, when="with nothing before it")


def pairs() -> Iterator[pytest.ParameterSet]:
    """A set of pairs in which each session is once first and once second, before the migrations in turn."""
    for row, first in enumerate(ALPHABET):
        second = ALPHABET[(row + 5) % len(ALPHABET)]
        last = after(row, second)
        yield pytest.param(first, second, last, id=f"{first}, then {second}, then {last.value}")


@pytest.mark.rule("v1.sessions.complete-after-two")
@pytest.mark.stimulus
@pytest.mark.parametrize(("first", "second", "last"), list(pairs()))
def test_complete_after_two(players: Players, first: Session, second: Session, last: Last) -> None:
    """After two sessions, however they ended, a full migration restores the device."""
    players.judge(first, second, last=last, controls=[first, second], when="after each of the two alone")


#: How many sessions a row has.
ROW = 5


def rows() -> Iterator[pytest.ParameterSet]:
    """Rows of sessions in which each one follows every other one, and itself, once; before the migrations in turn.

    Joined, the rows are one cycle: the de Bruijn sequence for words of two. A row begins where the last one ends.
    """
    number = len(ALPHABET)
    words = combinations_with_replacement(range(number), 2)
    numbers = [each for first, second in words for each in ([first, second] if first < second else [first])]
    for start in range(0, len(numbers), ROW - 1):
        row = [ALPHABET[numbers[(start + step) % len(numbers)]] for step in range(ROW)]
        last = after(start // (ROW - 1), row[-1])
        yield pytest.param(row, last, id=f"{', then '.join(map(str, row))}, then {last.value}")


@pytest.mark.rule("v1.sessions.complete-after-two")
@pytest.mark.stimulus
@pytest.mark.deep
@pytest.mark.parametrize(("row", "last"), list(rows()))
def test_complete_after_a_row(players: Players, row: Sequence[Session], last: Last) -> None:
    """The same after several sessions; across the rows, each one follows every other one."""
    players.judge(*row, last=last, controls=row, when="after each of them alone")


#: What may have been done to a device that was resumed before it is saved.
SINCE = {"at once": (), "after a change": (CHANGE,), "by the next user": (CLOSE,), "after a reset": (RESET,)}


@pytest.mark.rule("v1.sessions.resumed-device-saves")
@pytest.mark.stimulus
@pytest.mark.parametrize("last", SAVED, ids=lambda last: last.value)
@pytest.mark.parametrize("since", SINCE.values(), ids=SINCE)
def test_resumed_device_saves(players: Players, since: tuple[Move, ...], last: Last) -> None:
    """A device that was resumed saves what it then shows, and a third device accepts that."""
    resumed = Session("resumed", RESUMED.moves + since)
    players.judge_resumed(resumed, last=last, when="of a device that was not resumed")


@pytest.mark.rule("v1.sessions.resumed-device-saves")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    ("before", "last"),
    [
        pytest.param(each, last, id=f"{each}, then {RESUMED}, then {last.value}", marks=deep_unless(row == 6))
        for row, each in enumerate(ALPHABET)
        for last in [SAVED[row % len(SAVED)]]
    ],
)
def test_resumed_device_saves_after_another(players: Players, before: Session, last: Last) -> None:
    """The same after another session."""
    players.judge_resumed(before, RESUMED, last=last, controls=[before, RESUMED], when="after each of the two alone")


@pytest.mark.rule("v1.sessions.works-after")
@pytest.mark.stimulus
@pytest.mark.parametrize("before", ALPHABET, ids=str)
def test_works_after(players: Players, before: Session) -> None:
    """After a session, however it ended, the device does its work, and ceases once it is stopped."""
    players.judge_at_work(before)


@pytest.mark.rule("v1.sessions.works-after")
@pytest.mark.stimulus
@pytest.mark.parametrize("before", ALPHABET, ids=str)
def test_writes_memory_after(players: Players, before: Session) -> None:
    """After a session, however it ended, the device writes memory."""
    players.judge_writing(before)


@pytest.mark.rule("v1.sessions.work-in-flight")
@pytest.mark.stimulus
def test_work_in_flight_moves(players: Players) -> None:
    """Work in flight is finished on the device that received the state."""
    players.judge_in_flight(moves=True)


@pytest.mark.rule("v1.sessions.work-in-flight")
@pytest.mark.stimulus
def test_work_in_flight_stays(players: Players) -> None:
    """Work in flight is finished on the device itself, once it runs again."""
    players.judge_in_flight(moves=False)
