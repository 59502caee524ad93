# SPDX-License-Identifier: GPL-2.0-only
"""The macros that the header has for user programs, compared with its table of states."""

from __future__ import annotations

import pytest

from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import state_is_error, state_set_error, state_valid

#: What the table of states says about each value of the three bits.
VALID = {0b000, 0b001, 0b010, 0b011, 0b100}
ERROR = 0b110

VALUES = range(16)


@pytest.mark.rule("v1.macro.valid")
@pytest.mark.parametrize("value", VALUES, ids="{:04b}".format)
def test_valid(value: int) -> None:
    """VFIO_DEVICE_STATE_VALID is true of the five states, with and without a reserved bit."""
    checks.equal(f"VFIO_DEVICE_STATE_VALID(0x{value:x})", state_valid(value), value & 7 in VALID)


@pytest.mark.rule("v1.macro.is-error")
@pytest.mark.parametrize("value", VALUES, ids="{:04b}".format)
def test_is_error(value: int) -> None:
    """VFIO_DEVICE_STATE_IS_ERROR is true of 110b, with and without a reserved bit."""
    checks.equal(f"VFIO_DEVICE_STATE_IS_ERROR(0x{value:x})", state_is_error(value), value & 7 == ERROR)


@pytest.mark.rule("v1.macro.set-error")
@pytest.mark.parametrize("value", [*VALUES, 0xFFFF_FFF9], ids="{:04b}".format)
def test_set_error(value: int) -> None:
    """VFIO_DEVICE_STATE_SET_ERROR sets the three bits to 110b and keeps the bits above them."""
    checks.equal(f"VFIO_DEVICE_STATE_SET_ERROR(0x{value:x})", state_set_error(value), value >> 3 << 3 | ERROR, hex)
