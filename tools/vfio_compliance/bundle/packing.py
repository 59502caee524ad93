# SPDX-License-Identifier: GPL-2.0-only
"""How a bundle is packed: a tar file in gzip, with only one form for given members.

``tar xzf`` unpacks it anywhere. Names, owner, mode and time of each member are fixed, so the same folder gives the same
bytes. The head of the gzip file holds the SHA-256 of all that comes after it, in a field that other programs ignore
(RFC 1952, 2.3.1.1): some bytes of a packed stream have no meaning, but none may be changed. What is read is never
written to the disk: names, kinds and sizes that this program does not write are refused before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import re
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, NamedTuple

from ..common.words import counted

_BLOCK: Final = tarfile.BLOCKSIZE
#: Two empty blocks end the archive.
_END: Final = bytes(2 * _BLOCK)
_PIECE: Final = 1 << 18

#: gzip, deflate, with an extra field; no time; best compression; made on Unix. The field, a digest, has 36 bytes.
_HEAD: Final = b"\x1f\x8b\x08\x04" + bytes(4) + b"\x02\x03" + b"\x24\x00VC\x20\x00"
_DIGEST: Final = 32

#: A folder and a file, or one more folder in between. A tar header has room for 100 bytes.
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*){1,2}", re.ASCII)
LONGEST_NAME: Final = 100

#: Limits: bytes of all members, bytes of all data (with --with-data), number of members. More is an archive bomb.
_LARGEST: Final = 1 << 30
_LARGEST_DATA: Final = 1 << 34
_MOST: Final = 1 << 16


class Wrong(Exception):
    """What is read is not as it was packed; the message says where."""


class Member(NamedTuple):
    """A file of a bundle."""

    #: Without the folder that all members are in.
    name: str
    size: int
    #: To be read before the next member.
    pieces: Iterator[bytes]


# -- writing ----------------------------------------------------------------------------------------------------------


class Packer:
    """Writes a bundle into a seekable file."""

    def __init__(self, file: BinaryIO, folder: str) -> None:
        """``folder``: the folder that all members are in. Raises OSError, as do all methods."""
        self._file = file
        self._folder = folder
        self._packed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._whole = hashlib.sha256()
        self._crc = self._size = 0
        file.write(_HEAD + bytes(_DIGEST))

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> str:
        """Add a member; its SHA-256 in hexadecimal. Raises Wrong if it does not have this size."""
        digest, written = hashlib.sha256(), 0
        self._take(_header(f"{self._folder}/{name}", size))
        for piece in pieces:
            digest.update(piece)
            written += len(piece)
            self._take(piece)
        if written != size:
            raise Wrong(f"{name}: {counted(written, 'byte')}, not {size}: it was changed while it was packed")
        self._take(bytes(-size % _BLOCK))
        return digest.hexdigest()

    def close(self) -> None:
        """Write the end, and the digest into the head."""
        self._take(_END)
        self._put(self._packed.flush())
        self._put(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
        self._file.seek(len(_HEAD))
        self._file.write(self._whole.digest())

    def _take(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._put(self._packed.compress(data))

    def _put(self, data: bytes) -> None:
        self._whole.update(data)
        self._file.write(data)


def _header(name: str, size: int) -> bytes:
    """The header of a member, which has only one form."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    info.uname = info.gname = "root"
    return info.tobuf(tarfile.GNU_FORMAT)


# -- reading ----------------------------------------------------------------------------------------------------------


def unchanged(file: BinaryIO) -> bool:
    """Whether the digest in the head is that of all that follows. Raises Wrong if it is not a bundle, OSError."""
    file.seek(0)
    head = file.read(len(_HEAD) + _DIGEST)
    if head[:2] != _HEAD[:2] or len(head) < len(_HEAD) + _DIGEST:
        raise Wrong("not a bundle, by its beginning; name a file that vfio-compliance bundle has written")
    if head[: len(_HEAD)] != _HEAD:
        place = next(place for place, byte in enumerate(_HEAD) if head[place] != byte)
        raise Wrong(f"byte {place} of the head is not as bundle writes it")
    whole = hashlib.sha256()
    while piece := file.read(_PIECE):
        whole.update(piece)
    return whole.digest() == head[len(_HEAD) :]


