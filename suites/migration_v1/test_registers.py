# SPDX-License-Identifier: GPL-2.0-only
"""The registers at the start of the region: where they are, how wide they are, which of them can be written."""

from __future__ import annotations

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.migration_v1.states import STATES, name
from vfio_compliance.run import checks
from vfio_compliance.uapi.migration_v1 import (
    DATA_OFFSET,
    DATA_SIZE,
    HEADER_SIZE,
    PENDING_BYTES,
    REGISTERS,
    RESERVED,
    DeviceState,
)

ALL_ONES = 0xFFFF_FFFF
ERROR = DeviceState.ERROR
PRE_COPY, STOP_AND_COPY, RESUMING = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY, DeviceState.RESUMING

NATIVE = {(register.offset, register.width) for register in REGISTERS}

#: Every place and width at which a processor could access the registers, and lengths that only a call can ask for.
OTHER = [
    (offset, width)
    for width in (1, 2, 4, 8)
    for offset in range(HEADER_SIZE - width + 1)
    if (offset, width) not in NATIVE
] + [(0, length) for length in (3, 5, 6, 7, 12, 16, 24, 32)]


def place(case):
    """``8@4``: eight bytes at offset 4."""
    return f"{case[1]}@{case[0]}"


@pytest.mark.rule("v1.header.register-places")
@pytest.mark.parametrize(
    "register", [each for each in REGISTERS if each is not RESERVED], ids=lambda register: register.name
)
@pytest.mark.parametrize("state", [PRE_COPY, STOP_AND_COPY], ids=name)
def test_register_places(migration, state, register):
    """While a state is saved a read of each register's width at its offset returns that many bytes."""
    migration.enter(state)
    with checks.given():
        if register in (DATA_OFFSET, DATA_SIZE) and not migration.read(PENDING_BYTES):
            raise checks.NotApplicable("the device offers no data")
        if register is DATA_SIZE:
            migration.read(DATA_OFFSET)
    outcome, _ = migration.try_read(register)
    checks.accepted(f"reading {counted(register.width, 'byte')} at offset {register.offset}", outcome, register.width)


@pytest.mark.rule("v1.width.read-native-only")
@pytest.mark.parametrize("case", OTHER, ids=place)
def test_other_reads_refused(migration, case):
    """In stop-and-copy, where every register has a meaning, a read that is not one whole register is refused."""
    offset, width = case
    migration.enter(STOP_AND_COPY)
    outcome, _ = migration.region.try_read(offset, width)
    checks.refused(f"reading {counted(width, 'byte')} at offset {offset}", outcome)
    checks.one_of("reading device_state afterwards", migration.state(), (STOP_AND_COPY, ERROR), name)


@pytest.mark.rule("v1.width.write-native-only")
@pytest.mark.parametrize("case", OTHER, ids=place)
def test_other_writes_refused(migration, case):
    """In resuming, a write that is not one whole register is refused, though it would be a legal state if it were."""
    offset, width = case
    migration.enter(RESUMING)
    outcome = migration.region.try_write(offset, int(DeviceState.RUNNING).to_bytes(width, "little"))
    checks.one_of("reading device_state afterwards", migration.state(), (RESUMING, ERROR), name)
    checks.refused(f"writing {counted(width, 'byte')} at offset {offset}", outcome)


@pytest.mark.rule("v1.reserved.reads-zero")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_reserved_reads_zero(migration, state):
    """The reserved register can be read and is zero."""
    migration.enter(state)
    outcome, data = migration.try_read(RESERVED)
    checks.accepted("reading the reserved register", outcome, RESERVED.width)
    checks.equal("reading the reserved register", int.from_bytes(data, "little"), 0, hex)


@pytest.mark.rule("v1.reserved.ignores-writes")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_reserved_ignores_writes(fresh, migration, state):
    """Writing all ones succeeds; neither the reserved register nor device_state is different after it."""
    migration.enter(state)
    before = migration.glance(RESERVED)
    if before is None:
        fresh().enter(state)
    outcome = migration.try_write(RESERVED, ALL_ONES)
    checks.accepted("writing 0xffffffff to the reserved register", outcome, RESERVED.width)
    checks.equal("reading device_state afterwards", migration.state(), state, name)
    if before is not None and (after := migration.glance(RESERVED)) is not None:
        checks.equal("reading the reserved register after writing it", after, before, hex)


@pytest.mark.rule("v1.pending.read-only")
@pytest.mark.parametrize("value", [0, 0x1234_5000, 2**64 - 1], ids=hex)
@pytest.mark.parametrize("state", [PRE_COPY, STOP_AND_COPY], ids=name)
def test_pending_read_only(migration, state, value):
    """A write to pending_bytes does not set it, and in stop-and-copy neither ends nor prolongs what is pending."""
    migration.enter(state)
    with checks.given():
        before = migration.read(PENDING_BYTES)
    if before == value:
        raise checks.NotApplicable("the device already reads this value")
    migration.try_write(PENDING_BYTES, value)
    after = migration.read(PENDING_BYTES)
    # While the device works it may have nothing left, or something again, at any time.
    changed = state == STOP_AND_COPY and bool(after) != bool(before)
    if changed or (value and after == value):
        checks.broken(f"reading pending_bytes after writing 0x{value:x} to it", expected=hex(before), seen=hex(after))
    checks.equal("reading device_state afterwards", migration.state(), state, name)


@pytest.mark.rule("v1.data-offset.read-only")
@pytest.mark.parametrize("moved_by", [-8, 8, 4096, 2**32], ids="{:+}".format)
@pytest.mark.parametrize("state", [STOP_AND_COPY, RESUMING], ids=name)
def test_data_offset_read_only(migration, state, moved_by):
    """A write to data_offset does not move the place of the data."""
    migration.enter(state)
    with checks.given():
        if state == STOP_AND_COPY and not migration.read(PENDING_BYTES):
            raise checks.NotApplicable("the device offers no data")
        migration.read(DATA_OFFSET)
        before = migration.read(DATA_OFFSET)  # again: what comes of reading twice is not the write's doing
    migration.try_write(DATA_OFFSET, max(before + moved_by, 0))
    checks.equal("reading data_offset after writing to it", migration.read(DATA_OFFSET), before, hex)
    checks.equal("reading device_state afterwards", migration.state(), state, name)
