# SPDX-License-Identifier: GPL-2.0-only
"""The migration region, version 1.

Source: "vfio: KABI for migration interface", v23, Message-ID <1589999088-31477-2-git-send-email-kwankhede@nvidia.com>.

Corrections to the posted specification: VFIO_DEVICE_STATE_SET_ERROR names ``VFIO_DEVICE_SATE_SAVING`` and would not
compile (line 263); VFIO_DEVICE_STATE_VALID does not parenthesise its argument (line 255); the default state
is once spelt ``_RUNNNG`` (line 126).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from .vfio import ffi

ffi.cdef(
    """
    struct vfio_device_migration_info {
        uint32_t device_state; uint32_t reserved;
        uint64_t pending_bytes; uint64_t data_offset; uint64_t data_size;
    };
    """,
    packed=True,
)

VFIO_REGION_TYPE_MIGRATION: Final = 3
VFIO_REGION_SUBTYPE_MIGRATION: Final = 1

VFIO_DEVICE_STATE_STOP: Final = 0
VFIO_DEVICE_STATE_RUNNING: Final = 1 << 0
VFIO_DEVICE_STATE_SAVING: Final = 1 << 1
VFIO_DEVICE_STATE_RESUMING: Final = 1 << 2
VFIO_DEVICE_STATE_MASK: Final = VFIO_DEVICE_STATE_RUNNING | VFIO_DEVICE_STATE_SAVING | VFIO_DEVICE_STATE_RESUMING


class DeviceState(IntEnum):
    """The eight values of bits 0-2 of device_state; five are states, one reports an error, two are invalid."""

    #: Stopped, neither saving nor resuming.
    STOP = 0b000
    #: Running: the default.
    RUNNING = 0b001
    #: Stopped and handing out its state.
    STOP_AND_COPY = 0b010
    #: Running and handing out its state.
    PRE_COPY = 0b011
    #: Stopped and taking in a state.
    RESUMING = 0b100
    #: Not a state.
    INVALID_5 = 0b101
    #: Reported by a driver that met an internal error; never written by a user.
    ERROR = 0b110
    #: Not a state.
    INVALID_7 = 0b111


class Register(NamedTuple):
    """A field of the migration region's header: byte offset from the region's start, and native width in bytes."""

    name: str
    offset: int
    width: int


DEVICE_STATE: Final = Register("device_state", 0, 4)
RESERVED: Final = Register("reserved", 4, 4)
PENDING_BYTES: Final = Register("pending_bytes", 8, 8)
DATA_OFFSET: Final = Register("data_offset", 16, 8)
DATA_SIZE: Final = Register("data_size", 24, 8)
REGISTERS: Final = (DEVICE_STATE, RESERVED, PENDING_BYTES, DATA_OFFSET, DATA_SIZE)

#: Bytes taken by the header; the data section follows.
HEADER_SIZE: Final = 32


def state_valid(state: int) -> bool:
    """VFIO_DEVICE_STATE_VALID: false if _RESUMING is set together with another of the three bits."""
    return not state & VFIO_DEVICE_STATE_RESUMING or state & VFIO_DEVICE_STATE_MASK == VFIO_DEVICE_STATE_RESUMING


def state_is_error(state: int) -> bool:
    """VFIO_DEVICE_STATE_IS_ERROR: true if bits 0-2 read 110b, whatever bits 3-31 hold."""
    return state & VFIO_DEVICE_STATE_MASK == DeviceState.ERROR


def state_set_error(state: int) -> int:
    """VFIO_DEVICE_STATE_SET_ERROR: the value with bits 0-2 set to 110b and bits 3-31 kept."""
    return state & ~VFIO_DEVICE_STATE_MASK | DeviceState.ERROR