def members(file: BinaryIO) -> Iterator[Member]:
    """The members, in order. Raises Wrong, with the place, if something is not as it was packed, OSError."""
    file.seek(len(_HEAD) + _DIGEST)
    unpacked = _Unpacked(file)
    total, data, folder, last = 0, 0, "", "the head"
    for _ in range(_MOST):
        block = unpacked.take(_BLOCK, f"after {last}")
        if not any(block):
            if any(unpacked.take(_BLOCK, f"after {last}")):
                raise Wrong(f"after {last}: something else instead of the end")
            unpacked.end()
            return
        whole, size = _read_header(block, last)
        first, _, name = whole.partition("/")
        if folder and first != folder:
            raise Wrong(f"{whole}: not in the folder {folder}, as all others are")
        folder, last = first, name
        if name.startswith("data/"):
            data += size
        else:
            total += size
        if total > _LARGEST or data > _LARGEST_DATA:
            raise Wrong(
                f"{name}: with it, the bundle has {counted(total + data, 'byte')} unpacked, too large for a run"
            )
        pieces = unpacked.pieces(size, name)
        yield Member(name, size, pieces)
        for _ in pieces:
            pass
        if any(unpacked.take(-size % _BLOCK, name)):
            raise Wrong(f"after {name}: something else instead of padding")
    raise Wrong(f"more than {_MOST} files, which is too many for a run")


def _read_header(block: bytes, last: str) -> tuple[str, int]:
    """Name and size of a member. Raises Wrong unless this program would have written the same header."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError, OverflowError):
        raise Wrong(f"after {last}: not a header of a file") from None
    if not _NAME.fullmatch(info.name) or len(info.name) > LONGEST_NAME:
        raise Wrong(f"after {last}: a file whose name is not allowed in a bundle: {info.name!a}")
    if not info.isreg():
        raise Wrong(f"{info.name!a}: not a file, but a link or something else")
    if not 0 <= info.size <= _LARGEST_DATA or block != _header(info.name, info.size):
        raise Wrong(f"{info.name}: its header is not as bundle writes it")
    return info.name, info.size


class _Unpacked:
    """The content of a packed stream, never more at a time than was asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packed = zlib.decompressobj(-zlib.MAX_WBITS)
        self._rest = b""
        self._crc = self._size = 0

    def take(self, size: int, where: str) -> bytes:
        """The next ``size`` bytes, for small sizes. Raises Wrong, with ``where``, if there are fewer."""
        return b"".join(self.pieces(size, where))

    def pieces(self, size: int, where: str) -> Iterator[bytes]:
        """The same, a piece at a time."""
        while size:
            data = self._some(min(size, _PIECE), where)
            self._crc = zlib.crc32(data, self._crc)
            self._size += len(data)
            size -= len(data)
            yield data

    def _some(self, size: int, where: str) -> bytes:
        while True:
            if self._packed.eof:
                raise Wrong(f"{where}: the archive ends too early")
            self._rest = self._rest or self._file.read(_PIECE)
            if not self._rest:
                raise Wrong(f"{where}: cut short at byte {self._file.tell()}")
            try:
                data = self._packed.decompress(self._rest, size)
            except zlib.error as error:
                raise Wrong(f"{where}: cannot be unpacked near byte {self._place()}: {error}") from None
            self._rest = self._packed.unconsumed_tail or self._packed.unused_data
            if data:
                return data

    def _place(self) -> int:
        return self._file.tell() - len(self._rest)

    def end(self) -> None:
        """Check that only its checksum and its size follow the archive. Raises Wrong, OSError."""
        while not self._packed.eof:
            self._rest = self._rest or self._file.read(_PIECE)
            try:
                more = self._packed.decompress(self._rest, 1) if self._rest else b"?"
            except zlib.error:
                more = b"?"
            if more:
                raise Wrong(f"after the archive: something else, or no end, near byte {self._place()}")
            self._rest = self._packed.unconsumed_tail or self._packed.unused_data
        tail = self._rest + self._file.read(9)
        if tail != struct.pack("<II", self._crc, self._size & 0xFFFFFFFF):
            raise Wrong("the last 8 bytes, checksum and size, are wrong, or something follows them")
