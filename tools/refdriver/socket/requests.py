# SPDX-License-Identifier: GPL-2.0-only
"""What the handlers of commands share: parsing requests, and the parts of a reply."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL
from struct import Struct
from typing import Any, NamedTuple

from ..refusal import Refusal


class Answer(NamedTuple):
    """A reply: its body, a descriptor to send with it, and data after the body."""

    body: bytes
    fd: int | None = None
    data: bytes | memoryview = b""


#: Executes a command: its body, and the descriptors that came with it. Raises Refusal.
Handler = Callable[[bytes, tuple[int, ...]], Answer]


def fields(layout: Struct, body: bytes, offset: int = 0) -> tuple[Any, ...]:
    """A structure at an offset of a body; EINVAL if the body is too short."""
    if len(body) < offset + layout.size:
        raise Refusal(EINVAL)
    return layout.unpack_from(body, offset)


def check_argsz(argsz: int, least: int) -> None:
    """EINVAL if the caller has no room for the fixed part."""
    if argsz < least:
        raise Refusal(EINVAL)
