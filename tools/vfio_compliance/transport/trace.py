# SPDX-License-Identifier: GPL-2.0-only
"""The trace: one record for every call made on a device, and running totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Final, NamedTuple

from .errors import TransportError

#: Bytes of what went in and came out that a record keeps.
KEPT_BYTES: Final = 64

#: Verb of the record that stands in for calls left out because the trace had grown to its limit.
OMITTED: Final = "omitted"


class Call(NamedTuple):
    """One call as it was made and as it ended."""

    #: "read", "write", "ioctl", "map", "open", "close"; of a vfio-user server also "dma-read", "dma-write".
    verb: str
    #: "container", "group", "device", "region 9", "memory".
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
    bytes_written: int = 0


#: Makes a Call at half the price of Call(...); there is one for each register access.
_new_call: Final = tuple.__new__


class Tracer:
    """Records calls in the order in which they ended.

    ``on_begin``, when set, runs before each call with verb, target, number and length, so that somebody
    outside can name a call that never comes back. Once ``limit`` calls have gathered, those in the middle
    give way to one record of verb ``omitted`` whose number says how many: the way to the present state and
    the last calls both stay.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.calls: list[Call] = []
        self.counts = Counts()
        self.on_begin: Callable[[str, str, int, int], None] | None = None
        self.limit = limit
        self._omitted = 0

    def add(
        self,
        verb: str,
        target: str,
        number: int,
        length: int,
        sent: bytes,
        received: bytes,
        value: int,
        errno: int,
        started_ns: int,
    ) -> None:
        """Record a call that began at ``started_ns`` and ends now; the bytes are cut to size already."""
        duration = perf_counter_ns() - started_ns
        calls = self.calls
        calls.append(
            _new_call(
                Call, (verb, target, number, length, sent, received, value, errno, started_ns, duration)
            )
        )
        self.counts.verbs[verb] += 1
        if len(calls) >= self.limit:
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
        """Record a call that ended in an exception."""
        if isinstance(error, TransportError):
            code = error.code
        else:
            code = (isinstance(error, OSError) and error.errno) or TransportError.code
        self.add(verb, target, number, length, sent, b"", -1, code, started_ns)

    def take(self) -> list[Call]:
        """The calls recorded since the last time; the totals go on."""
        calls, self.calls = self.calls, []
        self._omitted = 0
        return calls

    def _shorten(self) -> None:
        first, last = self.limit // 4, self.limit * 3 // 4
        gap = self.calls[first:last]
        self._omitted += sum(call.verb != OMITTED for call in gap)
        start = gap[0].started_ns
        duration = gap[-1].started_ns + gap[-1].duration_ns - start
        self.calls[first:last] = [Call(OMITTED, "", self._omitted, 0, b"", b"", 0, 0, start, duration)]
