# SPDX-License-Identifier: GPL-2.0-only
"""Calls of the container as recorded in traces: from structures of the kernel, and from messages of vfio-user.

Only fields covered by the caller's argsz count as given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..common.calls import SECOND, Call
from ..transport.vfio_user.wire import Command
from ..uapi.type1 import (
    VFIO_IOMMU_DIRTY_PAGES,
    VFIO_IOMMU_MAP_DMA,
    VFIO_IOMMU_UNMAP_DMA,
    DirtyPagesFlags,
    DmaUnmapFlags,
)
from .client import Access, Bitmap, ContainerCall, Verb

#: Offset and width of each field, in a structure of the kernel or a message.
_Layout = Mapping[str, tuple[int, int]]

_HEAD: Final = {"argsz": (0, 4), "flags": (4, 4)}
_MAP: Final = _HEAD | {"iova": (16, 8), "size": (24, 8)}
_RANGE: Final = _HEAD | {"iova": (8, 8), "size": (16, 8)}
_BITMAP: Final = {"pgsize": (24, 8), "bitmap": (32, 8)}

_KERNEL: Final[Mapping[int, Verb]] = {
    VFIO_IOMMU_MAP_DMA: "dma-map",
    VFIO_IOMMU_UNMAP_DMA: "dma-unmap",
    VFIO_IOMMU_DIRTY_PAGES: "dirty",
}
_MESSAGES: Final[Mapping[int, Verb]] = {
    Command.DMA_MAP: "dma-map",
    Command.DMA_UNMAP: "dma-unmap",
    Command.DIRTY_PAGES: "dirty",
}

#: Bytes of an argument that matter: all of it but the address of the bitmap.
ENOUGH: Final = 40


def asks_for_bitmap(verb: str, flags: int | None) -> bool:
    """Whether a call of the container asks for a dirty bitmap."""
    flag = {"dma-unmap": DmaUnmapFlags.GET_DIRTY_BITMAP, "dirty": DirtyPagesFlags.GET_BITMAP}.get(verb, 0)
    return bool((flags or 0) & flag)


def of_container(call: Call, number: int) -> Access | None:
    """What a traced call means to a judge of clients; None if it is not one of the container."""
    if call.verb != "ioctl" or not call.length or call.target.removeprefix(SECOND) != "container":
        return None
    found = by_ioctl(call.number, call.sent)
    return Access(found[0], value=call.value, number=number, called=found[1]) if found else None


def by_ioctl(request: int, argument: bytes) -> tuple[Verb, ContainerCall] | None:
    """What an ioctl of the container requests; None if it is not traced, or its argument has no argsz."""
    return _read(_KERNEL.get(request), argument)


def by_message(command: int, payload: bytes) -> tuple[Verb, ContainerCall] | None:
    """What a message requests; None if it is not traced, or has no argsz."""
    return _read(_MESSAGES.get(command), payload)


def _read(verb: Verb | None, data: bytes) -> tuple[Verb, ContainerCall] | None:
    if verb is None or len(data) < _HEAD["argsz"][1]:
        return None
    argsz = int.from_bytes(data[:4], "little")
    given = data[:argsz]
    flags = _field(given, _HEAD, "flags")
    bitmap = asks_for_bitmap(verb, flags)
    layout = _MAP if verb == "dma-map" else _RANGE if verb == "dma-unmap" or bitmap else _HEAD
    call = ContainerCall(argsz, flags, _field(given, layout, "iova"), _field(given, layout, "size"))
    if bitmap:
        call = call._replace(bitmap=Bitmap(_field(given, _BITMAP, "pgsize"), _field(given, _BITMAP, "bitmap")))
    return verb, call


def as_ioctl(verb: str, call: ContainerCall) -> tuple[int, bytes]:
    """The request and argument of an ioctl that makes this call, as far as they are known."""
    request = next(each for each, name in _KERNEL.items() if name == verb)
    fields = _MAP if verb == "dma-map" else _RANGE
    bitmap = call.bitmap or Bitmap()
    values = call._asdict() | {"pgsize": bitmap.pgsize, "bitmap": bitmap.size}
    argument = bytearray(ENOUGH + 8)
    length = 0
    for name, (offset, width) in (fields | _BITMAP).items():
        value = values[name]
        if value is not None and not (verb == "dma-map" and name in _BITMAP):
            argument[offset : offset + width] = value.to_bytes(width, "little")
            length = offset + width
    return request, bytes(argument[: length + 8 if call.bitmap and length == ENOUGH else length])


def _field(data: bytes, layout: _Layout, name: str) -> int | None:
    """A field; None if the structure does not have it, or argsz ends before it does."""
    offset, width = layout.get(name, (0, 0))
    if not width or len(data) < offset + width:
        return None
    return int.from_bytes(data[offset : offset + width], "little")
