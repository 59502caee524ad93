# SPDX-License-Identifier: GPL-2.0-only
"""The page sizes that a container reports, checked before use."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from vfio_compliance.device import DeviceError, DirtyTracker
from vfio_compliance.transport import Outcome, Target
from vfio_compliance.transport.base import argument_view

MIGRATION = struct.pack("<HHIIIQQ", 2, 1, 0, 0, 0, 0x1000, 1 << 28)
OTHER = struct.pack("<HHIQ", 3, 1, 40, 7)
CAPS = 2


def tracker(
    chain: bytes = b"",
    *,
    flags: int = CAPS,
    first: int = 24,
    needed: int | None = None,
    code: int = 0,
    agreed: int | None = None,
) -> DirtyTracker:
    """The tracker of a container with such an answer."""
    fixed = struct.pack("<IIQII", needed or 24 + len(chain), flags, 0x1000, first if chain else 0, 0)

    def ioctl(target: Target, request: int, argument: bytearray) -> Outcome:
        view = argument_view(argument)
        assert view is not None
        answer = (fixed + chain)[: len(view)]
        view[: len(answer)] = answer
        return Outcome(-1 if code else 0, code)

    transport: Any = SimpleNamespace(dirty_page_size=agreed, no_tracking="", ioctl=ioctl)
    return DirtyTracker(transport)


@pytest.mark.parametrize(
    ("answer", "sizes"),
    [
        ({"agreed": 4096}, 4096),
        ({"chain": MIGRATION}, 0x1000),
        ({"chain": OTHER + MIGRATION}, 0x1000),
        ({"chain": MIGRATION, "flags": 0}, 0),
        ({"chain": OTHER[:4] + bytes(12)}, 0),
        ({}, 0),
    ],
    ids=["agreed at the handshake", "alone", "second of two", "flag not set", "another only", "no capabilities"],
)
def test_page_sizes(answer: Mapping[str, Any], sizes: int) -> None:
    """Those of the capability, anywhere in the chain; 0 without it."""
    assert tracker(**answer).page_sizes() == sizes


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"code": 25}, "ENOTTY"),
        ({"chain": MIGRATION[:12]}, "a migration capability of 32 bytes"),
        ({"chain": MIGRATION, "first": 8}, "offset 8"),
        ({"needed": 1 << 30}, "1073741824"),
    ],
    ids=["refused", "short", "chain in the fixed part", "absurd size"],
)
def test_unusable_information(answer: Mapping[str, Any], words: str) -> None:
    """The error names the problem."""
    with pytest.raises(DeviceError, match=words):
        tracker(**answer).page_sizes()
