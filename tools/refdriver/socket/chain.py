# SPDX-License-Identifier: GPL-2.0-only
"""Chains of capabilities after an information structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import wire

#: An unknown capability, and the one that says that the interrupt table can be mapped.
_UNKNOWN = 0x7A5A
_MSIX_MAPPABLE = 3
_GAP = 24
#: Bytes before each capability of the odd arrangement.
_ODD = 5


class Capability(NamedTuple):
    """One link, without its header."""

    ident: int
    version: int
    content: bytes


def in_order(start: int, capabilities: list[Capability]) -> tuple[int, bytes]:
    """The offset of the first capability, and all of them laid out from ``start`` on, one after another."""
    chain = b""
    for position, (ident, version, content) in enumerate(capabilities):
        end = start + len(chain) + wire.CAPABILITY.size + len(content)
        following = end if position + 1 < len(capabilities) else 0
        chain += wire.CAPABILITY.pack(ident, version, following) + content
    return start, chain


def mixed(start: int, capabilities: list[Capability]) -> tuple[int, bytes]:
    """The same in another way that users must cope with: backwards, with gaps, and with unknown capabilities."""
    strangers = [Capability(_UNKNOWN, 9, b"\xa5" * 16), Capability(_MSIX_MAPPABLE, 1, b"")]
    chain = b""
    following = 0
    for ident, version, content in [strangers[0], *capabilities, strangers[1]]:
        chain += b"\x5a" * _GAP
        at = start + len(chain)
        chain += wire.CAPABILITY.pack(ident, version, following) + content + bytes(-len(content) % 8)
        following = at
    return following, chain


def odd(start: int, capabilities: list[Capability]) -> tuple[int, bytes]:
    """The same in order, each an odd number of bytes from the start: nothing says where capabilities may be."""
    chain = b""
    first = start + _ODD
    for position, (ident, version, content) in enumerate(capabilities):
        end = start + len(chain) + _ODD + wire.CAPABILITY.size + len(content)
        end += end % 2
        following = end + _ODD if position + 1 < len(capabilities) else 0
        chain += b"\x5a" * _ODD + wire.CAPABILITY.pack(ident, version, following) + content
        chain += bytes(end - start - len(chain))
    return first, chain


ARRANGEMENTS: dict[str, Callable[[int, list[Capability]], tuple[int, bytes]]] = {
    "plain": in_order,
    "mixed": mixed,
    "odd": odd,
}
