# SPDX-License-Identifier: GPL-2.0-only
"""The trace format: what a client of a device did, as JSON lines (UTF-8, each line an object and its newline).

The first line is the header:

========== ======================================================================================================
trace      "vfio-compliance"
version    2
recorded   what was recorded, in words
maps       "seen": each mapping that the client made has a record; "unseen": the recorder cannot see them
protocol   "kernel" or "vfio-user": whose structures ``argsz`` counts; left out: "kernel"
began      date and time of the beginning, ISO 8601; may be left out
========== ======================================================================================================

Each further line is a record, in the order in which the accesses ended. ``verb`` says which kind, ``time`` when it
began, in seconds since the beginning:

========== ======================================================================================================
region     what is known about a region before its first access: region (index), size (bytes; 0 if unknown),
           areas (list of [offset, length] that can be mapped; empty when none), migration (true for the migration
           region)
open       a client opened the device
close      it closed it
reset      it reset the device: value, errno
map        it mapped a part of a region: region, offset, length, value, errno
read       it read from a region: region, offset, length, value, errno, and data, sha256 or unknown
write      it wrote to a region: the same
dma-map    it mapped memory for DMA: argsz, flags, iova, size, value, errno
dma-unmap  it unmapped memory: the same; with the flag that asks for the dirty bitmap also bitmap
dirty      VFIO_IOMMU_DIRTY_PAGES: argsz, flags, value, errno; with the flag that asks for the bitmap also iova, size
           and bitmap
gap        accesses are missing here; why gives the reason, and may be left out
end        the last line: the recorder ended properly
========== ======================================================================================================

``offset`` and ``length`` are in bytes, in the region. ``value`` is what the call returned: bytes moved, 0 for the
calls that move none, -1 for a failure; ``errno`` is the error then, 0 if there was none, and for a success. ``took``
is how long the call took, in microseconds; it may be left out.

``data`` are the bytes that were read, or were to be written, in hexadecimal: all of them, if they are at most
64; for more, ``sha256`` is their digest. A read that failed or gave nothing has neither. If a recorder does
not know all of the content, the record says ``unknown``: true; ``data`` are then the first bytes that it knows,
at most 64, or left out. Accesses through a mapping have no record.

``bitmap`` is {"pgsize", "size", "zero"}: bytes of a page, bytes of memory for the bitmap, and whether that memory was
zero before the call (left out if unknown). Fields beyond the caller's argsz, or that the recorder could not see,
are left out; without argsz, none of them is known.

``device`` (of open, close, reset, region, map, read, write) and ``container`` (of dma-map, dma-unmap, dirty) are
numbers that distinguish several in one trace; left out: the number 0. Keys that are not listed are ignored.

A file that was cut short or is not of this format raises a TraceError that says what is wrong, and where. No
file can make a reader use more memory than for one line.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from ..common.calls import KEPT_BYTES
from ..common.words import counted
from ..run.client import Bitmap, ContainerCall
from ..run.container_calls import asks_for_bitmap
from ..uapi.type1 import DirtyPagesFlags

NAME: Final = "vfio-compliance"
VERSION: Final = 2

#: Bytes of the longest line.
LONGEST_LINE: Final = 1 << 20

_MOST_AREAS = 1024
_PIECE = 1 << 20
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_LARGEST = (1 << 64) - 1
_MOST_ERRNO = 4095
_MOST_NUMBER = (1 << 31) - 1
_LONGEST_WHY = 1000
_ACCESSES = ("read", "write", "map")
_SIMPLE = ("open", "close", "gap", "end")
_OF_CONTAINER = ("dma-map", "dma-unmap", "dirty")
_PROTOCOLS = ("kernel", "vfio-user")


class TraceError(Exception):
    """A file that is not a trace, or is damaged; the message is ``file:line: what is wrong``."""


def refuse_pipe(path: Path) -> None:
    """Raise TraceError for a file that can be read only once, and OSError as ``stat`` does."""
    if stat.S_ISFIFO(path.stat().st_mode):
        raise TraceError(f"{path}: a pipe, but this has to be read twice; write it to a file first")


class Region(NamedTuple):
    """A trace's record of a region."""

    region: int
    size: int
    #: Offset and length of each part that can be mapped.
    areas: tuple[tuple[int, int], ...]
    migration: bool


