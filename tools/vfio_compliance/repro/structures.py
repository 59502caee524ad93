# SPDX-License-Identifier: GPL-2.0-only
"""The numbers in the arguments of requests, field by field, with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from ..results.structures import LAYOUTS
from ..uapi.vfio import ffi

#: A request with a range: argsz, flags, address, size; then page size, size and address of a bitmap.
RANGE_REQUEST: Final = Struct("<IIQQQQQ")

_HEADER = "struct vfio_info_cap_header"
_MOST = 16

#: Words for fields in messages.
_SPOKEN = {
    "pgsize_bitmap": "page sizes",
    "max_dirty_bitmap_size": "largest bitmap",
    "cap_offset": "cap_offset",
    "argsz": "argsz",
    "version": "version",
    "id": "capability",
}


class Field(NamedTuple):
    """A number in an argument: offset and width in bytes."""

    struct: str
    name: str
    offset: int
    width: int
    value: int

    def matches(self, text: str) -> int:
        """How likely it is that a text means it."""
        spoken = _SPOKEN.get(self.name, self.name)
        begins = re.match(rf"(reading|asking for) (the )?({spoken}|{self.name})\b", text) is not None
        return 4 * begins + 2 * (spoken in text) + (self.name in text)


def fields_of(request: int, argument: bytes, sent: bytes) -> Iterator[Field]:
    """The complete ones in an argument, and in its capabilities."""
    layout = LAYOUTS.get(request)
    if layout is None:
        return
    yield from struct_fields(layout.struct, argument, 0)
    flags = int.from_bytes(sent[4:8], "little")
    for flag, struct in layout.following.items():
        if flags & flag:
            yield from struct_fields(struct, argument, ffi.sizeof(layout.struct))
    if not layout.capabilities:
        return
    at = next((each.value for each in struct_fields(layout.struct, argument, 0) if each.name == "cap_offset"), 0)
    for _ in range(_MOST):
        header = {each.name: each.value for each in struct_fields(_HEADER, argument, at)} if at else {}
        if len(header) < 3:
            return
        known = layout.capabilities.get(header["id"])
        yield from struct_fields(_HEADER, argument, at)
        if known and known.struct:
            yield from (each for each in struct_fields(known.struct, argument, at) if each.offset >= at + 8)
        at = header["next"]


def struct_fields(struct: str, data: bytes, start: int) -> Iterator[Field]:
    """The numbers of a structure at this offset."""
    for name, field in ffi.typeof(struct).fields:
        at, size = start + field.offset, 0
        if field.type.kind == "struct":
            yield from struct_fields(field.type.cname, data, at)
        elif field.type.kind == "primitive":
            size = ffi.sizeof(field.type)
            if at + size <= len(data):
                yield Field(struct, name, at, size, int.from_bytes(data[at : at + size], "little"))
