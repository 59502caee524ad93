# SPDX-License-Identifier: GPL-2.0-only
"""The registers of a device's regions, by which accesses are put into words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from ..common.registers import Register
from .setting import Register as RecordedRegister
from .setting import UsedRegion

#: By index of the region.
Registers: TypeAlias = Mapping[int, Sequence[Register]]


def registers_of(regions: Iterable[UsedRegion]) -> Registers:
    """The registers of the regions in a journal."""
    return {region.index: [_register(each) for each in region.registers] for region in regions}


def recorded(register: Register) -> RecordedRegister:
    """A register as it is in a journal."""
    name, offset, width, values = register
    return RecordedRegister(name, offset, width, {str(value): word for value, word in values.items()})


def _register(register: RecordedRegister) -> Register:
    values = {int(value): word for value, word in register.values.items() if value.isdecimal() and value.isascii()}
    return Register(register.name, register.offset, register.width, values)
