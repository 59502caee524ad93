# SPDX-License-Identifier: GPL-2.0-only
"""vfio-user messages: numbers, layouts, and the checks that need only the message.

Protocol version 0.0 with the migration region of version 1, as servers spoke it until late 2023. All values
are little-endian, all sizes in bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Any, Final, NamedTuple

from ...common.words import counted
from ..errors import ProtocolViolation


class Command(IntEnum):
    """What a message asks for."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    #: The two that a server sends.
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    DIRTY_PAGES = 14
    #: Ours: carries VFIO_IOMMU_GET_INFO, for servers whose VERSION offers ``container_info``.
    CONTAINER_GET_INFO = 0x8001


TYPE_MASK: Final = 0xF
TYPE_COMMAND: Final = 0
TYPE_REPLY: Final = 1
FLAG_NO_REPLY: Final = 1 << 4
FLAG_ERROR: Final = 1 << 5

#: Largest errno that Linux can return.
MAX_ERRNO: Final = 4095

#: What a side may ask for in one message if its peer's VERSION does not say.
DEFAULT_MAX_DATA: Final = 1 << 20
DEFAULT_MAX_FDS: Final = 1

#: id, command, size with the header, flags, error.
HEADER: Final = Struct("<HHIII")
VERSION: Final = Struct("<HH")
#: argsz, flags, file offset, address, size.
DMA_MAP: Final = Struct("<IIQQQ")
#: argsz, flags, address, size.
DMA_UNMAP: Final = Struct("<IIQQ")
#: page size, bitmap size: follows DMA_UNMAP when its flags ask for the dirty bitmap.
BITMAP: Final = Struct("<QQ")
#: argsz, flags.
DIRTY_PAGES: Final = Struct("<II")
#: I/O virtual address, size: follows DIRTY_PAGES, and is itself followed by BITMAP, when getting a bitmap.
DIRTY_RANGE: Final = Struct("<QQ")
#: argsz, flags, index, start, count.
SET_IRQS: Final = Struct("<IIIII")
#: offset, region, count: of REGION_READ and REGION_WRITE.
REGION_ACCESS: Final = Struct("<QII")
#: address, count: of DMA_READ and DMA_WRITE.
DMA_ACCESS: Final = Struct("<QQ")

DEVICE_INFO_SIZE: Final = 16
REGION_INFO_SIZE: Final = 32
IRQ_INFO_SIZE: Final = 16
#: Most bytes of the argument of CONTAINER_GET_INFO, and of its reply.
CONTAINER_INFO_ROOM: Final = 4096

DMA_FLAG_READ: Final = 1
DMA_FLAG_WRITE: Final = 2
UNMAP_FLAG_BITMAP: Final = 1
UNMAP_FLAG_ALL: Final = 2
DIRTY_FLAG_GET: Final = 4
IRQ_FLAG_EVENTFD: Final = 4


class Header(NamedTuple):
    """The first 16 bytes of a message."""

    id: int
    command: int
    size: int
    flags: int
    error: int


class Message(NamedTuple):
    """A whole message as received; its receiver owns the descriptors."""

    header: Header
    payload: bytes
    descriptors: tuple[int, ...]
    #: What followed the payload's fixed part, if it had to be kept apart.
    data: bytes


def command_name(number: int) -> str:
    """The command's name, or its number if it has none."""
    try:
        return Command(number).name
    except ValueError:
        return f"command {number}"


def describe(command: int, payload: bytes) -> str:
    """A request in words, for the message of an error."""
    name = command_name(command)
    if command in (Command.REGION_READ, Command.REGION_WRITE) and len(payload) >= REGION_ACCESS.size:
        offset, region, count = REGION_ACCESS.unpack_from(payload)
        return f"{name} of {counted(count, 'byte')} at offset {offset:#x} of region {region}"
    if command in (Command.DMA_READ, Command.DMA_WRITE) and len(payload) >= DMA_ACCESS.size:
        address, count = DMA_ACCESS.unpack_from(payload)
        return f"{name} of {counted(count, 'byte')} at {address:#x}"
    if command in (Command.DEVICE_GET_REGION_INFO, Command.DEVICE_GET_IRQ_INFO) and len(payload) >= 12:
        return f"{name} of index {int.from_bytes(payload[8:12], 'little')}"
    if command == Command.DEVICE_SET_IRQS and len(payload) >= SET_IRQS.size:
        _, _, index, start, count = SET_IRQS.unpack_from(payload)
        return f"{name} of index {index}, {counted(count, 'vector')} from {start} on"
    if command == Command.DMA_MAP and len(payload) >= DMA_MAP.size:
        _, _, _, address, size = DMA_MAP.unpack_from(payload)
        return f"{name} of {counted(size, 'byte', '#x')} at {address:#x}"
    if command == Command.DMA_UNMAP and len(payload) >= DMA_UNMAP.size:
        _, flags, address, size = DMA_UNMAP.unpack_from(payload)
        how = ", with its dirty bitmap" if flags & UNMAP_FLAG_BITMAP else ""
        return f"{name} of {counted(size, 'byte', '#x')} at {address:#x}{how}"
    if command == Command.DIRTY_PAGES and len(payload) >= DIRTY_PAGES.size:
        return f"{name} {_dirty(payload)}"
    return name


