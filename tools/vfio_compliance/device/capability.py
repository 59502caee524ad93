# SPDX-License-Identifier: GPL-2.0-only
"""Capability chains of information structures, read without trusting any byte of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..uapi.vfio import ffi
from .errors import DeviceError

_HEADER = ffi.sizeof("struct vfio_info_cap_header")


class MalformedChain(DeviceError):
    """A chain that loops, or points outside its structure or to an impossible place."""


@dataclass(frozen=True)
class Capability:
    """One link of the chain, ``offset`` bytes from the start of its structure.

    ``payload`` is all that follows its header, up to the end of the structure.
    """

    id: int
    version: int
    payload: memoryview
    offset: int = 0


def parse_chain(what: str, info: bytes, first: int, fixed: int) -> list[Capability]:
    """Capabilities of ``info``, a whole information structure; ``first`` is its cap_offset, ``fixed`` its fixed size.

    Offsets count from the start of the structure, in bytes. Raises MalformedChain, naming ``what``.
    """
    found: list[Capability] = []
    seen: set[int] = set()
    view = memoryview(info)  # the payloads overlap: copies of a long chain would fill the memory
    offset = first
    while offset:
        if offset in seen:
            raise MalformedChain(what, "a chain of capabilities that ends", f"a link back to offset {offset}")
        if offset < fixed or offset + _HEADER > len(info):
            raise MalformedChain(
                what,
                f"capabilities at offsets {fixed} to {len(info) - _HEADER}",
                f"a link to offset {offset}",
            )
        seen.add(offset)
        header: Any = ffi.from_buffer("struct vfio_info_cap_header *", info[offset : offset + _HEADER])
        found.append(Capability(header.id, header.version, view[offset + _HEADER :], offset))
        offset = header.next
    return found
