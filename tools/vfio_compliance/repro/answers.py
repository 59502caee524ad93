# SPDX-License-Identifier: GPL-2.0-only
"""The answers of recorded calls, in terms of a failure."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from ..common.calls import SECOND, Call
from ..uapi import type1, vfio

_ERRNO: Final = re.compile(r"(E[A-Z0-9]+)\b|errno (\d+)|(an error without an errno)")
SHA256: Final = "sha256:"


def numbers(words: Sequence[str]) -> list[int]:
    """Numbers in hexadecimal."""
    return [int(word, 16) for word in words]


def digest_of(call: Call) -> str:
    """What a call read, in the form of ``Compared``."""
    return SHA256 + (call.received_digest or sha256(call.received).hexdigest())


def region_of(call: Call) -> int:
    """The index of the accessed region; -1 for none."""
    name = call.target.removeprefix(SECOND).removeprefix("region ")
    return int(name) if name.isdecimal() else -1


def errno_in(text: str) -> int:
    """The errno at the beginning of a text; 0 without one."""
    found = _ERRNO.match(text)
    if not found:
        return 0
    return getattr(errno, found[1], 0) if found[1] else int(found[2] or 0)


def place_of(call: Call) -> tuple[str, int, int]:
    """What was read."""
    return call.target, call.number, call.length


def is_access(call: Call) -> bool:
    """Whether a call moved something."""
    return call.verb in ("read", "write") and call.value >= 0


def asks(call: Call) -> bool:
    """Whether a call is more than cleaning up, such as an unmapping or a close."""
    if call.verb in ("open", "close", "version", "dma-read", "dma-write"):
        return False
    return not (
        call.verb == "ioctl"
        and (call.number == vfio.VFIO_DEVICE_RESET or (call.number == type1.VFIO_IOMMU_UNMAP_DMA and not call.behind))
    )
