# SPDX-License-Identifier: GPL-2.0-only
"""The memory mapped for a vfio-user server, and the server's access to it by message."""

from __future__ import annotations

import errno
import mmap
from time import perf_counter_ns
from typing import NamedTuple

from ...common.calls import KEPT_BYTES
from ..base import Memory
from ..trace import Tracer
from .connection import MAX_DATA
from .wire import DMA_ACCESS, DMA_FLAG_READ, DMA_FLAG_WRITE, Command


class Mapping(NamedTuple):
    """The memory of one accepted DMA_MAP."""

    iova: int
    size: int
    flags: int
    memory: Memory
    #: Its start in ``memory``.
    start: int


class DmaTable:
    """Every mapping in force."""

    def __init__(self, tracer: Tracer) -> None:
        self._mappings: list[Mapping] = []
        self._tracer = tracer
        #: Bytes of a page, for take_written().
        self.page = mmap.PAGESIZE
        #: Pages that the server wrote by message since take_written().
        self._written: set[int] = set()

    def add(self, mapping: Mapping) -> None:
        """Note that the server accepted a mapping."""
        self._mappings.append(mapping)

    def remove(self, iova: int, size: int) -> None:
        """Forget the mappings inside a range."""
        self._mappings = [
            each for each in self._mappings if not iova <= each.iova <= each.iova + each.size <= iova + size
        ]

    def clear(self) -> None:
        """Forget all of them."""
        self._mappings.clear()
        self._written.clear()

    def take_written(self) -> list[int]:
        """Addresses of the pages that the server wrote by message since the last call."""
        written, self._written = self._written, set()
        return [page * self.page for page in sorted(written)]

    def serve(self, command: int, payload: bytes) -> tuple[int, bytes]:
        """Carry out a server's DMA_READ or DMA_WRITE: returns errno and the payload of the reply.

        EINVAL if it asks for more than was agreed on, EFAULT if nothing is mapped there, EACCES against the
        mapping's flags; then no byte has moved. The access is traced as "dma-read" or "dma-write".
        """
        address, count = DMA_ACCESS.unpack_from(payload)
        writes = command == Command.DMA_WRITE
        verb = "dma-write" if writes else "dma-read"
        if self._tracer.on_begin is not None:
            self._tracer.on_begin(verb, "memory", address, count)
        started = perf_counter_ns()
        data = payload[DMA_ACCESS.size :]
        answer = b""
        pieces: list[memoryview] = []
        code = errno.EINVAL if count > MAX_DATA else self._find(address, count, writes, pieces)
        if not code:
            if writes:
                done = 0
                for piece in pieces:
                    piece[:] = data[done : done + len(piece)]
                    done += len(piece)
                self._written.update(range(address // self.page, -(-(address + count) // self.page)))
            else:
                answer = b"".join(pieces)
        for piece in pieces:
            piece.release()
        duration = perf_counter_ns() - started
        value = -1 if code else count
        moved = (answer[:KEPT_BYTES], data[:KEPT_BYTES])
        digests = [self._tracer.digest(all_) if len(all_) > KEPT_BYTES else "" for all_ in (answer, data)]
        self._tracer.add((verb, "memory", address, count, *moved, value, code, started, duration, *digests, None))
        return code, DMA_ACCESS.pack(address, count) + answer

    def _find(self, address: int, count: int, writes: bool, pieces: list[memoryview]) -> int:
        """Gather the views that make up a range, which may run across adjacent mappings; errno."""
        needed = DMA_FLAG_WRITE if writes else DMA_FLAG_READ
        while count:
            for each in self._mappings:
                if each.iova <= address < each.iova + each.size and not each.memory.released:
                    break
            else:
                return errno.EFAULT
            if not each.flags & needed:
                return errno.EACCES
            inside = address - each.iova
            length = min(count, each.size - inside)
            begin = each.start + inside
            pieces.append(each.memory.view[begin : begin + length])
            address += length
            count -= length
        return 0
