# SPDX-License-Identifier: GPL-2.0-only
"""The container of a saved state: a plain tar file with three members, always in this order.

============== =================================================================================================
manifest.json  what the state is of, and its buffers (manifest.py)
data           the buffers, one directly after another
SHA256SUMS     the digests of the two, so that ``tar xf FILE && sha256sum -c SHA256SUMS`` checks it without us
============== =================================================================================================

Tar, because it is written and read in one pass in constant memory, needs no index at its end, and can be opened
everywhere. A state is first read into a temporary file, because its size is unknown before; so all sizes are known when
the tar file is written. Names, owner (root), mode (0600), time (0) and padding are fixed, so a file in which any
byte was changed is not a state file. The file holds a guest's secrets: only its owner can read it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final

from ..common.new_file import new_file as made_new
from ..common.words import counted
from .manifest import Manifest, check, read

_NAMES: Final = ("manifest.json", "data", "SHA256SUMS")
_BLOCK: Final = tarfile.BLOCKSIZE
#: Two empty blocks end the archive.
_END: Final = bytes(2 * _BLOCK)
_PIECE: Final = 1 << 20
#: Limit for the length of a manifest, in bytes.
_LONGEST: Final = 64 << 20

_FOREIGN = {
    b"\x1f\x8b": "it is compressed by gzip: unpack it first",
    b"PK": "it is a ZIP file, which another program has written",
    b"\x28\xb5\x2f\xfd": "it is compressed by zstd: unpack it first",
    b"\xfd7zXZ": "it is compressed by xz: unpack it first",
}


class StateError(Exception):
    """A file that is not a saved state, is damaged, or cannot be written; the message says where, and what to do."""


# -- writing --------------------------------------------------------------------------------------------------------


def new_file(path: Path) -> AbstractContextManager[BinaryIO]:
    """A file that gets the name ``path`` if the block succeeds, and leaves nothing behind if it fails.

    Raises StateError if the file exists already or cannot be made.
    """
    return made_new(path, StateError)


def write(file: BinaryIO, manifest: Manifest, pieces: Iterable[bytes]) -> None:
    """Write a state. ``pieces`` are the data of all buffers, in order. Raises OSError, StateError."""
    try:
        check(manifest)
    except ValueError as error:
        raise StateError(f"the state cannot be stored in a file: {error}") from None
    text = manifest.to_bytes()
    _member(file, _NAMES[0], len(text), (text,))
    digest = _member(file, _NAMES[1], manifest.size, pieces)
    sums = _sums(hashlib.sha256(text).hexdigest(), digest)
    _member(file, _NAMES[2], len(sums), (sums,))
    file.write(_END)


def _member(file: BinaryIO, name: str, size: int, pieces: Iterable[bytes]) -> str:
    """Write one member; its digest."""
    file.write(_header(name, size))
    digest, written = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        file.write(piece)
        written += len(piece)
    if written != size:
        raise StateError(f"{name}: {counted(written, 'byte')} came, not {size}: the state changed while it was stored")
    file.write(bytes(-size % _BLOCK))
    return digest.hexdigest()


def _header(name: str, size: int) -> bytes:
    """The header of a member, which has only one form."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    info.uname = info.gname = "root"
    return info.tobuf(tarfile.GNU_FORMAT)


def _sums(*digests: str) -> bytes:
    return "".join(f"{digest}  {name}\n" for digest, name in zip(digests, _NAMES, strict=False)).encode()


# -- reading --------------------------------------------------------------------------------------------------------


