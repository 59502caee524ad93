# SPDX-License-Identifier: GPL-2.0-only
"""The names of a register and of its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Register(NamedTuple):
    """A register: byte offset from the region's start, width in bytes, and names for values that have one."""

    name: str
    offset: int
    width: int
    values: Mapping[int, str] = {}
