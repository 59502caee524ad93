# SPDX-License-Identifier: GPL-2.0-only
"""Registers that are accessed in pieces, such as both halves of data_offset, or together with their neighbours."""

from __future__ import annotations

from ...run.client import Access
from ...uapi.migration_v1 import DEVICE_STATE, HEADER_SIZE, PENDING_BYTES, REGISTERS, Register
from .access import register_of


class Pieces:
    """Joins accesses that move a register piece by piece, from its first byte to its last, into one."""

    def __init__(self) -> None:
        self._held: Access | None = None

    def take(self, access: Access) -> list[Access]:
        """The accesses to use instead, which may be ``partial``."""
        if access.called:
            return [access]
        if not _strange(access):
            return [*self.end(), access]
        end = access.offset + access.length
        width = DEVICE_STATE.width
        if access.offset == DEVICE_STATE.offset and width <= access.length and end <= PENDING_BYTES.offset:
            return [*self.end(), access._replace(length=width, value=width, data=access.data[:width])]
        register = _around(access.offset, end)
        held = self._held
        if register and held and held.verb == access.verb and register.offset <= held.offset < access.offset:
            if held.offset + held.length == access.offset:
                self._held, access = None, _joined(held, access)
        elif register is None or access.offset != register.offset:
            return [*self.end(), access]
        before = self.end()
        if register_of(access) or access.offset != register.offset:
            return [*before, access]
        self._held = access
        return before

    def end(self) -> list[Access]:
        """The piece of a register whose rest does not come."""
        held, self._held = self._held, None
        return [held] if held else []


def partial(access: Access) -> bool:
    """Whether it moved registers, but not exactly one in full."""
    return _strange(access) and not DEVICE_STATE.width <= access.offset < access.offset + access.length <= (
        PENDING_BYTES.offset
    )


def _strange(access: Access) -> bool:
    """Carried out, in the header, and not an access of one register."""
    if access.verb not in ("read", "write") or not access.ok or not access.length:
        return False
    return access.offset < HEADER_SIZE and not register_of(access)


def _around(begin: int, end: int) -> Register | None:
    """The register in which these bytes are."""
    for register in REGISTERS:
        if register.offset <= begin and end <= register.offset + register.width:
            return register
    return None


def _joined(first: Access, second: Access) -> Access:
    length = first.length + second.length
    data = first.data + second.data if first.known and second.known else b""
    return second._replace(offset=first.offset, length=length, value=length, data=data)
