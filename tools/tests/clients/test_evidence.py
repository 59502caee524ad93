# SPDX-License-Identifier: GPL-2.0-only
"""Accesses missing from a trace are not held against a client; the result names the clauses that are unclear."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from clients import (
    CLOSE,
    ERROR,
    GAP,
    OPEN,
    PRE_COPY,
    RESET,
    RESUMING,
    RUNNING,
    STOP,
    STOP_AND_COPY,
    gave,
    got,
    judged,
    moved,
    offset,
    pending,
    read,
    refused,
    resumed,
    saved,
    size,
    to,
    write,
)

from vfio_compliance.run.client import Access
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DEVICE_STATE, PENDING_BYTES, Register

A, B, C = bytes(range(16)), b"b" * 100, b"c" * 40
SAVING = [OPEN, *to(RUNNING, STOP_AND_COPY)]
GIVING = [OPEN, *to(RUNNING, RESUMING)]
LIVE = [OPEN, *to(RUNNING, PRE_COPY)]

#: A part of a state that is saved in pre-copy, and the end of it.
PART = [pending(9), *got(A)]
REST = [pending(9), *got(B), pending(0), *to(STOP_AND_COPY, STOP)]


def hidden(access: Access) -> Access:
    """The same access without its value: only its offset and length are known."""
    return access._replace(data=b"", digest="")


#: By the unknown value: the client, the clauses that are unclear, and those that are kept nevertheless.
HIDDEN = {
    "device_state read": (
        [OPEN, hidden(read(DEVICE_STATE, RUNNING)), write(DEVICE_STATE, STOP)],
        {"DS-15", "DS-07"},
        set(),
    ),
    "device_state written": ([OPEN, read(DEVICE_STATE, 1), hidden(write(DEVICE_STATE, STOP))], {"DS-15"}, set()),
    "the state before resuming": (
        [OPEN, read(DEVICE_STATE, 1), hidden(write(DEVICE_STATE, STOP)), *to(RUNNING, RESUMING)],
        {"DS-15"},
        {"DS-15", "TR-04a"},
    ),
    "the state that data moves in": (
        [OPEN, read(DEVICE_STATE, 1), hidden(write(DEVICE_STATE, 2)), pending(9), *got(A), pending(0)],
        {"DS-15", "FLD-04", "FLD-06", "SAV-02", "SAV-11", "SAV-13", "ERR-02", "RSM-05", "RSM-06", "RSM-07"},
        set(),
    ),
    "pending_bytes before an iteration": (
        [*SAVING, hidden(pending(0)), *got(A), pending(0)],
        {"SAV-02"},
        {"DS-15", "FLD-04", "FLD-06", "SAV-02", "SAV-11", "SAV-13"},
    ),
    "pending_bytes at the end": (
        [*SAVING, pending(9), *got(A), hidden(pending(0)), *to(STOP_AND_COPY, STOP)],
        {"SAV-13"},
        {"DS-15", "FLD-04", "FLD-06", "SAV-11"},
    ),
    "data_offset when saving": (
        [*SAVING, pending(9), hidden(offset()), size(16), moved("read", A), pending(0)],
        {"FLD-04", "SAV-11"},
        {"DS-15", "FLD-06", "SAV-02", "SAV-13"},
    ),
    "data_size when saving": (
        [*SAVING, pending(9), offset(), hidden(size(16)), moved("read", A), pending(0)],
        {"FLD-04", "SAV-11"},
        {"DS-15", "FLD-06", "SAV-02", "SAV-13"},
    ),
    "data_offset when resuming": (
        [*GIVING, hidden(offset()), moved("write", A), write(DATA_SIZE, 16), *to(RESUMING, RUNNING)],
        {"FLD-04", "FLD-06", "RSM-05", "RSM-06", "RSM-07"},
        {"DS-15", "TR-04a"},
    ),
    "data_size when resuming": (
        [*GIVING, offset(), moved("write", A), hidden(write(DATA_SIZE, 16)), *to(RESUMING, RUNNING)],
        {"FLD-04", "FLD-06", "RSM-05", "RSM-06", "RSM-07"},
        {"DS-15", "TR-04a"},
    ),
    "the data": (
        [*SAVING, pending(9), offset(), size(16), hidden(moved("read", A)), pending(0), *resumed(A)],
        {"RSM-05", "RSM-07"},
        {"DS-15", "FLD-04", "FLD-06", "SAV-02", "SAV-11", "SAV-13", "TR-04a", "RSM-06"},
    ),
    "the accesses in a gap": ([*SAVING, pending(9), *to(STOP_AND_COPY, STOP), GAP], {"SAV-13"}, {"DS-15"}),
}


@pytest.mark.parametrize(("client", "unclear", "kept"), HIDDEN.values(), ids=HIDDEN)
def test_unclear_clauses(client: Sequence[Access], unclear: set[str], kept: set[str]) -> None:
    """Nothing is broken; exactly the clauses that depend on the missing value are unclear."""
    result = judged(client)
    assert result.offences == []
    assert set(result.judge.unclear) == unclear
    assert {clause for clause, count in result.judge.kept.items() if count} == kept


def test_a_wrong_order_is_found_without_values() -> None:
    """Here data_size is read before data_offset."""
    client = [*SAVING, hidden(pending(9)), hidden(size(16)), hidden(offset()), pending(0)]
    assert judged(client).clauses == ["SAV-11"]


#: Ways to leave stop-and-copy before pending_bytes was 0 without losing data.
EXCUSED = {
    "to running": [pending(9), *to(STOP_AND_COPY, RUNNING)],
    "by stop to running": [pending(9), *to(STOP_AND_COPY, STOP), *to(STOP, RUNNING)],
    "to pre-copy": [pending(9), *to(STOP_AND_COPY, PRE_COPY)],
    "by a reset": [pending(9), *got(A), RESET],
    "by a close": [pending(9), *got(A), CLOSE],
    "after a refused read": [pending(9), refused(DATA_OFFSET), *to(STOP_AND_COPY, STOP)],
    "after the error state": [pending(9), read(DEVICE_STATE, ERROR), RESET],
    "when nothing was saved": [*to(STOP_AND_COPY, STOP), CLOSE],
    "when the trace ends in it": [pending(9)],
}


@pytest.mark.parametrize("way", EXCUSED.values(), ids=EXCUSED)
def test_data_may_be_left(way: Sequence[Access]) -> None:
    """By a client that goes back, gives up, or met an error."""
    assert judged(SAVING, way).offences == []


@pytest.mark.parametrize(
    "way",
    [
        [pending(9), *to(STOP_AND_COPY, STOP), CLOSE],
        [pending(9), *to(STOP_AND_COPY, STOP), RESET],
        [pending(9), *to(STOP_AND_COPY, STOP), RESET, *to(RUNNING, STOP)],
        [pending(0), pending(9), *to(STOP_AND_COPY, STOP)],
    ],
    ids=["then closed", "then reset", "then reset and stopped", "pending again"],
)
def test_data_is_lost(way: Sequence[Access]) -> None:
    """Once the device is stopped, unread data is lost; the offence names the write that stopped it."""
    (offence,) = judged(SAVING, way).offences
    assert offence.clause == "SAV-13"
    assert offence.access == len(SAVING) + way.index(write(DEVICE_STATE, STOP)) + 1


#: What a client has saved, session by session, and the states that it may restore from it.
SESSIONS: dict[str, tuple[list[Access], list[tuple[bytes, ...]]]] = {
    "once": ([*saved(A, B)], [(A, B)]),
    "twice": ([*saved(A), *saved(B)], [(A,), (B,)]),
    "reset in pre-copy, then at once": ([*LIVE, *PART, RESET, *to(RUNNING, STOP_AND_COPY), *REST], [(A, B), (B,)]),
    "cancelled in pre-copy, then live": (
        [*LIVE, *PART, *to(PRE_COPY, RUNNING), *to(RUNNING, PRE_COPY), *to(PRE_COPY, STOP_AND_COPY), *REST],
        [(A, B), (B,)],
    ),
    "closed in pre-copy, then at once": ([*LIVE, *PART, CLOSE, *SAVING, *REST], [(A, B), (B,)]),
    "back to pre-copy": (
        [*SAVING, *PART, *to(STOP_AND_COPY, PRE_COPY), *to(PRE_COPY, STOP_AND_COPY), *REST],
        [(A, B), (B,)],
    ),
    "back to pre-copy when all was read": (
        [*SAVING, *PART, pending(0), *to(STOP_AND_COPY, PRE_COPY), *to(PRE_COPY, STOP_AND_COPY), *REST],
        [(A,), (A, B), (B,)],
    ),
    "pre-copy, then stop-and-copy": ([*LIVE, *PART, *to(PRE_COPY, STOP_AND_COPY), *REST], [(A, B)]),
    "pre-copy left in the middle of a buffer": (
        [*LIVE, *PART, pending(5), offset(), *to(PRE_COPY, STOP_AND_COPY), *REST],
        [(A, B)],
    ),
    "a snapshot, then cancelled": (
        [*saved(A, B), RESET, *to(RUNNING, PRE_COPY), pending(9), *got(C), RESET],
        [(A, B), ()],
    ),
    "cancelled": ([*LIVE, *PART, RESET], [(A,), ()]),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_each_saved_state_may_be_restored(name: str) -> None:
    saving, states = SESSIONS[name]
    for state in states:
        assert judged(saving, resumed(*state)).offences == []


@pytest.mark.parametrize("name", [name for name in SESSIONS if name != "cancelled"])
@pytest.mark.parametrize("state", [(B, A), (B, C, A), (A, B, B), (A, A, B)], ids=["BA", "BCA", "ABB", "AAB"])
def test_no_other_state_may_be_restored(name: str, state: tuple[bytes, ...]) -> None:
    """Buffers may not be swapped, repeated, or mixed with others."""
    saving, states = SESSIONS[name]
    assert state not in states
    assert judged(saving, resumed(*state)).clauses


@pytest.mark.parametrize("name", [name for name, (_, states) in SESSIONS.items() if () not in states])
def test_a_state_must_be_restored(name: str) -> None:
    """A device set running without any of the state saved just before has lost it."""
    (offence,) = judged(SESSIONS[name][0], resumed()).offences
    assert offence.clause == "RSM-05"
    assert "without any of the" in offence.seen


@pytest.mark.parametrize(
    "resuming",
    [
        [RESET, *to(RUNNING, RESUMING), offset(), RESET],
        [RESET, *to(RUNNING, RESUMING), *gave(A), CLOSE],
        [RESET, *to(RUNNING, RESUMING), refused(DATA_OFFSET), *to(RESUMING, RUNNING)],
        [RESET, *to(RUNNING, RESUMING), offset(), moved("write", A), write(DATA_SIZE, 16, ok=False), RESET],
        [RESET, *to(RUNNING, RESUMING)],
    ],
    ids=["reset", "closed in the middle", "after an error", "refused and reset", "trace ends"],
)
def test_a_part_of_a_state_may_be_restored(resuming: Sequence[Access]) -> None:
    """If the device is not set running, or after an error."""
    assert judged(saved(A, B), resuming).offences == []


def test_a_state_from_elsewhere() -> None:
    """A device is opened again, and given a state that was not saved here: its source is unknown."""
    result = judged(saved(A, B), CLOSE, OPEN, resumed(C, C))
    assert result.offences == []
    assert set(result.judge.unclear) == {"RSM-05", "RSM-06", "RSM-07"}


def test_an_offence_that_shows_later() -> None:
    """Only the second buffer, which is known, shows that the first one was changed."""
    result = judged(saved(A, B), CLOSE, OPEN, resumed(bytes(16), B))
    assert [(offence.clause, "other bytes" in offence.seen) for offence in result.offences] == [("RSM-07", True)]


@pytest.mark.parametrize("register", [DATA_OFFSET, DATA_SIZE], ids=lambda register: register.name)
def test_a_refused_read_at_zero_is_an_iteration(register: Register) -> None:
    """A client that asks for data while pending_bytes is 0 has iterated, even if the driver refuses."""
    result = judged(SAVING, pending(0), refused(register), to(STOP_AND_COPY, RUNNING))
    assert result.clauses == ["SAV-02"]
    assert result["SAV-02"] == (0, 1)


def test_a_refused_read_out_of_order_is_an_offence() -> None:
    """Here data_offset is read before pending_bytes."""
    assert judged(SAVING, refused(DATA_OFFSET), to(STOP_AND_COPY, RUNNING)).clauses == ["SAV-11"]


def test_a_client_with_every_freedom() -> None:
    """Repeats, pieces, leaving pre-copy early, going back to running, giving up resuming, sessions in any order."""
    pieces = [moved("read", B[at : at + 10], 0x1000 + at) for at in range(0, 100, 10)]
    client = [
        *(*LIVE, pending(9), pending(9), offset(), offset(), size(16), moved("read", A), *to(PRE_COPY, RUNNING)),
        *(*to(RUNNING, PRE_COPY), pending(0), pending(9), *got(A), pending(9), offset(), *to(PRE_COPY, STOP_AND_COPY)),
        *(read(PENDING_BYTES, 9), offset(), size(100), *pieces, pending(0), pending(0), *to(STOP_AND_COPY, STOP)),
        *(RESET, *to(RUNNING, RESUMING), offset(), moved("write", A), RESET, *resumed(A, B)),
        *(*to(RUNNING, STOP_AND_COPY), pending(9), *to(STOP_AND_COPY, RUNNING), *to(RUNNING, STOP), CLOSE),
    ]
    result = judged(client)
    assert result.offences == []
    assert result.judge.unclear == {}


def test_the_order_of_qemu() -> None:
    """QEMU 5.2 to 7.2 breaks only DS-15, if bits 3 to 31 are in use, and RSM-06, if it splits a buffer."""
    high = 0xF0
    source = [
        *(OPEN, read(DEVICE_STATE, high | RUNNING), write(DEVICE_STATE, PRE_COPY)),
        *(pending(99), pending(99), *got(B), pending(9)),
        *(*to(PRE_COPY, STOP_AND_COPY), *to(STOP_AND_COPY, STOP_AND_COPY)),
        *(pending(9), *got(A), pending(9), *got(C), pending(0), *to(STOP_AND_COPY, STOP), CLOSE),
    ]
    target = [*GIVING, *gave(B[:60]), *gave(B[60:]), *gave(A), *gave(C), *to(RESUMING, RUNNING)]
    assert judged(source).clauses == ["DS-15"]
    assert judged(source, target).clauses == ["DS-15", "RSM-06"]
    tidy = [access._replace(data=b"\1\0\0\0") if access.content == high | RUNNING else access for access in source]
    assert judged(tidy, resumed(B, A, C)).offences == []
