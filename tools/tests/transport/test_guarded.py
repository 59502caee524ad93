# SPDX-License-Identifier: GPL-2.0-only
"""Memory with an inaccessible page behind it. The kernel makes the accesses here: for it a bad address is no crash."""

from __future__ import annotations

import mmap
import os

import pytest

from vfio_compliance.transport import GuardedBuffer, libc


@pytest.mark.parametrize("length", [1, 24, mmap.PAGESIZE, mmap.PAGESIZE + 8])
def test_it_ends_at_the_guard(length: int) -> None:
    """The last byte can be written, the one behind it neither written nor read; a write across stops there."""
    with GuardedBuffer(length) as memory:
        assert memory.address + memory.length == memory.end
        assert bytes(memory.view) == bytes(length)
        assert libc.store(memory.address, b"\x5a" * length)
        assert bytes(memory.view) == b"\x5a" * length
        assert not libc.store(memory.end, b"x")
        assert not libc.store(memory.end - 1, b"xy")
        assert not _readable(memory.end)
        assert _readable(memory.end - 1)


def test_it_can_be_made_read_only() -> None:
    """What was written stays to be read; a write is a fault."""
    with GuardedBuffer(48) as memory:
        memory.view[:4] = b"kept"
        memory.readonly()
        assert _readable(memory.address)
        assert not libc.store(memory.address, b"lost")
        assert bytes(memory.view[:4]) == b"kept"


def test_a_large_one_costs_what_is_written() -> None:
    """A gigabyte of which eight bytes are used takes a few pages."""
    with GuardedBuffer(1 << 30) as memory:
        before = _resident()
        memory.view[-8:] = b"12345678"
        assert memory.view[0] == 0
        assert _resident() - before < 64


def test_no_memory_has_no_bytes() -> None:
    """A length that is not positive is a mistake of the caller."""
    with pytest.raises(ValueError, match="0 bytes"):
        GuardedBuffer(0)


def _readable(address: int) -> bool:
    """Whether the kernel can read a byte there."""
    descriptor = os.memfd_create("readable")
    try:
        return bool(libc.pwrite64(descriptor, libc.pointer(address), 1, 0) == 1)
    finally:
        os.close(descriptor)


def _resident() -> int:
    """Pages of this process that are in memory."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1])


def test_what_is_written_in_front_is_seen() -> None:
    """Memory that does not begin where its page does shows whether somebody wrote before it."""
    with GuardedBuffer(24) as buffer:
        assert libc.store(buffer.address, b"\xff" * 24)
        assert not buffer.spilled
        assert libc.store(buffer.address - 1, b"\x01")
        assert buffer.spilled