class Record(NamedTuple):
    """One line after the header."""

    line: int
    verb: str
    #: Seconds since the beginning.
    time: float
    #: Of a read, write or map: index of the region, and the place in it.
    region: int = -1
    offset: int = 0
    length: int = 0
    value: int = 0
    errno: int = 0
    data: bytes = b""
    sha256: str = ""
    #: Microseconds.
    took: int = 0
    #: Of a region record.
    about: Region | None = None
    #: Of a read or write: ``data`` is not all that moved, and the digest is unknown.
    unknown: bool = False
    #: Of a call of the container.
    called: ContainerCall | None = None
    #: Distinguish devices and containers.
    device: int = 0
    container: int = 0
    #: The reason of a gap, in words.
    why: str = ""


class Header(NamedTuple):
    """The first line."""

    recorded: str
    maps_seen: bool
    #: "kernel" or "vfio-user".
    protocol: str = "kernel"


class Reader:
    """Reads one trace. Raises TraceError, here and while records are taken from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._line = 0
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None
        try:
            self.header = self._header()
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[Record]:
        with self._file:
            while (fields := self._next()) is not None:
                yield self._record(fields)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()

    def _wrong(self, what: str) -> TraceError:
        return TraceError(f"{self.path}:{self._line}: {what}")

    def _next(self) -> dict[str, Any] | None:
        self._line += 1
        try:
            line = self._file.readline(LONGEST_LINE + 1)
        except OSError as error:
            raise self._wrong(str(error.strerror)) from None
        if not line:
            return None
        if len(line) > LONGEST_LINE:
            raise self._wrong(f"a line of more than {counted(LONGEST_LINE, 'byte')}")
        if not line.endswith(b"\n"):
            raise self._wrong("the file ends inside this line: it was cut short")
        try:
            fields = json.loads(line.decode())
        except UnicodeDecodeError:
            raise self._wrong("not UTF-8 text") from None
        except (ValueError, RecursionError) as error:
            raise self._wrong(f"not JSON: {str(error)[:100]}") from None
        if not isinstance(fields, dict):
            raise self._wrong("not a JSON object")
        return fields

    def _header(self) -> Header:
        try:
            fields = self._next()
        except TraceError as error:
            raise TraceError(
                f"{error} (a trace begins with its header; vfio-compliance import makes one of strace or QEMU logs)"
            ) from None
        if fields is None:
            raise self._wrong("the file is empty")
        if fields.get("trace") != NAME:
            raise self._wrong(f'not a trace: its first line lacks "trace": "{NAME}"')
        if fields.get("version") != VERSION:
            raise self._wrong(f"version {_short(fields.get('version'))} of the format; this program reads {VERSION}")
        if fields.get("maps") not in ("seen", "unseen"):
            raise self._wrong(f'"maps" is "seen" or "unseen", not {_short(fields.get("maps"))}')
        if (protocol := fields.get("protocol", "kernel")) not in _PROTOCOLS:
            raise self._wrong(f'"protocol" is "kernel" or "vfio-user", not {_short(protocol)}')
        return Header(self._text(fields, "recorded"), fields["maps"] == "seen", protocol)

    def _record(self, fields: dict[str, Any]) -> Record:
        verb = self._text(fields, "verb")
        time = fields.get("time")
        if not isinstance(time, (int, float)) or isinstance(time, bool) or not 0 <= time < 1e12:
            raise self._wrong(f'"time" is a number of seconds, not {_short(time)}')
        record = Record(self._line, verb, float(time))
        if verb in _OF_CONTAINER:
            return self._of_container(record, fields)
        if verb == "end":
            return record
        if verb == "gap":
            why = self._text(fields, "why") if "why" in fields else ""
            return record._replace(why=why[:_LONGEST_WHY])
        if verb not in ("region", "reset", "open", "close", *_ACCESSES):
            raise self._wrong(f"there is no verb {_short(verb)}")
        record = record._replace(device=self._numbered(fields, "device"))
        if verb in _SIMPLE:
            return record
        if verb == "region":
            return record._replace(about=self._region(fields))
        if verb in _ACCESSES:
            record = record._replace(
                region=self._number(fields, "region", 0, 2**32 - 1),
                offset=self._number(fields, "offset", 0, _LARGEST),
                length=self._number(fields, "length", 0, _LARGEST),
            )
        record = self._ended(record, fields, record.length if verb in ("read", "write") else 0)
        if verb in ("read", "write"):
            return self._with_data(record, fields, max(record.value, 0) if verb == "read" else record.length)
        return record

    def _ended(self, record: Record, fields: dict[str, Any], most: int) -> Record:
        """How a call ended: one that succeeds gives up to ``most``."""
        value = self._number(fields, "value", -1, most)
        code = self._number(fields, "errno", 0, _MOST_ERRNO)
        if value >= 0 and code:
            raise self._wrong(f'"value" {value} and "errno" {code} do not go together')
        took = self._number(fields, "took", 0, _LARGEST) if "took" in fields else 0
        return record._replace(value=value, errno=code, took=took)

    def _of_container(self, record: Record, fields: dict[str, Any]) -> Record:
        argsz = self._number(fields, "argsz", 0, 2**32 - 1) if "argsz" in fields else None
        flags = self._number(fields, "flags", 0, 2**32 - 1) if "flags" in fields else None
        iova = size = bitmap = None
        ranged = record.verb != "dirty" or (flags or 0) & DirtyPagesFlags.GET_BITMAP
        if ranged and "iova" in fields:
            iova = self._number(fields, "iova", 0, _LARGEST)
        if ranged and "size" in fields:
            size = self._number(fields, "size", 0, _LARGEST)
        if asks_for_bitmap(record.verb, flags) and "bitmap" in fields:
            bitmap = self._bitmap(fields["bitmap"])
        record = record._replace(
            called=ContainerCall(argsz, flags, iova, size, bitmap), container=self._numbered(fields, "container")
        )
        return self._ended(record, fields, 0)

    def _bitmap(self, fields: object) -> Bitmap:
        if not isinstance(fields, dict):
            raise self._wrong(f'"bitmap" is an object, not {_short(fields)}')
        zero = fields.get("zero")
        if zero is not None and not isinstance(zero, bool):
            raise self._wrong(f'"zero" is true or false, not {_short(zero)}')
        pgsize, size = (self._number(fields, key, 0, _LARGEST) if key in fields else None for key in ("pgsize", "size"))
        return Bitmap(pgsize, size, zero)

    def _with_data(self, record: Record, fields: dict[str, Any], size: int) -> Record:
        unknown = fields.get("unknown", False)
        if not isinstance(unknown, bool):
            raise self._wrong(f'"unknown" is true or false, not {_short(unknown)}')
        if unknown:
            text = self._text(fields, "data") if "data" in fields else ""
            most = min(size, KEPT_BYTES)
            if not re.fullmatch(rf"([0-9a-f]{{2}}){{0,{most}}}", text, re.ASCII):
                raise self._wrong(f'"data" is at most {counted(most, "byte")} in hexadecimal, not {_short(text)}')
            return record._replace(data=bytes.fromhex(text), unknown=len(text) < 2 * size)
        if size > KEPT_BYTES:
            digest = fields.get("sha256", "")
            if not isinstance(digest, str) or not re.fullmatch(r"([0-9a-f]{64})?", digest, re.ASCII):
                raise self._wrong(f'"sha256" is 64 hexadecimal digits, not {_short(digest)}')
            return record._replace(sha256=digest, unknown=not digest)
        text = self._text(fields, "data") if size else ""
        if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text, re.ASCII):
            raise self._wrong(f'"data" is {counted(size, "byte")} in hexadecimal, not {_short(text)}')
        return record._replace(data=bytes.fromhex(text))

    def _numbered(self, fields: dict[str, Any], key: str) -> int:
        """Which device or container it is."""
        return self._number(fields, key, 0, _MOST_NUMBER) if key in fields else 0

    def _region(self, fields: dict[str, Any]) -> Region:
        areas = fields.get("areas")
        if not isinstance(areas, list) or len(areas) > _MOST_AREAS:
            raise self._wrong(f'"areas" is a list of at most {counted(_MOST_AREAS, "area")}, not {_short(areas)}')
        for area in areas:
            good = isinstance(area, list) and len(area) == 2 and all(type(each) is int for each in area)
            if not good or not all(0 <= each <= _LARGEST for each in area):
                raise self._wrong(f"an area is [offset, length], not {_short(area)}")
        migration = fields.get("migration")
        if not isinstance(migration, bool):
            raise self._wrong(f'"migration" is true or false, not {_short(migration)}')
        return Region(
            self._number(fields, "region", 0, 2**32 - 1),
            self._number(fields, "size", 0, _LARGEST),
            tuple((offset, length) for offset, length in areas),
            migration,
        )

    def _number(self, fields: dict[str, Any], key: str, least: int, most: int) -> int:
        value = fields.get(key)
        if type(value) is not int or not least <= value <= most:
            raise self._wrong(f'"{key}" is a whole number from {least} to {most}, not {_short(value)}')
        return value

    def _text(self, fields: dict[str, Any], key: str) -> str:
        value = fields.get(key)
        if not isinstance(value, str):
            raise self._wrong(f'"{key}" is a text, not {_short(value)}')
        return value


def _short(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a larger one"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


class Writer:
    """Writes a new trace; each record is one write, so that a recorder that is killed loses none before.

    Each method raises TraceError if the disk is full. ``time`` is in seconds, ``took`` in microseconds.
    """

    def __init__(self, path: Path, recorded: str, *, maps_seen: bool, protocol: str = "kernel") -> None:
        """``protocol`` is "kernel" or "vfio-user". Raises TraceError if the file cannot be created, or exists."""
        self.path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise TraceError(f"{path} exists already; name another file") from None
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None
        began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        header = {"trace": NAME, "version": VERSION, "recorded": recorded, "maps": "seen" if maps_seen else "unseen"}
        try:
            self._write(header | ({} if protocol == "kernel" else {"protocol": protocol}) | {"began": began})
        except TraceError:
            os.close(self._file)
            raise

    def simple(self, verb: str, time: float, device: int = 0) -> None:
        """An ``open`` or ``close``."""
        self._write({"verb": verb, "time": round(time, 6), **_numbered("device", device)})

    def gap(self, time: float, why: str = "") -> None:
        """Accesses are missing here."""
        self._write({"verb": "gap", "time": round(time, 6)} | ({"why": why[:_LONGEST_WHY]} if why else {}))

    def region(self, time: float, region: Region, device: int = 0) -> None:
        """What is known about a region."""
        self._write(
            {
                "verb": "region",
                "time": round(time, 6),
                **_numbered("device", device),
                "region": region.region,
                "size": region.size,
                "areas": [list(area) for area in region.areas],
                "migration": region.migration,
            }
        )

    def reset(self, time: float, took: int, errno: int, device: int = 0) -> None:
        """A reset, ``errno`` 0 if it succeeded."""
        ended = {"value": -1 if errno else 0, "errno": errno, "took": took}
        self._write({"verb": "reset", "time": round(time, 6), **_numbered("device", device), **ended})

    def access(
        self,
        verb: str,
        time: float,
        took: int,
        place: Sequence[int],
        value: int,
        errno: int,
        data: bytes,
        sha256: str = "",
        *,
        unknown: bool = False,
        device: int = 0,
    ) -> None:
        """A ``read``, ``write`` or ``map`` at ``place``: region, offset, length.

        There is no ``data`` with ``sha256``. ``unknown``: more moved than ``data``, the known first bytes.
        """
        region, offset, length = place
        fields: dict[str, Any] = {
            "verb": verb,
            "time": round(time, 6),
            **_numbered("device", device),
            "region": region,
            "offset": offset,
            "length": length,
            "value": value,
            "errno": errno,
            "took": took,
        }
        if unknown:
            fields["unknown"] = True
            data = data[:KEPT_BYTES]
        if sha256:
            fields["sha256"] = sha256
        elif data:
            fields["data"] = data.hex()
        self._write(fields)

    def called(
        self,
        verb: str,
        time: float,
        took: int,
        call: ContainerCall,
        value: int,
        errno: int,
        container: int = 0,
    ) -> None:
        """A ``dma-map``, ``dma-unmap`` or ``dirty``; fields of ``call`` that are None are left out."""
        fields = {key: each for key, each in call._asdict().items() if each is not None and key != "bitmap"}
        if call.bitmap:
            fields["bitmap"] = {key: each for key, each in call.bitmap._asdict().items() if each is not None}
        ended = {"value": value, "errno": errno, "took": took}
        self._write({"verb": verb, "time": round(time, 6), **_numbered("container", container), **fields, **ended})

    def close(self, time: float) -> None:
        """End the trace properly."""
        try:
            self.simple("end", time)
        finally:
            self._let_go()

    def append(self, lines: BinaryIO) -> None:
        """All records of a file, as made by encode()."""
        while piece := lines.read(_PIECE):
            self._out(piece)

    def abandon(self) -> None:
        """Remove the file: there will be no trace."""
        self._let_go()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _let_go(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _write(self, fields: dict[str, Any]) -> None:
        self._out(encode(fields))

    def _out(self, text: bytes) -> None:
        left = memoryview(text)
        try:
            while left:  # a disk that is nearly full takes only a part
                left = left[os.write(self._file, left) :]
        except OSError as error:
            raise TraceError(f"{self.path} takes no more: {error.strerror}") from None


def encode(fields: dict[str, Any]) -> bytes:
    """The line of a record."""
    return _ENCODER.encode(fields).encode() + b"\n"


def _numbered(key: str, number: int) -> dict[str, int]:
    return {key: number} if number else {}
