# SPDX-License-Identifier: GPL-2.0-only
"""Registers accessed in pieces count as registers; other partial accesses are not held against a client."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from clients import (
    BASE,
    OPEN,
    RESUMING,
    RUNNING,
    STOP,
    STOP_AND_COPY,
    got,
    judged,
    moved,
    pending,
    read,
    refused,
    resumed,
    saved,
    to,
    write,
)

from vfio_compliance.migration_v1.client.judge import WIDTHS
from vfio_compliance.run.client import Access
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DATA_SIZE, DEVICE_STATE, PENDING_BYTES

A, B = b"a" * 100, b"b" * 50
SOURCE = judged(saved(A, B)).judge.saved
LOOPS = {"FLD-04", "FLD-06", "SAV-02", "SAV-11", "SAV-13", "ERR-02", "RSM-05", "RSM-06", "RSM-07"}


def cut(access: Access, *widths: int) -> list[Access]:
    """The same access in pieces of these widths."""
    at, made = 0, []
    for width in widths:
        data = access.data[at : at + width]
        made.append(access._replace(offset=access.offset + at, length=width, value=width, data=data))
        at += width
    assert at == access.length
    return made


def in_pieces(accesses: Sequence[Access], *widths: int) -> list[Access]:
    """The accesses, with each register of 8 bytes in pieces."""
    return [
        piece
        for access in accesses
        for piece in (cut(access, *widths) if access.length == 8 and access.ok and access.offset < BASE else [access])
    ]


@pytest.mark.parametrize("widths", [(4, 4), (1,) * 8, (2, 2, 4), (6, 2)], ids=str)
def test_pieces_count_as_the_register(widths: tuple[int, ...]) -> None:
    """A client that accesses registers in pieces is judged as one that accesses them whole."""
    clients = [(saved(A, B), None), (resumed(A, B), SOURCE), (resumed(B, A), SOURCE), (resumed(A), SOURCE)]
    for client, source in clients:
        whole, pieces = judged(client, source=source), judged(in_pieces(client, *widths), source=source)
        assert pieces.clauses == whole.clauses
        assert pieces.judge.kept == whole.judge.kept
        assert pieces.judge.unclear == whole.judge.unclear


def test_device_state_with_the_reserved_bytes() -> None:
    """An access to both counts as one to device_state."""
    wide = Access("read", 0, 8, 8, RUNNING.to_bytes(8, "little"))
    result = judged(OPEN, wide, write(DEVICE_STATE, STOP_AND_COPY), pending(0), to(STOP_AND_COPY, STOP))
    assert result.clauses == []
    assert result["DS-15"] == (2, 0)


@pytest.mark.parametrize(
    "strange",
    [
        cut(read(PENDING_BYTES, 5), 4, 4)[:1],
        cut(read(PENDING_BYTES, 5), 4, 4)[1:],
        [cut(read(DATA_OFFSET, BASE), 4, 4)[0], refused(DATA_SIZE)],
        [Access("read", 8, 24, 24, bytes(24))],
        [Access("read", 0, 4096, 4096, bytes(64))],
        [Access("write", 0, 1, 1, b"\x00")],
        [Access("write", 0, 8192, 8192, bytes(64))],
    ],
    ids=["half", "other half", "half and a refusal", "three", "a page", "a byte of device_state", "everything"],
)
def test_accesses_that_cannot_be_followed(strange: Sequence[Access]) -> None:
    """After one, nothing is held against a client until device_state is read again, and the result says so."""
    result = judged(OPEN, to(RUNNING, STOP_AND_COPY), pending(5), strange, moved("read", A), got(B))
    assert result.clauses == []
    assert {clause for clause, why in result.judge.unclear.items() if WIDTHS in why} == LOOPS


@pytest.mark.parametrize("length", [1, 32, 4096])
def test_a_read_of_the_header(length: int) -> None:
    """While no data is transferred, a read of any length changes nothing."""
    look = Access("read", 0, length, length, bytes([RUNNING, *[0] * 63])[:length])
    result = judged(OPEN, read(DEVICE_STATE, RUNNING), look, write(DEVICE_STATE, RESUMING), to(RESUMING, RUNNING))
    assert result.clauses == []
    assert (result.judge.unclear, result["TR-04a"]) == ({}, (1, 0))
