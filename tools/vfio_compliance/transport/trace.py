# SPDX-License-Identifier: GPL-2.0-only
"""The trace: one record for every call made on a device, and running totals."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from time import perf_counter_ns
from typing import Final, NamedTuple, TypeAlias

from ..uapi.vfio import VFIO_DEVICE_RESET
from .errors import TransportError

#: Bytes of what went in and came out that a record keeps.
KEPT_BYTES: Final = 64

#: What the name of a target begins with where it is the second device's.
SECOND: Final = "second "

_DEVICES: Final = ("device", SECOND + "device")

#: Verb of the record that stands in for calls left out because the trace had grown to its limit.
OMITTED: Final = "omitted"


#: Less than so many bytes are not worth handing to another thread.
_WORTH_A_THREAD: Final = 256 << 10

#: So many pieces of data may wait for their digest, which bounds the memory that they hold.
_WAITING: Final = 8


class Call(NamedTuple):
    """One call as it was made and as it ended."""

    #: "read", "write", "ioctl", "map", "open", "close"; of a vfio-user server also "dma-read", "dma-write".
    verb: str
    #: "container", "group", "device", "region 9", "memory"; "second device" and so on where it is that of a second one.
    target: str
    #: Request number of an ioctl, offset inside the region, or I/O virtual address.
    number: int
    #: Bytes asked for (read, write, map) or size of the argument (ioctl; 0 when it went by value).
    length: int
    #: First bytes of what went in; an ioctl's by-value argument as eight little-endian bytes.
    sent: bytes
    #: First bytes of what came out; for an ioctl the argument as it was afterwards.
    received: bytes
    #: What the system call returned, -1 on failure.
    value: int
    #: 0 on success.
    errno: int
    #: ``time.perf_counter_ns`` when the call began.
    started_ns: int
    duration_ns: int
    #: SHA-256 in hexadecimal of all that a read or write moved: when ``Tracer.digests`` asks for it, and where it is
    #: more than what is kept.
    digest: str = ""


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()


def _made(digest: Digest) -> str:
    return digest if isinstance(digest, str) else digest.result()


@dataclass
class Counts:
    """Totals since the tracer was made."""

    #: Calls of each verb, failed ones included.
    verbs: Counter[str] = field(default_factory=Counter)
    #: Successful opens of the device.
    opens: int = 0
    #: VFIO_DEVICE_RESET requests, failed ones included.
    resets: int = 0
    #: Bytes moved by read and write; copies through a mapping count only if the caller adds them.
    bytes_read: int = 0
    #: Passes over a whole saved state, counted by whoever makes them.
    passes: int = 0
    bytes_written: int = 0

    def add(self, record: Record) -> None:
        """Count one call."""
        verb, target, number, _, _, _, value, errno = record[:8]
        self.verbs[verb] += 1
        if verb == "read":
            self.bytes_read += max(value, 0)
        elif verb == "write":
            self.bytes_written += max(value, 0)
        elif verb == "open":
            self.opens += not errno
        elif verb == "ioctl" and number == VFIO_DEVICE_RESET and target in _DEVICES:
            self.resets += 1


#: A digest, or the promise of one.
Digest: TypeAlias = str | Future[str]

#: A Call before it is one: the fields in order. Plain tuples cost half as much to make, and the garbage collector
#: does not walk them, which tells when there is one for each register access.
Record: TypeAlias = (
    tuple[str, str, int, int, bytes, bytes, int, int, int, int]
    | tuple[str, str, int, int, bytes, bytes, int, int, int, int, Digest]
)


def _call(record: Record) -> Call:
    return Call(*record[:10], *map(_made, record[10:]))


class Tracer:
    """Records calls in the order in which they ended.

    ``on_begin``, when set, runs before each call with verb, target, number and length, so that somebody
    outside can name a call that never comes back. Once ``limit`` calls have gathered, those in the middle
    give way to one record of verb ``omitted`` whose number says how many: the way to the present state and
    the last calls both stay.

    ``digests``, off at first, has the digest of longer data recorded too, for who wants to know whether what was
    written is what was read; that of much data is made in a thread while more is on its way.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.on_begin: Callable[[str, str, int, int], None] | None = None
        self.limit = max(limit, 8)
        self.digests = False
        self._hasher: ThreadPoolExecutor | None = None
        self._hashing: deque[Digest] = deque()
        self._records: list[Record] = []
        self._counted = 0
        self._counts = Counts()
        self._omitted = 0

    @property
    def calls(self) -> list[Call]:
        """The calls recorded since the last take()."""
        return list(map(_call, self._records))

    @property
    def counts(self) -> Counts:
        """The totals; the same object each time, brought up to date."""
        counts = self._counts
        for record in self._records[self._counted :]:
            counts.add(record)
        self._counted = len(self._records)
        return counts

    def take(self) -> list[Call]:
        """The calls recorded since the last time; the totals go on."""
        self.counts  # noqa: B018 - what is handed out is counted first
        calls = self.calls
        self._records = []
        self._counted = self._omitted = 0
        return calls

    def digest(self, data: bytes) -> Digest:
        """The digest of what a call moved, for its record; nothing where none is wanted."""
        if not self.digests:
            return ""
        if len(data) < _WORTH_A_THREAD:
            return _hash(data)
        self._hasher = self._hasher or ThreadPoolExecutor(1)
        self._hashing.append(made := self._hasher.submit(_hash, data))
        if len(self._hashing) > _WAITING:
            _made(self._hashing.popleft())
        return made

    def add(self, record: Record) -> None:
        """Record a call that has ended; its bytes are cut to KEPT_BYTES already."""
        records = self._records
        records.append(record)
        if len(records) >= self.limit:
            self._shorten()

    def failed(
        self,
        verb: str,
        target: str,
        number: int,
        length: int,
        sent: bytes,
        error: BaseException,
        started_ns: int,
    ) -> None:
        """Record a call that ends now, in an exception."""
        if isinstance(error, TransportError):
            code = error.code
        else:
            code = (isinstance(error, OSError) and error.errno) or TransportError.code
        duration = perf_counter_ns() - started_ns
        self.add((verb, target, number, length, sent, b"", -1, code, started_ns, duration))

    def _shorten(self) -> None:
        self.counts  # noqa: B018 - what is dropped is counted first
        first, last = self.limit // 4, self.limit * 3 // 4
        gap = self._records[first:last]
        self._omitted += sum(record[0] != OMITTED for record in gap)
        start = gap[0][8]
        duration = gap[-1][8] + gap[-1][9] - start
        self._records[first:last] = [(OMITTED, "", self._omitted, 0, b"", b"", 0, 0, start, duration)]
        self._counted = len(self._records)
