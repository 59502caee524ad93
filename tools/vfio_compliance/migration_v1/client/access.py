# SPDX-License-Identifier: GPL-2.0-only
"""What an access of a client is to version 1."""

from __future__ import annotations

from ...run.client import Access
from ...uapi.migration_v1 import HEADER_SIZE, REGISTERS

_REGISTERS = {(register.offset, register.width): register.name for register in REGISTERS}


def register_of(access: Access) -> str:
    """Name of the register that was accessed whole, else nothing."""
    return _REGISTERS.get((access.offset, access.length), "")


def is_data(access: Access) -> bool:
    """Whether it lies in the data section."""
    return access.offset >= HEADER_SIZE
