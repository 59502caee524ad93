# SPDX-License-Identifier: GPL-2.0-only
"""What a container says of itself where it is wrong in the ways that defects.py names."""

from __future__ import annotations

from errno import EINVAL

from .container_info import (
    HAS_CAPABILITIES,
    HAS_PAGE_SIZES,
    INFO,
    LARGEST_BITMAP,
    LEAST,
    MAPPING_SIZES,
    MIGRATION,
    Capability,
    asked_for,
    chain,
    iova_range,
    migration,
)
from .refusal import Refusal
from .requests import check_argsz

_UNSUPPORTED, _HUGE = 8 << 10, 2 << 20


def faulty_info(argument: bytes, page_size: int, tracking: bool, defects: frozenset[str]) -> bytes:
    """What type1_info gives, in a container that has these defects; ``tracking`` says whether pages are tracked now."""
    argsz = asked_for(argument)
    if "info-tiny-accepted" in defects:
        argsz = max(argsz, LEAST)
    check_argsz(argsz, LEAST)
    after_last = 0
    if "info-chain-loops" in defects:
        after_last = INFO.size
    if "info-chain-outside" in defects:
        after_last = -(-argsz // 8) * 8
    links = chain([*_announced(page_size, tracking, defects), iova_range()], after_last)
    if "info-chain-cut" in defects:
        links = links[:-8]
    needed = INFO.size + len(links)
    flags = HAS_PAGE_SIZES | HAS_CAPABILITIES
    if argsz >= needed:
        return INFO.pack(argsz, flags, MAPPING_SIZES, INFO.size, 0) + links
    if "info-short-refused" in defects:
        raise Refusal(EINVAL)
    first = INFO.size if defects & {"info-past-argsz", "info-part-of-chain"} else 0
    answer = INFO.pack(argsz if "info-argsz-kept" in defects else needed, flags, MAPPING_SIZES, first, 0)
    if "info-past-argsz" in defects:
        return answer + links
    if "info-part-of-chain" in defects:
        return (answer + links)[:argsz]
    return answer[:argsz]


def _announced(page_size: int, tracking: bool, defects: frozenset[str]) -> list[Capability]:
    """The migration capability, unless it is missing."""
    if "tracking-unannounced" in defects or (tracking and "tracking-unannounced-while-on" in defects):
        return []
    sizes, largest = page_size, LARGEST_BITMAP
    if "capability-page-sizes-none" in defects:
        sizes = 0
    if "capability-page-size-unsupported" in defects:
        sizes = _UNSUPPORTED
    if "capability-page-size-huge" in defects:
        sizes = _HUGE
    if "capability-largest-zero" in defects:
        largest = 0
    if "capability-largest-in-pages" in defects:
        largest = 8 * LARGEST_BITMAP
    wrong_id = [ident for ident in (1, 3) if f"capability-id-{ident}" in defects]
    version = 0 if "capability-version-0" in defects else 1
    return [Capability(wrong_id[0] if wrong_id else MIGRATION, version, migration(sizes, largest).content)]
