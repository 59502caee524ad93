# SPDX-License-Identifier: GPL-2.0-only
"""The trace format: what a client of a device did, as JSON lines (UTF-8, each line an object and its newline).

The first line is the header:

========== ======================================================================================================
trace      "vfio-compliance"
version    1
recorded   what was recorded, for a reader
maps       "seen": each mapping that the client made has a record; "unseen": the recorder cannot see them
began      date and time of the beginning, ISO 8601; may be left out
========== ======================================================================================================

Each further line is a record, in the order in which the accesses ended. ``verb`` says which kind, ``time`` when it
began, in seconds since the beginning:

========== ======================================================================================================
region     what is known of a region before its first access: region (index), size (bytes), areas (list of
           [offset, length] that can be mapped; empty when none), migration (true for the migration region)
open       a client opened the device
close      it closed it
reset      it reset the device: value, errno
map        it mapped a part of a region: region, offset, length, value, errno
read       it read from a region: region, offset, length, value, errno, and data or sha256
write      it wrote to a region: the same
gap        accesses are missing here
end        the last line: the recorder ended in an orderly way
========== ======================================================================================================

``offset`` and ``length`` are in bytes, in the region. ``value`` is what the call returned: bytes moved, 0 for a reset
or map, -1 for a failure, and then ``errno`` says which (0 where it gave none, and otherwise). ``data`` are the bytes
that came, or those that were to be written, in hexadecimal: all of them where they are at most 64; ``sha256`` is their
digest where they are more. A read that failed or gave nothing has neither. ``took`` is how long the call took, in
microseconds; it may be left out. Keys that are not listed are ignored.

A file that was cut short or is not of this format gives a TraceError that says where and what. Nothing that it says
can make a reader use more than a line's memory.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from ..common.calls import KEPT_BYTES
from ..common.words import counted

NAME: Final = "vfio-compliance"
VERSION: Final = 1

#: Bytes of the longest line.
LONGEST_LINE: Final = 1 << 20

_MOST_AREAS = 1024
_LARGEST = (1 << 64) - 1
_MOST_ERRNO = 4095
_ACCESSES = ("read", "write", "map")
_SIMPLE = ("open", "close", "gap", "end")


class TraceError(Exception):
    """A file that is no trace, or a damaged one; the message is ``file:line: what is wrong``."""


class Region(NamedTuple):
    """What a trace says of a region."""

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


class Header(NamedTuple):
    """The first line."""

    recorded: str
    maps_seen: bool


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
        """Let go of the file; nothing happens the second time."""
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
            raise TraceError(f"{error} (a trace begins with its header)") from None
        if fields is None:
            raise self._wrong("the file is empty")
        if fields.get("trace") != NAME:
            raise self._wrong(f'not a trace: its first line lacks "trace": "{NAME}"')
        if fields.get("version") != VERSION:
            raise self._wrong(f"version {_short(fields.get('version'))} of the format; this program reads {VERSION}")
        if fields.get("maps") not in ("seen", "unseen"):
            raise self._wrong(f'"maps" is "seen" or "unseen", not {_short(fields.get("maps"))}')
        return Header(self._text(fields, "recorded"), fields["maps"] == "seen")

    def _record(self, fields: dict[str, Any]) -> Record:
        verb = self._text(fields, "verb")
        time = fields.get("time")
        if not isinstance(time, (int, float)) or isinstance(time, bool) or not 0 <= time < 1e12:
            raise self._wrong(f'"time" is a number of seconds, not {_short(time)}')
        record = Record(self._line, verb, float(time))
        if verb in _SIMPLE:
            return record
        if verb == "region":
            return record._replace(about=self._region(fields))
        if verb not in ("reset", *_ACCESSES):
            raise self._wrong(f"there is no verb {_short(verb)}")
        if verb in _ACCESSES:
            record = record._replace(
                region=self._number(fields, "region", 0, 2**32 - 1),
                offset=self._number(fields, "offset", 0, _LARGEST),
                length=self._number(fields, "length", 0, _LARGEST),
            )
        most = record.length if verb in ("read", "write") else 0
        value = self._number(fields, "value", -1, most)
        code = self._number(fields, "errno", 0, _MOST_ERRNO)
        if value >= 0 and code:
            raise self._wrong(f'"value" {value} and "errno" {code} do not go together')
        took = self._number(fields, "took", 0, _LARGEST) if "took" in fields else 0
        record = record._replace(value=value, errno=code, took=took)
        if verb in ("read", "write"):
            return self._with_data(record, fields, max(value, 0) if verb == "read" else record.length)
        return record

    def _with_data(self, record: Record, fields: dict[str, Any], size: int) -> Record:
        if size > KEPT_BYTES:
            digest = fields.get("sha256", "")
            if not isinstance(digest, str) or not re.fullmatch(r"([0-9a-f]{64})?", digest, re.ASCII):
                raise self._wrong(f'"sha256" is 64 hexadecimal digits, not {_short(digest)}')
            return record._replace(sha256=digest)
        text = self._text(fields, "data") if size else ""
        if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text, re.ASCII):
            raise self._wrong(f'"data" is {counted(size, "byte")} in hexadecimal, not {_short(text)}')
        return record._replace(data=bytes.fromhex(text))

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
    """Writes a new trace; each record is one write, so that a recorder that is killed loses none before."""

    def __init__(self, path: Path, recorded: str, *, maps_seen: bool) -> None:
        """Raises TraceError when the file cannot be made, or is there already."""
        self.path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise TraceError(f"{path}: is there already; name another file") from None
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from None
        began = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        maps = "seen" if maps_seen else "unseen"
        try:
            self._write({"trace": NAME, "version": VERSION, "recorded": recorded, "maps": maps, "began": began})
        except TraceError:
            os.close(self._file)
            raise

    def simple(self, verb: str, time: float) -> None:
        """An ``open``, ``close`` or ``gap``. Raises TraceError, as all others, when the disk takes no more."""
        self._write({"verb": verb, "time": round(time, 6)})

    def region(self, time: float, region: Region) -> None:
        """What is known of a region."""
        self._write(
            {
                "verb": "region",
                "time": round(time, 6),
                "region": region.region,
                "size": region.size,
                "areas": [list(area) for area in region.areas],
                "migration": region.migration,
            }
        )

    def reset(self, time: float, took: int, errno: int) -> None:
        """A reset, ``errno`` 0 when it succeeded."""
        value = -1 if errno else 0
        self._write({"verb": "reset", "time": round(time, 6), "value": value, "errno": errno, "took": took})

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
    ) -> None:
        """A ``read``, ``write`` or ``map`` at ``place``: region, offset, length. No ``data`` with ``sha256``."""
        region, offset, length = place
        fields: dict[str, Any] = {
            "verb": verb,
            "time": round(time, 6),
            "region": region,
            "offset": offset,
            "length": length,
            "value": value,
            "errno": errno,
            "took": took,
        }
        if sha256:
            fields["sha256"] = sha256
        elif data:
            fields["data"] = data.hex()
        self._write(fields)

    def close(self, time: float) -> None:
        """End the trace in an orderly way."""
        try:
            self.simple("end", time)
        finally:
            os.close(self._file)

    def _write(self, fields: dict[str, Any]) -> None:
        line = memoryview(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
        try:
            while line:  # a disk that is nearly full takes a part
                line = line[os.write(self._file, line) :]
        except OSError as error:
            raise TraceError(f"{self.path} takes no more: {error.strerror}") from None
