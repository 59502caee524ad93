# SPDX-License-Identifier: GPL-2.0-only
"""Arguments of requests, field by field, as the ABI declares them, in the style of strace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntFlag
from typing import Any, Final, NamedTuple

from ..uapi import type1, vfio
from ..uapi.vfio import ffi

#: Fields that are shown as decimal numbers; all others are addresses, sizes and bits.
_DECIMAL: Final = frozenset(
    ("argsz", "index", "num_regions", "num_irqs", "cap_offset", "nr_areas", "nr_iovas", "start", "count")
)

#: Fields that say nothing while they are zero.
_QUIET: Final = frozenset(("pad", "reserved", "cap_offset"))

_HEADER: Final = "struct vfio_info_cap_header"

#: At most this many capabilities, or entries of one, are shown.
_MOST: Final = 16


class Capability(NamedTuple):
    """A kind of capability: its name, and its structure if that is known."""

    name: str
    struct: str = ""


class Layout(NamedTuple):
    """The argument of a request: a structure, the meaning of its flags, and what follows it if one of them is set."""

    struct: str
    flags: type[IntFlag]
    following: Mapping[int, str] = {}
    #: The C type of the array of numbers that follows it if one of the flags is set.
    numbers: Mapping[int, str] = {}
    capabilities: Mapping[int, Capability] = {}


LAYOUTS: Final = {
    vfio.VFIO_GROUP_GET_STATUS: Layout("struct vfio_group_status", vfio.GroupFlags),
    vfio.VFIO_DEVICE_GET_INFO: Layout("struct vfio_device_info", vfio.DeviceFlags),
    vfio.VFIO_DEVICE_GET_REGION_INFO: Layout(
        "struct vfio_region_info",
        vfio.RegionFlags,
        capabilities={
            vfio.VFIO_REGION_INFO_CAP_SPARSE_MMAP: Capability("sparse mmap", "struct vfio_region_info_cap_sparse_mmap"),
            vfio.VFIO_REGION_INFO_CAP_TYPE: Capability("type", "struct vfio_region_info_cap_type"),
        },
    ),
    vfio.VFIO_DEVICE_GET_IRQ_INFO: Layout("struct vfio_irq_info", vfio.IrqInfoFlags),
    vfio.VFIO_DEVICE_SET_IRQS: Layout(
        "struct vfio_irq_set",
        vfio.IrqSetFlags,
        numbers={vfio.IrqSetFlags.DATA_BOOL: "uint8_t", vfio.IrqSetFlags.DATA_EVENTFD: "int32_t"},
    ),
    type1.VFIO_IOMMU_GET_INFO: Layout(
        "struct vfio_iommu_type1_info",
        type1.IommuInfoFlags,
        capabilities={
            type1.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: Capability("IOVA range"),
            type1.VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION: Capability(
                "migration", "struct vfio_iommu_type1_info_cap_migration"
            ),
        },
    ),
    type1.VFIO_IOMMU_MAP_DMA: Layout("struct vfio_iommu_type1_dma_map", type1.DmaMapFlags),
    type1.VFIO_IOMMU_UNMAP_DMA: Layout(
        "struct vfio_iommu_type1_dma_unmap",
        type1.DmaUnmapFlags,
        {type1.DmaUnmapFlags.GET_DIRTY_BITMAP: "struct vfio_bitmap"},
    ),
    type1.VFIO_IOMMU_DIRTY_PAGES: Layout(
        "struct vfio_iommu_type1_dirty_bitmap",
        type1.DirtyPagesFlags,
        {type1.DirtyPagesFlags.GET_BITMAP: "struct vfio_iommu_type1_dirty_bitmap_get"},
    ),
}


def asked(layout: Layout, sent: bytes) -> str:
    """The input: the fields that are complete."""
    return _braces(_shown(_fields(layout, sent), layout))


def answered(layout: Layout, sent: bytes, received: bytes) -> str:
    """What the answer changed, and its capabilities; empty if it changed nothing."""
    before = dict(_fields(layout, sent))
    changed = {name: value for name, value in _fields(layout, received) if before.get(name) != value}
    text = _braces(_shown(changed.items(), layout)) if changed else ""
    return ", ".join([*([text] if text else []), *_chain(layout, received)])


def members(layout: Layout, data: bytes) -> Iterator[tuple[str, Any]]:
    """Name and value of each complete field, including those of nested structures, in order."""
    for name, value in _fields(layout, data):
        yield from value if isinstance(value, tuple) else ((name, value),)


def _fields(layout: Layout, data: bytes) -> Iterator[tuple[str, Any]]:
    """Name and value of each field; a nested structure is one field."""
    yield from _members(layout.struct, data, 0)
    flags = int.from_bytes(data[4:8], "little")
    for flag, struct in layout.following.items():
        if flags & flag:
            yield from _members(struct, data, ffi.sizeof(layout.struct))
    for flag, kind in layout.numbers.items():
        if flags & flag:
            yield "data", tuple(_numbers(kind, data, ffi.sizeof(layout.struct)))


def _members(struct: str, data: bytes, start: int) -> Iterator[tuple[str, Any]]:
    for name, field in ffi.typeof(struct).fields:
        at = start + field.offset
        if field.type.kind == "struct":
            inside = tuple(_members(field.type.cname, data, at))
            if inside:
                yield name, inside
        elif field.type.kind == "array" and field.type.item.kind == "struct":
            yield name, tuple(_entries(field.type.item.cname, data, at))
        elif field.type.kind != "array" and at + ffi.sizeof(field.type) <= len(data):
            yield name, int.from_bytes(data[at : at + ffi.sizeof(field.type)], "little")


def _entries(struct: str, data: bytes, at: int) -> Iterator[tuple[tuple[str, Any], ...]]:
    size = ffi.sizeof(struct)
    for start in range(at, min(len(data) - size + 1, at + _MOST * size), size):
        yield tuple(_members(struct, data, start))


def _numbers(kind: str, data: bytes, at: int) -> Iterator[int]:
    size, signed = ffi.sizeof(kind), kind.startswith("int")
    for start in range(at, min(len(data) - size + 1, at + _MOST * size), size):
        yield int.from_bytes(data[start : start + size], "little", signed=signed)


def _chain(layout: Layout, data: bytes) -> Iterator[str]:
    """The capabilities of an answer, as far as the links are valid."""
    fields = dict(_fields(layout, data))
    at = fields.get("cap_offset", 0) if layout.capabilities else 0
    seen: list[int] = []
    while at and len(seen) < _MOST:
        header = dict(_members(_HEADER, data, at))
        if at in seen or len(header) < 3:
            yield f"a link to {at}, where {'one was already' if at in seen else 'there is no capability'}"
            return
        seen.append(at)
        known = layout.capabilities.get(header["id"], Capability("unknown"))
        end = header["next"] if header["next"] > at else len(data)
        text = f"capability {header['id']} ({known.name}) version {header['version']}"
        if known.struct:
            inside = (each for each in _members(known.struct, data[:end], at) if each[0] != "header")
            text += f" {_braces(_shown(inside, None))}"
        yield text
        at = header["next"]


def _shown(fields: Any, layout: Layout | None) -> Iterator[str]:
    for name, value in fields:
        if name in _QUIET and not value:
            continue
        if name == "flags" and layout:
            yield f"flags={_flags(layout.flags, value)}"
        else:
            yield f"{name}={_value(name, value)}"


def _value(name: str, value: Any) -> str:
    if isinstance(value, int):
        return str(value) if name in _DECIMAL else hex(value)
    if value and isinstance(value[0], int):
        return f"[{', '.join(map(str, value))}]"
    if value and isinstance(value[0][0], str):
        return _braces(_shown(value, None))
    return f"[{', '.join(_braces(_shown(each, None)) for each in value)}]"


def _flags(kinds: type[IntFlag], value: int) -> str:
    """The names of the bits that are set; bits without a name in hexadecimal."""
    names = [str(kind.name) for kind in kinds if value & kind]
    rest = value & ~sum(kinds)
    return "|".join([*names, *([hex(rest)] if rest or not names else [])])


def _braces(parts: Iterator[str]) -> str:
    return f"{{{', '.join(parts)}}}"
