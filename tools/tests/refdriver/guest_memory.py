# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory, for tests that check what the device does to it."""

from __future__ import annotations

import mmap
import os

from raw_client import DMA_ADDRESS, DMA_LENGTH, DOORBELL, PIN, PIN_ADDRESS, PIN_LENGTH, STATUS, Client

BASE = 0x100000
PAGE = 4096
SIZE = 32 * PAGE


class Guest:
    """Mapped guest memory with its content; ``fd`` is None if the device reaches it by messages."""

    def __init__(self, client: Client, by_descriptor: bool, address: int = BASE, size: int = SIZE) -> None:
        self.client = client
        self.address = address
        self.fd: int | None = None
        if by_descriptor:
            self.fd = os.memfd_create("guest")
            os.ftruncate(self.fd, size)
            self.content: mmap.mmap | bytearray = mmap.mmap(self.fd, size)
        else:
            self.content = client.memory[address] = bytearray(size)
        assert client.try_map(address, size, self.fd) == 0

    def ring(self, at: int, length: int, value: int) -> int:
        """Have the device fill a range; returns STATUS."""
        self.client.put(0, DMA_ADDRESS, 8, self.address + at)
        self.client.put(0, DMA_LENGTH, 4, length)
        self.client.put(0, DOORBELL, 4, value)
        return self.client.get(0, STATUS, 4)

    def try_pin(self, at: int, length: int, what: int = 1) -> int:
        """Errno of a write of PIN: 1 pins a range, 2 unpins it."""
        self.client.put(0, PIN_ADDRESS, 8, self.address + at)
        self.client.put(0, PIN_LENGTH, 4, length)
        return self.client.try_write(0, PIN, what.to_bytes(4, "little"))[0]

    def close(self) -> None:
        """Release it."""
        if isinstance(self.content, mmap.mmap):
            self.content.close()
        if self.fd is not None:
            os.close(self.fd)


def bits(reply: bytes, fixed: int = 40) -> set[int]:
    """Numbers of the bits set in the bitmap that follows the fixed part of a reply."""
    value = int.from_bytes(reply[fixed:], "little")
    return {bit for bit in range(value.bit_length()) if value >> bit & 1}
