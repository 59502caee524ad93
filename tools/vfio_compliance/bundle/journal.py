# SPDX-License-Identifier: GPL-2.0-only
"""The journal in a bundle: packed by xz, half as large as by gzip, and read back a line at a time."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from ..common.words import counted
from ..results import journal
from .packing import Wrong

NAME: Final = f"{journal.NAME}.xz"

#: Chosen for journals: the dictionary spans a few hundred cases, and text is not aligned.
_FILTERS: Final = ({"id": lzma.FILTER_LZMA2, "preset": 6, "pb": 0, "lc": 4},)

#: Limits in bytes: memory for unpacking, the largest journal, and its longest line.
_MEMORY: Final = 64 << 20
_LARGEST: Final = 1 << 30
_LONGEST: Final = 16 << 20
_PIECE: Final = 1 << 18


def pack(lines: Iterable[bytes], file: BinaryIO) -> int:
    """Write the lines, packed, into ``file``; its size in bytes. Raises OSError."""
    packed = lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_SHA256, filters=[*_FILTERS])
    size = 0
    for line in lines:
        size += file.write(packed.compress(line))
    return size + file.write(packed.flush())


def unpack(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The unpacked lines. Raises Wrong."""
    packed = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY)
    line = _Line()
    total = 0
    for piece in pieces:
        if packed.eof:
            raise Wrong(f"{NAME}: something follows its end")
        while True:
            try:
                data = packed.decompress(piece, _PIECE)
            except lzma.LZMAError as error:
                raise Wrong(f"{NAME}: cannot be unpacked after {counted(total, 'byte')} of text: {error}") from None
            piece = b""
            yield from line.take(data)
            total += len(data)
            if line.size > _LONGEST or total > _LARGEST:
                raise Wrong(f"{NAME}: too large for a journal")
            if packed.eof or packed.needs_input:
                break
    if not packed.eof:
        raise Wrong(f"{NAME}: cut short")
    if packed.unused_data:
        raise Wrong(f"{NAME}: something follows its end")
    yield from line.rest()


class _Line:
    """The line that is being read, piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def take(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in ``data``."""
        *ended, last = data.split(b"\n")
        for end in ended:
            yield b"".join([*self._parts, end, b"\n"])
            self._parts, self.size = [], 0
        self._parts.append(last)
        self.size += len(last)

    def rest(self) -> Iterator[bytes]:
        """What comes after the last newline, if anything does."""
        if self.size:
            yield b"".join(self._parts)
