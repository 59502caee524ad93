# SPDX-License-Identifier: GPL-2.0-only
"""Traced calls in words, as they stand in the journal."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..uapi import migration_v1, type1, vfio

_REGISTERS = {(register.offset, register.width): register.name for register in migration_v1.REGISTERS}

_REQUESTS = {
    value: name
    for module in (vfio, type1)
    for name, value in vars(module).items()
    if name.startswith("VFIO_") and isinstance(value, int) and value >= vfio.VFIO_GET_API_VERSION
}

#: What the name of a target begins with where it is the second device's.
_SECOND = "second "


#: Fields of a call that are texts, and numbers; one more text, a digest, may follow.
_TEXTS, _NUMBERS, _FIELDS = (0, 1, 4, 5), (2, 3, 6, 7, 8, 9), 10

#: The argument of a request that names a range: where its address and its length in bytes stand.
_RANGES = {
    type1.VFIO_IOMMU_MAP_DMA: (16, 24),
    type1.VFIO_IOMMU_UNMAP_DMA: (8, 16),
    type1.VFIO_IOMMU_DIRTY_PAGES: (8, 16),
}


def read_call(value: Any) -> list[Any]:
    """A call read from JSON, with its bytes in hexadecimal. Raises ValueError for what is none."""
    if not isinstance(value, list) or not _FIELDS <= len(value) <= _FIELDS + 1:
        raise ValueError("not a call")
    if not all(type(value[at]) is str for at in (*_TEXTS, *range(_FIELDS, len(value)))):
        raise ValueError("a call without its words")
    if not all(type(value[at]) is int for at in _NUMBERS):
        raise ValueError("a call without its numbers")
    for text in (value[4], value[5], *value[_FIELDS:]):
        bytes.fromhex(text)
    return value


def count(calls: Iterable[list[Any]]) -> Counter[str]:
    """Totals of recorded calls, by the names that a ``finish`` record has for them."""
    totals: Counter[str] = Counter()
    for verb, target, number, _, _, _, value, code, _, times in (call[:10] for call in calls):
        totals["calls"] += number if verb == "omitted" else times
        if verb in ("read", "write"):
            totals["bytes_read" if verb == "read" else "bytes_written"] += max(value, 0) * times
        totals["opens"] += times * (verb == "open" and not code)
        on_device = target.removeprefix(_SECOND) == "device"
        totals["resets"] += times * (verb == "ioctl" and number == vfio.VFIO_DEVICE_RESET and on_device)
    return totals


def describe(call: list[Any], migration: int | None) -> str:
    """One recorded call as a line; ``migration`` is the index of the migration region, to name its registers."""
    verb, target, number, length, sent, received, value, code, microseconds, times = call[:10]
    if verb == "omitted":
        return f"({number} calls are left out)"
    if verb in ("read", "write"):
        text = _access(call, migration)
    elif verb == "ioctl":
        second = f" on the {target}" if target.startswith(_SECOND) else ""
        text = f"ioctl {_REQUESTS.get(number, hex(number))}{_asked(number, bytes.fromhex(sent))}{second}"
    else:
        text = f"{verb} {f'{length} bytes at 0x{number:x} of ' if length else ''}{target}"
    repeated = f"  ({times} times)" if times > 1 else ""
    return f"{text} -> {_answer(verb, length, received, value, code)}{repeated}  [{microseconds} us]"


def _access(call: list[Any], migration: int | None) -> str:
    verb, target, number, length, sent = call[:5]
    place = f"{length} bytes at 0x{number:x} of {target}"
    if target.removeprefix(_SECOND) == f"region {migration}" and (number, length) in _REGISTERS:
        place = ("second device's " if target.startswith(_SECOND) else "") + _REGISTERS[number, length]
    written = _number(bytes.fromhex(sent)) if verb == "write" else ""
    return f"{verb} {place}{f' = {written}' if written else ''}"


def _answer(verb: str, length: int, received: str, value: int, code: int) -> str:
    if value < 0:
        return _error(code)
    if verb not in ("read", "write"):
        return "ok"
    if value < length:
        return f"only {value} bytes"
    return (_number(bytes.fromhex(received)) if verb == "read" else "") or f"{value} bytes"


def _asked(number: int, sent: bytes) -> str:
    """What a request asks for that its number does not say; nothing where that was not kept."""
    flags = int.from_bytes(sent[4:8], "little")
    if number == vfio.VFIO_DEVICE_GET_REGION_INFO and len(sent) >= 12:
        return f" of region {int.from_bytes(sent[8:12], 'little')}"
    if len(sent) < 8 or number not in _RANGES:
        return ""
    place = _range(number, sent)
    if number == type1.VFIO_IOMMU_UNMAP_DMA:
        return place + (" with the dirty bitmap" if flags & type1.DmaUnmapFlags.GET_DIRTY_BITMAP else "")
    if number == type1.VFIO_IOMMU_DIRTY_PAGES:
        if flags not in _OPERATIONS:
            return f" with flags 0x{flags:x}"
        return f" {_OPERATIONS[flags]}" + (place if flags == type1.DirtyPagesFlags.GET_BITMAP else "")
    return place


_OPERATIONS = {int(flag): str(flag.name) for flag in type1.DirtyPagesFlags}


def _range(number: int, sent: bytes) -> str:
    address, length = (int.from_bytes(sent[at : at + 8], "little") for at in _RANGES[number])
    return f" of 0x{length:x} bytes at 0x{address:x}" if len(sent) >= _RANGES[number][1] + 8 else ""


def _number(data: bytes) -> str:
    """What fits a register as a number; nothing for other data."""
    return f"0x{int.from_bytes(data, 'little'):x}" if 0 < len(data) <= 8 else ""


def _error(code: int) -> str:
    return errno.errorcode.get(code, f"errno {code}") if code else "an error without an errno"
