# SPDX-License-Identifier: GPL-2.0-only
"""What VFIO_IOMMU_GET_INFO says of a type 1 container (DEVICE.md, Container information)."""

from __future__ import annotations

from errno import EINVAL
from struct import Struct
from typing import NamedTuple

from . import wire
from .refusal import Refusal
from .requests import check_argsz, fields

#: Most bytes of one dirty bitmap: 2^31 pages.
LARGEST_BITMAP = 1 << 28

#: argsz, flags, page sizes, offset of the first capability, padding
INFO = Struct("<IIQII")
#: Up to the page sizes: what a caller must have room for.
LEAST = 16
#: Bits of flags.
HAS_PAGE_SIZES, HAS_CAPABILITIES = 1, 2
MAPPING_SIZES = 4 << 10 | 2 << 20 | 1 << 30

_MOST_ARGUMENT = 4096
_ARGSZ = Struct("<I")
_IOVA_RANGE = 1
MIGRATION = 2
#: flags, padding, page sizes, largest bitmap
_MIGRATION_CONTENT = Struct("<IIQQ")
#: number of ranges, reserved, then first and last address of the one there is
_IOVA_RANGE_CONTENT = Struct("<IIQQ")


class Capability(NamedTuple):
    """One link of the chain."""

    ident: int
    version: int
    content: bytes


def type1_info(argument: bytes, page_size: int) -> bytes:
    """What the caller's structure holds afterwards, as far as it was written.

    ``argument`` is the structure as the caller filled it. Refused with EINVAL: an argsz below 16.
    """
    argsz = asked_for(argument)
    check_argsz(argsz, LEAST)
    links = chain([migration(page_size, LARGEST_BITMAP), iova_range()])
    needed = INFO.size + len(links)
    flags = HAS_PAGE_SIZES | HAS_CAPABILITIES
    if argsz >= needed:
        return INFO.pack(argsz, flags, MAPPING_SIZES, INFO.size, 0) + links
    return INFO.pack(needed, flags, MAPPING_SIZES, 0, 0)[:argsz]


def asked_for(argument: bytes) -> int:
    """argsz of a caller's structure. EINVAL for one that is too long to be one."""
    (argsz,) = fields(_ARGSZ, argument)
    if len(argument) > _MOST_ARGUMENT:
        raise Refusal(EINVAL)
    return int(argsz)


def migration(page_sizes: int, largest: int) -> Capability:
    """The capability that announces dirty page tracking: page sizes as a bitmap, bytes of the largest bitmap."""
    return Capability(MIGRATION, 1, _MIGRATION_CONTENT.pack(0, 0, page_sizes, largest))


def iova_range() -> Capability:
    """Every address can be mapped."""
    return Capability(_IOVA_RANGE, 1, _IOVA_RANGE_CONTENT.pack(1, 0, 0, (1 << 64) - 1))


def chain(capabilities: list[Capability], after_last: int = 0) -> bytes:
    """Capabilities behind the structure, each saying where the next one begins; the last one says ``after_last``."""
    links = b""
    for position, (ident, version, content) in enumerate(capabilities):
        end = INFO.size + len(links) + wire.CAPABILITY.size + len(content)
        following = end if position + 1 < len(capabilities) else after_last
        links += wire.CAPABILITY.pack(ident, version, following) + content
    return links
