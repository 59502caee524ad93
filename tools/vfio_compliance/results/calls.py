# SPDX-License-Identifier: GPL-2.0-only
"""Traced calls in words, as they stand in the journal."""

from __future__ import annotations

import errno
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


def describe(call: list[Any], migration: int | None) -> str:
    """One recorded call as a line; ``migration`` is the index of the migration region, to name its registers."""
    verb, target, number, length, sent, received, value, code, microseconds, times = call[:10]
    if verb in ("read", "write"):
        place = f"{length} bytes at 0x{number:x} of {target}"
        if target.removeprefix(_SECOND) == f"region {migration}" and (number, length) in _REGISTERS:
            place = ("second device's " if target.startswith(_SECOND) else "") + _REGISTERS[number, length]
        data = bytes.fromhex(sent if verb == "write" else received)
        shown = f" = {_number(data)}" if 0 < len(data) <= 8 else ""
        text = f"write {place}{shown}" if verb == "write" else f"read {place}"
        answer = _error(code) if value < 0 else (shown[3:] or f"{value} bytes") if verb == "read" else f"{value} bytes"
        if verb == "read" and 0 <= value < length:
            answer = f"only {value} bytes"
    else:
        text = f"{verb} {_REQUESTS.get(number, hex(number))}" if verb == "ioctl" else f"{verb} {target}"
        if verb == "ioctl":
            text += _asked(number, bytes.fromhex(sent))
        if verb == "ioctl" and target.startswith(_SECOND):
            text += f" on the {target}"
        answer = _error(code) if value < 0 else "ok"
    repeated = f"  ({times} times)" if times > 1 else ""
    return f"{text} -> {answer}{repeated}  [{microseconds} us]"


def _asked(number: int, sent: bytes) -> str:
    """What of a container is asked that its request's number does not say; nothing where it was not kept."""
    if len(sent) < 8:
        return ""
    flags = int.from_bytes(sent[4:8], "little")
    if number == type1.VFIO_IOMMU_UNMAP_DMA:
        return " with the dirty bitmap" if flags & type1.DmaUnmapFlags.GET_DIRTY_BITMAP else ""
    if number == type1.VFIO_IOMMU_DIRTY_PAGES:
        known = {type1.DirtyPagesFlags.START: "START", type1.DirtyPagesFlags.STOP: "STOP"}
        known[type1.DirtyPagesFlags.GET_BITMAP] = "GET_BITMAP"
        return f" {known[type1.DirtyPagesFlags(flags)]}" if flags in known else f" with flags 0x{flags:x}"
    return ""


def _number(data: bytes) -> str:
    return f"0x{int.from_bytes(data, 'little'):x}"


def _error(code: int) -> str:
    return errno.errorcode.get(code, f"errno {code}") if code else "an error without an errno"
