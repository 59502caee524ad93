# SPDX-License-Identifier: GPL-2.0-only
"""The saved state: buffers are returned as they were added, and memory does not grow with its size."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence

import pytest

from vfio_compliance.device.stream import PIECE, Stream


def test_buffers_are_returned_as_added() -> None:
    """Sizes, offsets and bytes, even of an empty buffer."""
    stream = Stream()
    parts = [[b"abc", b"de"], [], [b"f" * 70_000]]
    buffers = [stream.add(4096 + number, pieces) for number, pieces in enumerate(parts)]
    assert stream.buffers == buffers
    assert stream.sizes == [5, 0, 70_000]
    assert [buffer.offset for buffer in buffers] == [4096, 4097, 4098]
    assert [stream.data(buffer) for buffer in buffers] == [b"abcde", b"", b"f" * 70_000]
    assert stream.total == 70_005


def test_pieces_have_the_given_length() -> None:
    """All but the last."""
    stream = Stream()
    buffer = stream.add(0, [b"0123456789"])
    assert list(stream.pieces(buffer, 4)) == [b"0123", b"4567", b"89"]


@pytest.mark.parametrize(
    ("parts", "difference"),
    [
        ([[b"abc", b"de"], [b"fgh"]], ""),
        ([[b"ab", b"cde"], [b"fgh"]], ""),
        ([[b"abcde"], [b"fgX"]], "different bytes in buffer 2"),
        ([[b"fgh"], [b"abcde"]], "5 bytes in buffer 1, not 3"),
        ([[b"abcde"]], "2 buffers, not 1"),
    ],
)
def test_the_first_difference_is_reported(parts: Sequence[Sequence[bytes]], difference: str) -> None:
    """Of two states, buffer by buffer, regardless of their pieces."""
    stream, other = Stream(), Stream()
    stream.add(4096, [b"abc", b"de"])
    stream.add(4096, [b"fgh"])
    for pieces in parts:
        other.add(8192, pieces)
    assert stream.difference(other) == difference


def test_a_view_is_stored_before_it_changes() -> None:
    """Each piece is a view of the same memory."""
    memory = bytearray(3)

    def pieces() -> Iterator[memoryview]:
        for text in (b"abc", b"def"):
            memory[:] = text
            yield memoryview(memory)

    stream = Stream()
    assert stream.data(stream.add(0, pieces())) == b"abcdef"


def test_a_large_state_is_not_kept_in_memory() -> None:
    """While 256 MiB are added and read, resident memory grows by less than 64 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream = Stream()
    piece = bytes(PIECE)
    buffer = stream.add(0, (piece for _ in range(256)))
    assert sum(map(len, stream.pieces(buffer))) == 256 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
