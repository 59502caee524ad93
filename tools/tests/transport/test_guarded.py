# SPDX-License-Identifier: GPL-2.0-only
"""Memory followed by an inaccessible page. The kernel makes the accesses here: a bad address does not crash it."""

from __future__ import annotations

import mmap
import os

import pytest

from vfio_compliance.transport import GuardedBuffer, libc


@pytest.mark.parametrize("length", [1, 24, mmap.PAGESIZE, mmap.PAGESIZE + 8])
def test_memory_ends_at_the_guard(length: int) -> None:
    """The last byte can be written, the next one neither written nor read; a write across fails."""
    with GuardedBuffer(length) as memory:
        assert memory.address + memory.length == memory.end
        assert bytes(memory.view) == bytes(length)
        assert libc.store(memory.address, b"\x5a" * length)
        assert bytes(memory.view) == b"\x5a" * length
        assert not libc.store(memory.end, b"x")
        assert not libc.store(memory.end - 1, b"xy")
        assert not _readable(memory.end)
        assert _readable(memory.end - 1)


def test_memory_can_be_made_read_only() -> None:
    """Its content can still be read; a write faults."""
    with GuardedBuffer(48) as memory:
        memory.view[:4] = b"kept"
        memory.readonly()
        assert _readable(memory.address)
        assert not libc.store(memory.address, b"lost")
        assert bytes(memory.view[:4]) == b"kept"


def test_large_memory_takes_only_the_pages_written() -> None:
    """A GiB of which eight bytes are written takes a few pages."""
    with GuardedBuffer(1 << 30) as memory:
        before = _resident()
        memory.view[-8:] = b"12345678"
        assert memory.view[0] == 0
        assert _resident() - before < 64


def test_length_must_be_positive() -> None:
    """Anything else is an error of the caller."""
    with pytest.raises(ValueError, match="0 bytes"):
        GuardedBuffer(0)


def _readable(address: int) -> bool:
    """Whether the kernel can read a byte at an address."""
    descriptor = os.memfd_create("readable")
    try:
        return bool(libc.pwrite64(descriptor, libc.pointer(address), 1, 0) == 1)
    finally:
        os.close(descriptor)


def _resident() -> int:
    """Resident pages of this process."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1])


def test_write_before_the_memory_is_detected() -> None:
    """Memory that does not begin at a page boundary shows whether the bytes before it were written."""
    with GuardedBuffer(24) as buffer:
        assert libc.store(buffer.address, b"\xff" * 24)
        assert not buffer.spilled
        assert libc.store(buffer.address - 1, b"\x01")
        assert buffer.spilled
