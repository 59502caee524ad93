# SPDX-License-Identifier: GPL-2.0-only
"""Each clause of the client's side: kept, broken in each possible way, and not exercised."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from clients import (
    BASE,
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

from vfio_compliance.migration_v1.client import CLAUSES
from vfio_compliance.run.client import Access
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DEVICE_STATE, PENDING_BYTES, RESERVED

A, B, C = bytes(range(16)), bytes(100), b"c" * 100
SAVING = [OPEN, *to(RUNNING, STOP_AND_COPY)]
GIVING = [OPEN, *to(RUNNING, RESUMING)]

#: How often a complete, proper migration exercises each clause.
PROPER = {
    "DS-04": 0,
    "DS-07": 0,
    "DS-15": 4,
    "TR-04a": 1,
    "FLD-04": 6,
    "FLD-06": 6,
    "SAV-02": 1,
    "SAV-11": 3,
    "SAV-13": 1,
    "ERR-02": 0,
    "RSM-05": 3,
    "RSM-06": 3,
    "RSM-07": 3,
}


def test_a_proper_client() -> None:
    """Saving and resuming by the book keeps each clause that it exercises, and breaks none."""
    result = judged(saved(A, B, C), resumed(A, B, C))
    assert result.offences == []
    assert result.judge.kept == PROPER
    assert result.judge.remarks == {}


@pytest.mark.parametrize(
    "client",
    {
        "nothing at all": [],
        "looks only": [OPEN, read(DEVICE_STATE, RUNNING), read(RESERVED, 0), pending(0), offset(0), CLOSE],
        "leaves at once": [OPEN, *to(RUNNING, PRE_COPY), *to(PRE_COPY, STOP_AND_COPY), *to(STOP_AND_COPY, STOP)],
        "ended inside d": [*SAVING, pending(9), offset(), size(16), moved("read", A[:8])],
        "reset inside d": [*SAVING, pending(9), offset(), size(16), moved("read", A[:8]), RESET],
        "repeats": [
            *(*SAVING, pending(9), pending(9), pending(9), offset(), offset(), size(16), offset(), size(16), size(16)),
            *(moved("read", A[:8]), offset(), moved("read", A[8:], BASE + 8), moved("read", A), size(16), pending(0)),
        ],
        "any pieces, any order": [
            *(*SAVING, pending(9), offset(), size(16)),
            *(moved("read", A[at : at + 1], BASE + at) for at in (*range(1, 16, 2), *range(0, 16, 2))),
            pending(0),
        ],
        "a short read of data": [
            *(*SAVING, pending(9), offset(), size(16)),
            Access("read", BASE, 16, 8, A[:8]),
            *(moved("read", A[8:], BASE + 8), pending(0)),
        ],
        "nothing now, more later": [
            OPEN,
            *to(RUNNING, PRE_COPY),
            pending(0),
            pending(0),
            pending(9),
            *got(A),
            pending(0),
        ],
        "an empty buffer": [*SAVING, pending(9), offset(), size(0), pending(0)],
        "a retry after a refusal": [
            *(OPEN, read(DEVICE_STATE, RUNNING), write(DEVICE_STATE, STOP, ok=False)),
            *(*to(RUNNING, STOP), CLOSE),
        ],
        "gives up after a refusal": [OPEN, read(DEVICE_STATE, RUNNING), write(DEVICE_STATE, STOP, ok=False), CLOSE],
        "gives nothing": [*GIVING, *to(RESUMING, RUNNING)],
        "gives up inside a buffer": [*GIVING, offset(), moved("write", A), RESET],
        "gives in pieces": [
            *(*GIVING, offset(), moved("write", A[8:], BASE + 8), moved("write", A[:8]), offset()),
            write(DATA_SIZE, 16),
        ],
        "gives an empty buffer": [*GIVING, offset(), write(DATA_SIZE, 0)],
        "came in the middle": [
            moved("read", A),
            size(16),
            pending(0),
            read(DEVICE_STATE, STOP_AND_COPY),
            moved("read", A),
        ],
        "lost sight": [*SAVING, pending(9), GAP, moved("read", A), write(DEVICE_STATE, STOP), GAP, size(3), pending(0)],
    }.items(),
    ids=lambda client: client[0],
)
def test_allowed(client: tuple[str, Sequence[Access]]) -> None:
    """The specification allows it or leaves it open, so no clause is broken."""
    assert judged(client[1]).offences == []


#: By clause and by the way to break it: the client, and words of the offence.
OFFENDERS = {
    "DS-04": {
        "writes again": (
            [OPEN, read(DEVICE_STATE, 1), write(DEVICE_STATE, 5, ok=False), write(DEVICE_STATE, 0)],
            "a write of device_state came first",
        ),
        "reads a register": (
            [OPEN, read(DEVICE_STATE, 1), write(DEVICE_STATE, 5, ok=False), pending(0)],
            "a read of pending_bytes came first",
        ),
    },
    "DS-07": {
        "writes in error": ([*SAVING, *to(ERROR, RUNNING)], "running was written in the error state"),
        "after a failed reset": (
            [*SAVING, read(DEVICE_STATE, ERROR), RESET._replace(value=-1), *to(ERROR, STOP)],
            "stop was written in the error state",
        ),
    },
    "DS-15": {
        "reads nothing": ([OPEN, write(DEVICE_STATE, STOP)], "it had not been since the last write"),
        "reads once": ([OPEN, *to(RUNNING, PRE_COPY), write(DEVICE_STATE, STOP_AND_COPY)], "it had not been since"),
        "drops bits": ([OPEN, read(DEVICE_STATE, 0xF1), write(DEVICE_STATE, STOP)], "they were written as 0x0"),
        "adds bits": ([OPEN, read(DEVICE_STATE, 0x11), write(DEVICE_STATE, 0x30)], "they were written as 0x30"),
    },
    "TR-04a": {
        "from stop": ([OPEN, *to(RUNNING, STOP), *to(STOP, RESUMING)], "it was from stop"),
    },
    "FLD-04": {
        "never asks where": ([*SAVING, pending(9), size(16), moved("read", A)], "which was never read"),
        "before the buffer": (
            [*SAVING, pending(9), offset(), size(16), moved("read", A, BASE - 8)],
            "the buffer is [0x1000, 0x1010)",
        ),
        "past the buffer": (
            [*SAVING, pending(9), offset(), size(8), moved("read", A), pending(0)],
            "the buffer is [0x1000, 0x1008)",
        ),
        "where it was before": (
            [*SAVING, pending(9), *got(A), pending(9), offset(BASE + 64), size(16), moved("read", A)],
            "the buffer is [0x1040, 0x1050)",
        ),
        "gives without asking": ([*GIVING, moved("write", A), write(DATA_SIZE, 16)], "data_offset had not been read"),
        "asks once": ([*GIVING, *gave(A), moved("write", A), write(DATA_SIZE, 16)], "data_offset had not been read"),
        "gives before the place": (
            [*GIVING, offset(), moved("write", B, BASE - 8), write(DATA_SIZE, 92)],
            "data was written at 0xff8",
        ),
        "gives more than it says": (
            [*GIVING, offset(), moved("write", A), write(DATA_SIZE, 8)],
            "data was written up to 16 bytes",
        ),
    },
    "FLD-06": {
        "does not ask how much": ([*SAVING, pending(9), offset(), moved("read", A), pending(0)], "data_size was not"),
        "does not say how much": (
            [*GIVING, offset(), moved("write", A), *to(RESUMING, RUNNING)],
            "the device was set running, and data_size was not written for the 16 bytes",
        ),
        "does not say at the next": (
            [
                *GIVING,
                offset(),
                moved("write", A),
                offset(BASE + 64),
                moved("write", A, BASE + 64),
                write(DATA_SIZE, 16),
            ],
            "data_offset of another buffer was read",
        ),
        "writes over it": ([*GIVING, offset(), moved("write", A), *gave(B)], "data was written over it"),
        "says it first": ([*GIVING, offset(), write(DATA_SIZE, 16), moved("write", A)], "written as 16 when 0 bytes"),
        "says too much": ([*GIVING, offset(), moved("write", A), write(DATA_SIZE, 17)], "written as 17 when 16 bytes"),
    },
    "SAV-02": {
        "asks for data": ([*SAVING, pending(0), offset()], "data_offset was read after pending_bytes had read 0"),
        "reads old data": (
            [*SAVING, pending(9), *got(A), pending(0), moved("read", A)],
            "data was read after pending_bytes had read 0",
        ),
    },
    "SAV-11": {
        "without a": ([*SAVING, *got(A)], "data_offset was read before pending_bytes"),
        "without a, in the next state": (
            [OPEN, *to(RUNNING, PRE_COPY), pending(9), *to(PRE_COPY, STOP_AND_COPY), *got(A)],
            "data_offset was read before pending_bytes",
        ),
        "c before b": (
            [*SAVING, pending(9), size(16), offset(), moved("read", A), pending(0)],
            "data_size was read without data_offset",
        ),
        "d before b and c": (
            [*SAVING, pending(9), *got(A), pending(9), moved("read", A), offset(), size(16)],
            "data was read without data_offset and data_size",
        ),
        "d before c": (
            [*SAVING, pending(9), offset(), moved("read", A), size(16), pending(0)],
            "data was read without data_size",
        ),
        "f before d": ([*SAVING, pending(9), offset(), size(16), pending(9)], "when 0 of the 16 bytes had been"),
        "f inside d": (
            [*SAVING, pending(9), offset(), size(16), moved("read", A[:15]), pending(9)],
            "when 15 of the 16 bytes had been",
        ),
        "f before c": ([*SAVING, pending(9), offset(), pending(9)], "when 0 of the bytes had been"),
        "without f": (
            [*SAVING, pending(9), *got(A), *got(B), pending(0)],
            "data_offset was read again when all 16 bytes",
        ),
    },
    "SAV-13": {
        "stops at the first": ([*SAVING, pending(9), *to(STOP_AND_COPY, STOP)], "had read 9 bytes last"),
        "stops after one": (
            [*SAVING, pending(9), *got(A), pending(5), *to(STOP_AND_COPY, STOP), CLOSE],
            "had read 5 bytes",
        ),
        "leaves pre-copy and never asks": (
            [OPEN, *to(RUNNING, PRE_COPY), pending(0), *to(PRE_COPY, STOP_AND_COPY), *to(STOP_AND_COPY, STOP), RESET],
            "pending_bytes had not been read in it",
        ),
    },
    "ERR-02": {
        "reads on": (
            [*SAVING, pending(9), refused(DATA_OFFSET), pending(9)],
            "after a read of data_offset that failed",
        ),
        "tries again": ([*SAVING, refused(PENDING_BYTES), pending(9)], "after a read of pending_bytes that failed"),
        "reads on after data": (
            [*SAVING, pending(9), offset(), size(16), Access("read", BASE, 16, -1), pending(9)],
            "after a read of data that failed",
        ),
        "gives on": (
            [*GIVING, offset(), moved("write", A), write(DATA_SIZE, 16, ok=False), *gave(B)],
            "after a write of data_size that failed",
        ),
        "does not see the error state": (
            [*SAVING, pending(9), read(DEVICE_STATE, ERROR), offset()],
            "after the error state was reported",
        ),
    },
    "RSM-05": {
        "swaps": ([*saved(A, B, C), *resumed(B, A, C)], "buffer 2 of the source was given"),
        "loses one": ([*saved(A, B, C), *resumed(A, C)], "buffer 3 of the source was given"),
        "loses the last": ([*saved(A, B, C), *resumed(A, B)], "set running without the last 1"),
        "repeats one": ([*saved(A, B, C), *resumed(A, A, B, C)], "buffer 1 of the source was given again"),
        "repeats the last": ([*saved(A, B), *resumed(A, B, B)], "buffer 2 of the source was given again"),
        "adds one": ([*saved(A, B), *resumed(A, B, C)], "a buffer of 100 bytes was given after all of them"),
    },
    "RSM-06": {
        "splits": ([*saved(A, B, C), *resumed(A, B[:50], B[50:], C)], "50 bytes given"),
        "merges": ([*saved(A, B, C), *resumed(A + B, C)], "116 bytes given"),
        "cuts short": ([*saved(A, B, C), *resumed(A[:8], B, C)], "8 bytes given"),
        "appends": ([*saved(A, B, C), *resumed(A, B, C + A)], "116 bytes given"),
    },
    "RSM-07": {
        "one byte": ([*saved(A, B, C), *resumed(A, B[:99] + b"!", C)], "other bytes were written"),
        "one byte of few": ([*saved(A, B), *resumed(b"!" + A[1:], B)], "other bytes were written"),
    },
}

CASES = [(clause, way) for clause, ways in OFFENDERS.items() for way in ways]

#: Ways to break a clause that also break another one.
ALSO_BROKEN = {
    ("FLD-04", "never asks where"): {"SAV-11"},
    ("FLD-06", "does not ask how much"): {"SAV-11"},
    ("DS-04", "writes again"): {"DS-15"},
}


def test_every_clause_has_an_offender() -> None:
    assert OFFENDERS.keys() == CLAUSES.keys()


@pytest.mark.parametrize(("clause", "way"), CASES, ids=[f"{clause} {way}" for clause, way in CASES])
def test_broken(clause: str, way: str) -> None:
    """The clause is broken once, for the expected reason, and no other one is."""
    client, words = OFFENDERS[clause][way]
    result = judged(client)
    (offence,) = [offence for offence in result.offences if offence.clause == clause]
    assert words in offence.seen
    assert offence.expected
    assert 1 <= offence.access <= len(client)
    assert {offence.clause for offence in result.offences} == {clause} | ALSO_BROKEN.get((clause, way), set())


@pytest.mark.parametrize("clause", CLAUSES)
def test_not_exercised(clause: str) -> None:
    """A client that only opens and closes the device has neither kept nor broken the clause."""
    assert judged([OPEN, read(DEVICE_STATE, RUNNING), CLOSE])[clause] == (0, 0)


@pytest.mark.parametrize(
    ("clause", "client"),
    [
        ("DS-04", [OPEN, read(DEVICE_STATE, 1), write(DEVICE_STATE, 5, ok=False), read(DEVICE_STATE, 1)]),
        ("DS-07", [*SAVING, read(DEVICE_STATE, ERROR), RESET]),
        ("ERR-02", [*SAVING, pending(9), refused(DATA_OFFSET), *to(STOP_AND_COPY, RUNNING)]),
        ("ERR-02", [*SAVING, pending(9), read(DEVICE_STATE, ERROR), RESET, pending(0)]),
        ("ERR-02", [*GIVING, offset(), Access("write", BASE, 16, -1, A), RESET]),
    ],
)
def test_kept_on_a_failing_device(clause: str, client: Sequence[Access]) -> None:
    """A clause that only a failing device exercises is kept by a client that then does the right thing."""
    result = judged(client)
    assert result.offences == []
    assert result[clause] == (1, 0)


def test_closing_in_any_state_is_allowed() -> None:
    """Closing a stopped device and a running one are counted, and neither is an offence."""
    result = judged(OPEN, to(RUNNING, STOP), CLOSE, OPEN, CLOSE, OPEN, to(RUNNING, PRE_COPY), CLOSE)
    assert result.offences == []
    assert (result.judge.closed_stopped, result.judge.closed_otherwise) == (1, 2)


def test_an_offence_has_the_number_of_its_access() -> None:
    """That of the access that completes the offence."""
    result = judged(SAVING, pending(9), got(A), pending(0), size(16))
    assert [(offence.clause, offence.access) for offence in result.offences] == [("SAV-02", 9)]
