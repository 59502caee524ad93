# SPDX-License-Identifier: GPL-2.0-only
"""What an access of a client means to version 1."""

from __future__ import annotations

from ...run.client import Access
from ...uapi.migration_v1 import HEADER_SIZE, REGISTERS

#: Stands for a value that was read or written but is not in the trace.
UNKNOWN = -1

_REGISTERS = {(register.offset, register.width): register.name for register in REGISTERS}


def register_of(access: Access) -> str:
    """Name of the register that was accessed in full; otherwise empty."""
    return _REGISTERS.get((access.offset, access.length), "")


def is_data(access: Access) -> bool:
    """Whether it is in the data section."""
    return access.offset >= HEADER_SIZE


def value_of(access: Access) -> int:
    """What was read from a register, or written to it; UNKNOWN if the trace does not say."""
    return access.content if access.known else UNKNOWN
