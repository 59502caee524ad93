# SPDX-License-Identifier: GPL-2.0-only
"""What VFIO_IOMMU_GET_INFO says of a type 1 container (DEVICE.md, Container information)."""

from __future__ import annotations

from errno import EINVAL
from struct import Struct

from . import wire
from .refusal import Refusal
from .requests import check_argsz, fields

#: Most bytes of one dirty bitmap: 2^31 pages.
LARGEST_BITMAP = 1 << 28

_MOST_ARGUMENT = 4096
_ARGSZ = Struct("<I")
#: argsz, flags, page sizes, offset of the first capability, padding
_INFO = Struct("<IIQII")
#: Up to the page sizes: what a caller must have room for.
_LEAST = 16
_PAGE_SIZES = 1
_CAPABILITIES = 2
_MAPPING_SIZES = 4 << 10 | 2 << 20 | 1 << 30
_IOVA_RANGE = 1
_MIGRATION = 2
#: flags, padding, page sizes, largest bitmap
_MIGRATION_CONTENT = Struct("<IIQQ")
#: number of ranges, reserved, then first and last address of the one there is
_IOVA_RANGE_CONTENT = Struct("<IIQQ")


def type1_info(argument: bytes, page_size: int, defects: frozenset[str]) -> bytes:
    """What the caller's structure holds afterwards, as far as it was written.

    ``argument`` is the structure as the caller filled it. Refused with EINVAL: an argsz below 16.
    """
    (argsz,) = fields(_ARGSZ, argument)
    if len(argument) > _MOST_ARGUMENT:
        raise Refusal(EINVAL)
    if "info-tiny-accepted" in defects:
        argsz = max(argsz, _LEAST)
    check_argsz(argsz, _LEAST)
    chain = _chain(argsz, page_size, defects)
    needed = _INFO.size + len(chain)
    flags = _PAGE_SIZES | _CAPABILITIES
    if argsz >= needed:
        return _INFO.pack(argsz, flags, _MAPPING_SIZES, _INFO.size, 0) + chain
    if "info-short-refused" in defects:
        raise Refusal(EINVAL)
    if "info-past-argsz" in defects:
        return _INFO.pack(needed, flags, _MAPPING_SIZES, _INFO.size, 0) + chain
    if "info-argsz-kept" in defects:
        needed = argsz
    return _INFO.pack(needed, flags, _MAPPING_SIZES, 0, 0)[:argsz]


def _chain(argsz: int, page_size: int, defects: frozenset[str]) -> bytes:
    """Capabilities one after another, each saying where the next one begins; the last one says 0."""
    capabilities = []
    if "tracking-unannounced" not in defects:
        ident = 3 if "capability-id-3" in defects else _MIGRATION
        version = 0 if "capability-version-0" in defects else 1
        if "capability-page-sizes-none" in defects:
            page_size = 0
        if "capability-page-size-unsupported" in defects:
            page_size = 8192
        largest = 0 if "capability-largest-zero" in defects else LARGEST_BITMAP
        capabilities.append((ident, version, _MIGRATION_CONTENT.pack(0, 0, page_size, largest)))
    capabilities.append((_IOVA_RANGE, 1, _IOVA_RANGE_CONTENT.pack(1, 0, 0, (1 << 64) - 1)))
    after_last = 0
    if "info-chain-loops" in defects:
        after_last = _INFO.size
    if "info-chain-outside" in defects:
        after_last = -(-argsz // 8) * 8
    chain = b""
    for position, (ident, version, content) in enumerate(capabilities):
        end = _INFO.size + len(chain) + wire.CAPABILITY.size + len(content)
        following = end if position + 1 < len(capabilities) else after_last
        chain += wire.CAPABILITY.pack(ident, version, following) + content
    return chain