def _dirty(payload: bytes) -> str:
    """The operation of a DIRTY_PAGES request, in words."""
    flags = DIRTY_PAGES.unpack_from(payload)[1]
    if flags == DIRTY_FLAG_GET and len(payload) >= DIRTY_PAGES.size + DIRTY_RANGE.size:
        address, size = DIRTY_RANGE.unpack_from(payload, DIRTY_PAGES.size)
        return f"to get the bitmap of {counted(size, 'byte', '#x')} at {address:#x}"
    return {1: "to start tracking", 2: "to stop tracking"}.get(flags, f"with flags {flags:#x}")


@dataclass(frozen=True)
class Peer:
    """A VERSION message's facts about its sender."""

    major: int
    minor: int
    #: Descriptors that it takes with one message.
    max_msg_fds: int = DEFAULT_MAX_FDS
    #: Bytes of data that it takes or gives in one message.
    max_data_xfer_size: int = DEFAULT_MAX_DATA
    #: Bytes per bit of a dirty bitmap; None if it does not support migration.
    migration_pgsize: int | None = None
    #: Whether it answers CONTAINER_GET_INFO.
    container_info: bool = False
    #: All capabilities, as sent.
    text: str = field(default="", compare=False)


def pack_version(peer: Peer) -> bytes:
    """The payload of a VERSION message."""
    capabilities: dict[str, Any] = {
        "max_msg_fds": peer.max_msg_fds,
        "max_data_xfer_size": peer.max_data_xfer_size,
    }
    if peer.migration_pgsize is not None:
        capabilities["migration"] = {"pgsize": peer.migration_pgsize}
    text = json.dumps({"capabilities": capabilities}, separators=(",", ":"))
    return VERSION.pack(peer.major, peer.minor) + text.encode() + b"\0"


def unpack_version(payload: bytes, proposed: Peer) -> Peer:
    """Read the other side's answer to ``proposed``. Raises ProtocolViolation if anything is wrong."""
    if len(payload) < VERSION.size:
        raise _bad_version("at least 4 bytes", f"{len(payload)}")
    major, minor = VERSION.unpack_from(payload)
    if major != proposed.major or minor > proposed.minor:
        raise _bad_version(f"version {proposed.major}, at most .{proposed.minor}", f"{major}.{minor}")
    raw = payload[VERSION.size :]
    if not raw:
        return Peer(major, minor)
    if raw[-1] != 0 or 0 in raw[:-1]:
        raise _bad_version("JSON that ends with its only NUL", repr(raw[:80]))
    try:
        text = raw[:-1].decode()
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad_version("JSON", f"{raw[:80]!r} ({error})") from None
    capabilities = _member(said, "capabilities", {})
    if not isinstance(capabilities, dict):
        raise _bad_version("an object as capabilities", repr(capabilities)[:80])
    migration = _member(capabilities, "migration", None)
    pgsize = None
    if migration is not None:
        pgsize = _number(_member(migration, "pgsize", proposed.migration_pgsize), "migration.pgsize", 1, 1 << 63)
        if pgsize & (pgsize - 1):
            raise _bad_version("a power of two as migration.pgsize", str(pgsize))
    container_info = _member(capabilities, "container_info", False)
    if type(container_info) is not bool:
        raise _bad_version("true or false as container_info", repr(container_info)[:80])
    return Peer(
        major,
        minor,
        _number(_member(capabilities, "max_msg_fds", DEFAULT_MAX_FDS), "max_msg_fds", 0, 1 << 32),
        _number(_member(capabilities, "max_data_xfer_size", DEFAULT_MAX_DATA), "max_data_xfer_size", 1, 1 << 64),
        pgsize,
        container_info,
        text,
    )


def _bad_version(expected: str, seen: str) -> ProtocolViolation:
    return ProtocolViolation("reply to VERSION", expected, seen)


def _member(container: Any, name: str, default: Any) -> Any:
    if not isinstance(container, dict):
        raise _bad_version(f"a JSON object that may hold {name!r}", repr(container)[:80])
    return container.get(name, default)


def _number(value: Any, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise _bad_version(f"a number from {least} to {most} as {name}", repr(value)[:80])
    return value
