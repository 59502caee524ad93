# SPDX-License-Identifier: GPL-2.0-only
"""One call made on a device: a record that is traced, written to a journal, reported, and made into a reproducer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, overload

from . import tuples

#: How many bytes are recorded in full. Of more, the first ones and the SHA-256 digest of all.
KEPT_BYTES: Final = 64

#: The same for an ioctl's argument: chains of capabilities should be readable.
KEPT_ARGUMENT: Final = 4096

#: The beginning of the name of a target of the second device.
SECOND: Final = "second "

#: Verb of the record for calls that were left out because a trace had reached its limit.
OMITTED: Final = "omitted"

#: Verbs of records that are not calls, and are not counted: bytes that were copied through a mapping of a region, a
#: look at memory that the device was given, and how often an interrupt has come.
MAPPED_READ, MAPPED_WRITE, LOOK, COUNT = "mapped-read", "mapped-write", "look", "count"
NO_CALLS: Final = frozenset((MAPPED_READ, MAPPED_WRITE, LOOK, COUNT))

#: When a call was made: before the first case, or in which part of one.
OPENING, SET_UP, BODY, CLEAN_UP = "opening", "set-up", "body", "clean-up"
PARTS: Final = (OPENING, SET_UP, BODY, CLEAN_UP)


class Behind(NamedTuple):
    """Memory that an ioctl refers to by address, as the call left it: a dirty bitmap, or a misplaced argument."""

    #: Size in bytes.
    size: int
    #: All bytes, if they are at most KEPT_BYTES.
    data: bytes = b""
    #: SHA-256 in hexadecimal, if they are more; empty if they are too many to be looked at.
    digest: str = ""
    #: How many bits are set, and the first of them.
    bits: int = 0
    first: tuple[int, ...] = ()
    #: It cannot be written.
    readonly: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields by name, without those that have their default."""
        made: dict[str, Any] = {"size": self.size}
        if self.data:
            made["data"] = self.data.hex()
        if self.digest:
            made["digest"] = self.digest
        if self.bits:
            made["bits"] = self.bits
        if self.first:
            made["first"] = self.first
        if self.readonly:
            made["readonly"] = True
        return made

    @classmethod
    def from_json(cls, value: object) -> Behind:
        """What to_json() gave. Raises ValueError."""
        found = tuples.read(value, _BEHIND)
        if "size" not in found:
            raise ValueError("the memory has no size")
        return cls(**found)


class Call(NamedTuple):
    """One call, as it was made and as it ended; or several equal ones in a row."""

    #: "read", "write", "ioctl", "map", "open", "close"; "version" when the versions of a protocol are agreed on;
    #: "dma-read", "dma-write" when the device accesses memory by message; "read-file", "write-file" for a file that the
    #: profile names; "omitted"; NO_CALLS.
    verb: str
    #: "container", "group", "device", "region 9", "memory"; "second device" and so on for those of the second one;
    #: the path of a file.
    target: str
    #: Request number of an ioctl, offset inside the region, or I/O virtual address; for "omitted", how many there were.
    number: int = 0
    #: Bytes asked for (read, write, map) or size of the argument (ioctl; 0 if it was passed by value).
    length: int = 0
    #: The input, or its first bytes; an ioctl's by-value argument as eight little-endian bytes; for a file, its path.
    sent: bytes = b""
    #: The output, or its first bytes; for an ioctl, the argument afterwards (in JSON only if it changed).
    received: bytes = b""
    #: Return value of the system call, -1 on failure.
    value: int = 0
    #: 0 on success, and after a failure without an errno.
    errno: int = 0
    #: Nanoseconds from the beginning of the trace to that of the call, and its duration; for several calls, the first
    #: one's beginning, and the sum.
    started_ns: int = 0
    duration_ns: int = 0
    #: SHA-256 in hexadecimal of the whole input or output, if it is more than what is recorded.
    sent_digest: str = ""
    received_digest: str = ""
    #: The memory that the argument points to, or that a misplaced argument is in, if known.
    behind: Behind | None = None
    #: Running number in the test process, from 1; for several calls, that of the first.
    serial: int = 0
    times: int = 1
    #: One of PARTS.
    part: str = BODY

    @property
    def moved(self) -> tuple[bytes, str]:
        """The bytes that a read or write moved, or the first of them; and the digest of all."""
        went_in = self.verb in ("write", MAPPED_WRITE)
        return (self.sent, self.sent_digest) if went_in else (self.received, self.received_digest)

    @property
    def last(self) -> int:
        """The running number of the last call in this record."""
        return self.serial + (self.number if self.verb == OMITTED else self.times) - 1

    def to_json(self) -> dict[str, Any]:
        """The fields by name, without those that have their default."""
        return _by_name(self)

    @classmethod
    def from_json(cls, value: object) -> Call:
        """What to_json() gave. Raises ValueError."""
        found = tuples.read(value, _CALL)
        if "verb" not in found or "target" not in found:
            raise ValueError("the call has no verb, or no target")
        if found["verb"] == "ioctl" and found.get("length"):
            found.setdefault("received", found.get("sent", b""))
        return cls(**found)