class StateFile:
    """A state file that was checked to its last byte. It stays open, so that it cannot be replaced by another."""

    def __init__(self, path: Path, largest: int) -> None:
        """``largest``: the largest accepted state, in bytes (limits.largest_state). Raises StateError."""
        self.path = path
        try:
            # Do not wait for the other end of a pipe.
            self._number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise StateError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        try:
            self._check(largest)
        except OSError as error:
            self.close()
            raise StateError(f"{path}: cannot be read: {error.strerror}") from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> StateFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def pieces(self, index: int) -> Iterator[bytes]:
        """The data of buffer ``index``, a piece at a time. Raises StateError if the file has changed."""
        buffer = self.manifest.buffers[index]
        digest = hashlib.sha256()
        for piece in self._pieces(self._data + self._starts[index], buffer.size):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != buffer.sha256:
            raise self._wrong("it was changed while it was read", "copy it, and start again")

    def _check(self, largest: int) -> None:
        about = os.fstat(self._number)
        if not stat.S_ISREG(about.st_mode):
            raise self._wrong("not a regular file", "name a file that vfio-compliance save has written")
        self._size = about.st_size
        size = self._member(0, 0)
        if size > _LONGEST:
            raise self._wrong(f"a manifest of {counted(size, 'byte')}", f"at most {_LONGEST} are read")
        text = self._take(_BLOCK, size)
        try:
            self.manifest: Manifest = read(text)
        except ValueError as error:
            raise StateError(f"{self.path}: {error}") from None
        if self.manifest.largest > largest:
            raise self._wrong(
                f"a state of {counted(self.manifest.largest, 'byte')}, more than limits.largest_state ({largest})",
                "raise that in the profile if the device is of this size",
            )
        self._starts = list(self.manifest.starts())
        place = self._behind(0, size)
        if (held := self._member(place, 1)) != self.manifest.size:
            raise self._wrong(
                f"data of {counted(held, 'byte')} instead of {self.manifest.size} as in the manifest", _AGAIN
            )
        self._data = place + _BLOCK
        place = self._behind(place, held)
        if self._size != (wanted := place + 2 * _BLOCK + len(_END)):
            what = "cut short" if self._size < wanted else "followed by something else"
            raise self._wrong(f"{what}: {counted(self._size, 'byte')} instead of {wanted}", _AGAIN)
        digests = hashlib.sha256(text).hexdigest(), self._digest()
        sums = self._take(place + _BLOCK, self._member(place, 2))
        if sums != _sums(*digests):
            name = next((name for name, each in zip(_NAMES, digests, strict=False) if each.encode() not in sums), "")
            raise self._wrong(f"{name or _NAMES[2]} was changed: its digest is different", _AGAIN)
        self._padding(place + _BLOCK + len(sums), self._size)

    def _member(self, place: int, index: int) -> int:
        """The size of the member whose header is at ``place``. Raises StateError unless it is the expected one."""
        block = self._take(place, _BLOCK)
        if not place:
            for magic, meaning in _FOREIGN.items():
                if block.startswith(magic):
                    raise StateError(f"{self.path}: not a state file: {meaning}")
        try:
            size = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size
            same = size >= 0 and block == _header(_NAMES[index], size)
        except (tarfile.TarError, ValueError, OverflowError):
            same = False
        if not same:
            what = "not a state file" if not place else f"byte {place}: not a member {_NAMES[index]} as save writes it"
            raise self._wrong(what, "name a file that vfio-compliance save has written, unchanged")
        if place + _BLOCK + size > self._size:
            raise self._wrong(
                f"cut short: {_NAMES[index]} has {counted(size, 'byte')}, the whole file {self._size}", _AGAIN
            )
        return size

    def _behind(self, place: int, size: int) -> int:
        """Where the next member begins. Raises StateError if the padding is not empty."""
        end = place + _BLOCK + size
        self._padding(end, end + -size % _BLOCK)
        return end + -size % _BLOCK

    def _padding(self, start: int, end: int) -> None:
        if any(self._take(start, end - start)):
            raise self._wrong(f"byte {start}: something else instead of padding", _AGAIN)

    def _digest(self) -> str:
        """The digest of all data. Raises StateError if a buffer's digest is not that in the manifest."""
        whole = hashlib.sha256()
        for number, (start, buffer) in enumerate(zip(self._starts, self.manifest.buffers, strict=True), 1):
            digest = hashlib.sha256()
            for piece in self._pieces(self._data + start, buffer.size):
                digest.update(piece)
                whole.update(piece)
            if digest.hexdigest() != buffer.sha256:
                raise self._wrong(f"buffer {number} was changed: its digest is different", _AGAIN)
        return whole.hexdigest()

    def _pieces(self, start: int, size: int) -> Iterator[bytes]:
        for place in range(start, start + size, _PIECE):
            yield self._take(place, min(_PIECE, start + size - place))

    def _take(self, place: int, size: int) -> bytes:
        data = os.pread(self._number, size, place)
        if len(data) != size:
            raise self._wrong(f"cut short at byte {place + len(data)}", _AGAIN)
        return data

    def _wrong(self, what: str, remedy: str) -> StateError:
        return StateError(f"{self.path}: {what}; {remedy}")


_AGAIN: Final = "copy it again from where it was saved"
