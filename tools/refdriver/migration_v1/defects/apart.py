# SPDX-License-Identifier: GPL-2.0-only
"""A data section whose mapped memory is not what the device sees."""

from __future__ import annotations

from ..section import DataSection


class Apart(DataSection):
    """Reads while a buffer is there do not read the mapped memory."""

    #: The memory that the device fills, and the memory that is then read.
    _served = memoryview(b"")

    def open(self) -> None:
        super().open()
        self._served = memoryview(bytearray(self.end))

    def close(self) -> None:
        super().close()
        self._served = memoryview(b"")

    def room(self, place: int) -> memoryview:
        return self._served[place:]

    def read(self, offset: int, count: int) -> bytes | memoryview:
        data = super().read(offset, count)
        return data if self.present is None else self._served[offset : offset + count]