class Calls(Sequence[Call]):
    """Recorded calls as JSON, each made into a Call only when needed: a report looks at few of very many."""

    def __init__(self, records: list[dict[str, Any]] | Callable[[], list[dict[str, Any]]]) -> None:
        """``records``: checked as in from_json(); or a function that returns them, which is called when needed."""
        self._records = records

    @property
    def records(self) -> list[dict[str, Any]]:
        """The calls as JSON: fields by name, without those that have their default."""
        if not isinstance(self._records, list):
            self._records = self._records()
        return self._records

    @classmethod
    def from_json(cls, value: object) -> Calls:
        """The calls from to_rows(). Raises ValueError for anything else."""
        records = unfolded(value)
        _check(records)
        return cls(records)

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Call, ...]: ...
    def __getitem__(self, index: int | slice) -> Call | tuple[Call, ...]:
        if isinstance(index, slice):
            return tuple(map(Call.from_json, self.records[index]))
        return Call.from_json(self.records[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        return repr(tuple(self))


def plain(calls: Sequence[Call]) -> Iterable[Mapping[str, Any]]:
    """The calls as JSON: fields by name, without those that have their default."""
    return calls.records if isinstance(calls, Calls) else map(Call.to_json, calls)


class Span(NamedTuple):
    """Calls of another case that a verdict is based on: the running numbers of the first and last."""

    first: int
    last: int
    case: str

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return self._asdict()

    @classmethod
    def from_json(cls, value: object) -> Span:
        """What to_json() gave. Raises ValueError."""
        found = tuples.read(value, _SPAN)
        if len(found) < len(_SPAN):
            raise ValueError("the span has no first or last call, or no case")
        return cls(**found)


#: Times below this many nanoseconds are kept as they are; longer ones lose the digits that no judgement needs.
_EXACT: Final = 10_000

#: The fields of a Call, in order.
Fields: TypeAlias = tuple[Any, ...]

_STARTED, _DURATION, _SERIAL, _TIMES, _PART = map(
    Call._fields.index, ("started_ns", "duration_ns", "serial", "times", "part")
)


def folded(calls: Iterable[Fields]) -> list[dict[str, Any]]:
    """Calls as in a journal: a row of equal calls with equal answers becomes one record with their number.

    The beginning is in whole microseconds, and a duration has three digits.
    """
    runs: list[list[Any]] = []
    before: Fields = ()
    for call in calls:
        same = (call[:_STARTED], call[_DURATION + 1 : _SERIAL], call[_PART])
        if same == before:
            runs[-1][_DURATION] += call[_DURATION]
            runs[-1][_TIMES] += 1
        else:
            before = same
            runs.append([*call])
    for run in runs:
        run[_STARTED] = run[_STARTED] // 1000 * 1000
        if run[_DURATION] >= _EXACT:
            run[_DURATION] = round(run[_DURATION], 3 - len(str(run[_DURATION])))
    return [*map(_by_name, runs)]


def _by_name(call: Sequence[Any]) -> dict[str, Any]:
    """The same as Call.to_json().

    Written out field by field, since each call of a run passes here: a loop over names takes three times as long.
    """
    verb, target, number, length, sent, received, value, errno, started, duration, *others = call
    made: dict[str, Any] = {"verb": verb, "target": target}
    if number:
        made["number"] = number
    if length:
        made["length"] = length
    if sent:
        made["sent"] = sent.hex()
    if received != sent if verb == "ioctl" and length else received:
        made["received"] = received.hex()
    if value:
        made["value"] = value
    if errno:
        made["errno"] = errno
    if started:
        made["started_ns"] = started
    if duration:
        made["duration_ns"] = duration
    sent_digest, received_digest, behind, serial, times, part = others
    if sent_digest:
        made["sent_digest"] = sent_digest
    if received_digest:
        made["received_digest"] = received_digest
    if behind is not None:
        made["behind"] = behind.to_json()
    if serial:
        made["serial"] = serial
    if times != 1:
        made["times"] = times
    if part != BODY:
        made["part"] = part
    return made


def to_rows(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Calls as JSON objects. If a call has the next running number, ``after_ns``, the time from the end of the call
    before, replaces its beginning and number: that is shorter, and packs much better."""
    rows: list[dict[str, Any]] = []
    end = serial = 0
    for record in plain(calls):
        row = dict(record)
        if rows and row.get("serial", 0) == serial:
            row.pop("serial", None)
            row[_AFTER] = row.pop("started_ns", 0) - end
        rows.append(row)
        end, serial = _next(record)
    return rows


def _next(record: Mapping[str, Any]) -> tuple[int, int]:
    """When a call ended, and the running number of the next one."""
    get = record.get
    omitted = get("number", 0) if get("verb") == OMITTED else 0
    return get("started_ns", 0) + get("duration_ns", 0), get("serial", 0) + (omitted or get("times", 1))


def unfolded(rows: object) -> list[dict[str, Any]]:
    """The same objects, each with its beginning and running number instead of ``after_ns``.

    Raises ValueError if these cannot be computed; other values are checked by the caller.
    """
    if type(rows) is not list:
        raise ValueError("a list of calls is expected")
    end = serial = 0
    try:
        for number, row in enumerate(rows):
            if _AFTER in row:
                after = row.pop(_AFTER)
                if not number or type(after) is not int or not -_LONGEST < after < _LONGEST:
                    raise ValueError(f"{_AFTER}: a number of nanoseconds after another call is expected")
                row["started_ns"], row["serial"] = max(end + after, 0), serial
            end, serial = _next(row)
    except (AttributeError, TypeError):  # not an object, or not numbers
        raise ValueError("a list of calls is expected") from None
    return rows


_AFTER: Final = "after_ns"
_LONGEST: Final = 1 << 62

_BEHIND: Final[dict[str, tuples.Reader]] = {
    "size": tuples.number,
    "data": tuples.data,
    "digest": tuples.digest,
    "bits": tuples.number,
    "first": tuples.numbers,
    "readonly": tuples.truth,
}

_CALL: Final[dict[str, tuples.Reader]] = {
    "verb": tuples.text,
    "target": tuples.text,
    "number": tuples.number,
    "length": tuples.number,
    "sent": tuples.data,
    "received": tuples.data,
    "value": tuples.returned,
    "errno": tuples.number,
    "started_ns": tuples.number,
    "duration_ns": tuples.number,
    "sent_digest": tuples.digest,
    "received_digest": tuples.digest,
    "behind": Behind.from_json,
    "serial": tuples.number,
    "times": tuples.positive,
    "part": tuples.one_of(*PARTS),
}

_SPAN: Final[dict[str, tuples.Reader]] = {"first": tuples.number, "last": tuples.number, "case": tuples.text}


_PARTS: Final = frozenset(PARTS)

#: Fields that can have any number of 64 bits.
_NUMBERS: Final = frozenset(name for name, reader in _CALL.items() if reader is tuples.number)

#: The least value of other fields that are numbers.
_LEAST: Final = {"value": -1, "times": 1}


def _check(records: list[Any]) -> None:
    """Raises ValueError if Call.from_json() would not accept one of them.

    Field by field, not call by call: there are very many calls, and checking a list of equal values is fast.
    """
    if not all(type(record) is dict for record in records):
        raise ValueError("an object is expected")
    for name in set().union(*records):
        if name not in _CALL:
            raise ValueError(f"there is no field {name!r}")
        values = [record[name] for record in records if name in record]
        if not _fine(name, values):
            for value in values:
                _CALL[name](value)
    if not all("verb" in record and "target" in record for record in records):
        raise ValueError("the call has no verb, or no target")


def _fine(name: str, values: list[Any]) -> bool:
    """Whether the values of a field are valid, as far as this can be seen without looking at each."""
    kinds = {*map(type, values)}
    if kinds == {int}:
        least = 0 if name in _NUMBERS else _LEAST.get(name)
        return least is not None and min(values) >= least and max(values) <= tuples.LARGEST
    if kinds != {str}:
        return False
    reader = _CALL[name]
    if reader is tuples.data:
        return not any(length % 2 for length in {*map(len, values)}) and _hexadecimal("".join(values))
    if name == "part":
        return _PARTS.issuperset(values)
    return reader is tuples.text


def _hexadecimal(digits: str) -> bool:
    try:
        return 2 * len(bytes.fromhex(digits)) == len(digits)
    except ValueError:
        return False
