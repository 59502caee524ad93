# SPDX-License-Identifier: GPL-2.0-only
"""The trace: one record for every call made on a device, and running totals."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import islice
from time import perf_counter_ns
from typing import Final, TypeAlias, TypeVar

from ..common.calls import BODY, KEPT_BYTES, NO_CALLS, OMITTED, SECOND, Behind, Call, Calls, Fields, Span, folded
from ..common.moment import AfterCall
from ..uapi.vfio import VFIO_DEVICE_RESET
from . import libc
from .errors import TransportError
from .under_way import UnderWay

T = TypeVar("T")

_DEVICES: Final = ("device", SECOND + "device")

#: Data of fewer bytes is not worth passing to another thread.
_WORTH_A_THREAD: Final = 256 << 10

#: The most pieces of data that may wait for their digest, and the most bytes of one, which bounds the memory that they
#: use. Those of a state have 1 MiB.
_WAITING: Final = 8
_LARGEST_WAITING: Final = 4 << 20

#: The most bytes of memory behind an argument that are looked at, and the most set bits that are listed.
_MOST_BEHIND: Final = 16 << 20
_FIRST_BITS: Final = 8

#: Bytes of a bitmap that are compared at once, and skipped if all of them are the same, before single bits are checked.
_UNIFORM: Final = (bytes(1024), b"\xff" * 1024)
_CLOSER: Final = 128


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
    #: Passes over a whole saved state, counted by the caller.
    passes: int = 0
    bytes_written: int = 0
    #: Nanoseconds in resets.
    reset_ns: int = 0
    #: The time of all calls.
    under_way: UnderWay = field(default_factory=UnderWay)

    @property
    def call_ns(self) -> int:
        """Nanoseconds in calls; the time of concurrent or nested calls counts once."""
        return self.under_way.ns

    def add(self, record: Record) -> None:
        """Count one call."""
        verb, target, number, _, _, _, value, errno, started, duration = record[:10]
        if verb in NO_CALLS:
            return
        self.verbs[verb] += 1
        self.under_way.add(started, duration)
        if verb == "read":
            self.bytes_read += max(value, 0)
        elif verb == "write":
            self.bytes_written += max(value, 0)
        elif target in _DEVICES:
            self.opens += verb == "open" and not errno
            if verb == "ioctl" and number == VFIO_DEVICE_RESET:
                self.resets += 1
                self.reset_ns += duration


#: A digest, or the promise of one.
Digest: TypeAlias = str | Future[str]

#: The first fields of a Call in order, all of them known when it ended. Plain tuples cost half as much to make, and the
#: garbage collector does not walk them, which matters with one for each register access.
Record: TypeAlias = (
    tuple[str, str, int, int, bytes, bytes, int, int, int, int]
    | tuple[str, str, int, int, bytes, bytes, int, int, int, int, Digest, Digest, tuple[Behind, Digest] | None]
)


@dataclass
class Returned:
    """The result of a call: the data, what it returned, and its errno."""

    received: bytes = b""
    value: int = 0
    errno: int = 0


class Tracer:
    """Records calls in the order in which they ended, and numbers them.

    ``on_begin``, if set, runs before each call with verb, target, number and length, so that another process
    can name a call that never returns. Once there are ``limit`` calls, those in the middle are replaced by one
    record of verb ``omitted`` whose number says how many: both the way to the present state and the last calls
    stay.

    For longer data, the digest is recorded; for much data, it is made in a thread while more arrives. ``keep``,
    if set, gets each such digest and its data, in any thread.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self.on_begin: Callable[[str, str, int, int], None] | None = None
        self.keep: Callable[[str, bytes], None] | None = None
        self.limit = max(limit, 8)
        #: The current case, and earlier calls from which it was judged.
        self.case = ""
        self.spans: list[Span] = []
        #: Calls whose results are shared: later cases are judged from them, too.
        self.sources: list[Span] = []
        #: The spans of shared results that are being made, the innermost last.
        self._making: list[list[Span]] = []
        self._began = perf_counter_ns()
        self._hasher: ThreadPoolExecutor | None = None
        self._hashing: deque[Digest] = deque()
        #: The last memory behind an argument that was digested, and its description.
        self._bitmap: tuple[bytes, Behind, Digest] = b"", Behind(0), ""
        self._records: list[Record] = []
        #: Running number of the last call that was taken, and of the first call of each part of the present case.
        self._taken = 0
        self._parts: list[tuple[int, str]] = [(1, BODY)]
        self._counted = 0
        self._counts = Counts()
        self._omitted = 0

    @property
    def calls(self) -> list[Call]:
        """The calls recorded since the last take()."""
        return [*map(Call._make, self._fields())]

    @property
    def last(self) -> int:
        """The running number of the last call; 0 before the first."""
        return self._taken + len(self._records) + max(self._omitted - 1, 0)

    @property
    def counts(self) -> Counts:
        """The totals; the same object each time, brought up to date."""
        counts = self._counts
        for record in self._records[self._counted :]:
            counts.add(record)
        self._counted = len(self._records)
        return counts

    def take(self) -> Calls:
        """The calls recorded since the last take(), in the journal's form; the totals continue."""
        self.counts  # noqa: B018 - what is handed out is counted first
        calls = Calls(folded(self._fields()))
        self.forget()
        return calls

    def forget(self) -> None:
        """Forget the calls recorded since the last take(); the totals continue."""
        self.counts  # noqa: B018 - what is dropped is counted first
        self._taken = self.last
        self._records = []
        self._parts = [(self._taken + 1, self._parts[-1][1])]
        self._counted = self._omitted = 0

    def begin(self, case: str) -> None:
        """From now on, calls belong to this case."""
        self.case, self.spans = case, []

    def enter(self, part: str) -> None:
        """From now on, calls belong to this part of the case."""
        self._parts.append((self.last + 1, part))

    @property
    def part(self) -> str:
        """The present part of the case."""
        return self._parts[-1][1]

    @property
    def part_began(self) -> int:
        """The running number that the first call of the present part has, or will have."""
        return self._parts[-1][0]

    def digest(self, data: bytes) -> Digest:
        """The digest of a call's data, for its record."""
        if not _WORTH_A_THREAD <= len(data) <= _LARGEST_WAITING:
            return self._digest(data)
        if self._hasher is None:
            self._hasher = ThreadPoolExecutor(1)
            libc.keep_freed(_LARGEST_WAITING, _WAITING * _LARGEST_WAITING)
        self._hashing.append(made := self._hasher.submit(self._digest, data))
        if len(self._hashing) > _WAITING:
            _made(self._hashing.popleft())
        return made

    def behind(self, view: memoryview, *, readonly: bool = False) -> tuple[Behind, Digest]:
        """The content of memory that an argument points to, and its digest if that is not all of it."""
        size = len(view)
        if size > _MOST_BEHIND:
            return Behind(size, readonly=readonly), ""
        data = bytes(view)
        if size <= KEPT_BYTES:
            return Behind(size, data, "", *_set_bits(data), readonly), ""
        last, described, digest = self._bitmap
        if data != last:  # a bitmap often does not change, and comparing is far cheaper than digesting
            described, digest = Behind(size, b"", "", *_set_bits(data)), self.digest(data)
            self._bitmap = data, described, digest
        return described._replace(readonly=readonly), digest

    def add(self, record: Record) -> None:
        """Record a call that has ended; its bytes have been cut to the length that is kept."""
        records = self._records
        records.append(record)
        if len(records) >= self.limit:
            self._shorten()

    def seen(self, verb: str, target: str, number: int, data: bytes, sent: bytes = b"") -> None:
        """Record something that was seen, or ``sent``, without a call."""
        length, moment = len(data) or len(sent), perf_counter_ns()
        call = (verb, target, number, length, sent[:KEPT_BYTES], data[:KEPT_BYTES], length, 0, moment, 0)
        went = self.digest(sent) if len(sent) > KEPT_BYTES else ""
        came = self.digest(data) if len(data) > KEPT_BYTES else ""
        self.add((*call, went, came, None))

    @contextmanager
    def recorded(
        self, verb: str, target: str, number: int = 0, length: int = 0, sent: bytes = b""
    ) -> Iterator[Returned]:
        """Record the call that the block makes, and the answer that the block notes.

        For rare calls. Register accesses and ioctls are frequent, and record themselves without a block.
        """
        if self.on_begin is not None:
            self.on_begin(verb, target, number, length)
        answer = Returned()
        started = perf_counter_ns()
        try:
            yield answer
        except BaseException as error:
            self.failed(verb, target, number, length, sent, error, started)
            raise
        duration = perf_counter_ns() - started
        self.add((verb, target, number, length, sent, answer.received, answer.value, answer.errno, started, duration))

    def failed(
        self,
        verb: str,
        target: str,
        number: int,
        length: int,
        sent: bytes,
        error: BaseException,
        started_ns: int,
        sent_digest: Digest = "",
    ) -> None:
        """Record a call that ends now, in an exception."""
        if isinstance(error, TransportError):
            code = error.code
        else:
            code = (isinstance(error, OSError) and error.errno) or TransportError.code
        duration = perf_counter_ns() - started_ns
        self.add((verb, target, number, length, sent, b"", -1, code, started_ns, duration, sent_digest, "", None))
        if isinstance(error, AfterCall):
            error.after = self.last

    def shared(self, make: Callable[..., T]) -> Callable[..., T]:
        """The result of ``make``, which makes calls, made once for the same arguments; later users rely on those calls.

        Its exceptions are not kept.
        """
        made: dict[tuple[Hashable, ...], tuple[T, list[Span]]] = {}

        def ask(*arguments: Hashable) -> T:
            if arguments not in made:
                made[arguments] = self._make(partial(make, *arguments))
            else:
                self._stand_on(made[arguments][1])
            return made[arguments][0]

        return ask

    def _make(self, make: Callable[[], T]) -> tuple[T, list[Span]]:
        """A result, and the calls that it relies on: its own, and those of earlier results that it used."""
        before = self.last
        self._making.append([])
        try:
            found = make()
        finally:
            used = self._making.pop()
        own = [Span(before + 1, self.last, self.case)] if self.last > before else []
        self.sources += own
        return found, [*used, *own]

    def _stand_on(self, spans: list[Span]) -> None:
        for found in (self.spans, *self._making):
            found += [span for span in spans if span not in found]

    def _digest(self, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        if self.keep is not None:
            self.keep(digest, data)
        return digest

    def _fields(self) -> Iterator[Fields]:
        """Those of each call."""
        serial, began = self._taken + 1, self._began
        coming = iter([*self._parts[1:], (sys.maxsize, BODY)])
        part, (until, after) = self._parts[0][1], next(coming)
        for record in self._records:
            while serial >= until:
                part, (until, after) = after, next(coming)
            *fields, started, duration = record[:10]
            sent, received, behind = record[10:] or ("", "", None)
            whole = behind and behind[0]._replace(digest=_made(behind[1]))
            yield (*fields, started - began, duration, _made(sent), _made(received), whole, serial, 1, part)
            serial += record[2] if record[0] == OMITTED else 1

    def _shorten(self) -> None:
        self.counts  # noqa: B018 - what is dropped is counted first
        first, last = self.limit // 4, self.limit * 3 // 4
        gap = self._records[first:last]
        self._omitted += sum(record[0] != OMITTED for record in gap)
        start = gap[0][8]
        duration = gap[-1][8] + gap[-1][9] - start
        self._records[first:last] = [(OMITTED, "", self._omitted, 0, b"", b"", 0, 0, start, duration)]
        self._counted = len(self._records)


def _set_bits(data: bytes) -> tuple[int, tuple[int, ...]]:
    """The number of set bits, and the numbers of the first few.

    Most of a bitmap is all clear or all set: such places are only compared, which is far cheaper than counting.
    """
    clear, full = _UNIFORM
    step, count = len(clear), 0
    first: list[int] = []
    for start in range(0, len(data), step):
        piece = data[start : start + step]
        if piece == clear:
            continue
        if len(first) < _FIRST_BITS:
            first += islice(_bits_of(piece, 8 * start), _FIRST_BITS - len(first))
        count += 8 * step if piece == full else int.from_bytes(piece, "little").bit_count()
    return count, tuple(first)


def _bits_of(piece: bytes, number: int) -> Iterator[int]:
    """The set bits in a piece whose first bit has this number."""
    for start in range(0, len(piece), _CLOSER):
        bits = int.from_bytes(piece[start : start + _CLOSER], "little")
        while bits:
            lowest = bits & -bits
            yield number + 8 * start + lowest.bit_length() - 1
            bits ^= lowest
