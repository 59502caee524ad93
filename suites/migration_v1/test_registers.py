# SPDX-License-Identifier: GPL-2.0-only
"""The registers at the start of the region: where they are, how wide they are, which of them can be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from vfio_compliance.common.moment import latest_call
from vfio_compliance.common.words import counted, enumerated, plural, runs
from vfio_compliance.device import Region
from vfio_compliance.migration_v1.checks import in_state, need_data
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.migration_v1.states import STATES, name
from vfio_compliance.run import checks
from vfio_compliance.transport import Outcome
from vfio_compliance.uapi.migration_v1 import (
    DATA_OFFSET,
    DATA_SIZE,
    DEVICE_STATE,
    HEADER_SIZE,
    PENDING_BYTES,
    REGISTERS,
    RESERVED,
    DeviceState,
    Register,
)

ALL_ONES = 0xFFFF_FFFF
ERROR = DeviceState.ERROR
PRE_COPY, STOP_AND_COPY, RESUMING = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY, DeviceState.RESUMING

NATIVE = {(register.offset, register.width) for register in REGISTERS}

every_offset = pytest.mark.parametrize("offset", range(HEADER_SIZE), ids="at {}".format)


while_saving = pytest.mark.parametrize("state", [PRE_COPY, STOP_AND_COPY], ids=name)


@pytest.mark.rule("v1.header.register-places")
@pytest.mark.parametrize("register", [DEVICE_STATE, PENDING_BYTES], ids=lambda register: register.name)
@while_saving
def test_register_places(migration: MigrationRegion, state: DeviceState, register: Register) -> None:
    """While a state is saved, a read of the register's width at its offset returns that many bytes."""
    migration.enter(state)
    judge_place(migration, register)


#: The registers that describe a buffer, each with those that are read before it.
OF_A_BUFFER = {DATA_OFFSET: [], DATA_SIZE: [DATA_OFFSET]}


@pytest.mark.rule("v1.header.register-places")
@pytest.mark.parametrize("register", OF_A_BUFFER, ids=lambda register: register.name)
@while_saving
def test_data_register_places(migration: MigrationRegion, state: DeviceState, register: Register) -> None:
    """While data is offered, a read of the register's width at its offset returns that many bytes."""
    migration.enter(state)
    with checks.given():
        need_data(migration)
        for earlier in OF_A_BUFFER[register]:
            migration.read(earlier)
    judge_place(migration, register)


def judge_place(migration: MigrationRegion, register: Register) -> None:
    """The register can be read at its documented place, with its documented width."""
    outcome, _ = migration.try_read(register)
    checks.accepted(f"reading {counted(register.width, 'byte')} at offset {register.offset}", outcome, register.width)


@pytest.mark.rule("v1.width.read-native-only")
@every_offset
def test_other_reads_refused(fresh: Callable[[], MigrationRegion], migration: MigrationRegion, offset: int) -> None:
    """In stop-and-copy, where every register has a meaning, a read that is not of one whole register is refused."""
    migration.enter(STOP_AND_COPY)
    judge_widths(
        *(fresh, migration, STOP_AND_COPY, offset, "reading"),
        lambda region, width: region.try_read(offset, width)[0],
    )


@pytest.mark.rule("v1.width.write-native-only")
@every_offset
def test_other_writes_refused(fresh: Callable[[], MigrationRegion], resuming: MigrationRegion, offset: int) -> None:
    """In resuming, a write that is not to one whole register is refused, even though its value is a legal state."""
    judge_widths(
        *(fresh, resuming, RESUMING, offset, "writing"),
        lambda region, width: region.try_write(offset, int(DeviceState.RUNNING).to_bytes(width, "little")),
    )


def judge_widths(
    fresh: Callable[[], MigrationRegion],
    migration: MigrationRegion,
    state: DeviceState,
    offset: int,
    doing: str,
    attempt: Callable[[Region, int], Outcome],
) -> None:
    """No access of 1 to 32 bytes is carried out except that of a register, and none leads to another valid state."""
    taken: dict[int, int] = {}
    first = 0
    for width in [width for width in range(1, HEADER_SIZE + 1) if (offset, width) not in NATIVE]:
        outcome = attempt(migration.region, width)
        if outcome.ok:
            taken[width], first = outcome.value, first or latest_call()
        now = migration.state()
        what = f"reading device_state after {doing} {counted(width, 'byte')} at offset {offset}"
        checks.one_of(what, now, [state, ERROR], name)
        if now == ERROR:
            fresh().enter(state)
    if taken:
        own = [width for at, width in NATIVE if at == offset]
        but = "".join(f", but not {each}" for each in own)
        what = f"{doing} 1 to {counted(HEADER_SIZE, 'byte')} at offset {offset}{but}"
        with checks.about(first):
            checks.broken(what, expected="an error each time", seen=widths_taken(taken))


def widths_taken(taken: Mapping[int, int]) -> str:
    """Such as "5 to 8 bytes, 4 of 12 bytes": how many bytes were moved out of how many, if those differ."""
    groups: dict[int | None, list[int]] = {}
    for width, moved in taken.items():
        groups.setdefault(None if moved == width else moved, []).append(width)
    parts = []
    for fewer, widths in groups.items():
        unit = "byte" if widths == [1] else plural("byte")
        part = "" if fewer is None else f"{fewer} of "
        parts.append(f"{part}{enumerated(runs(widths), 'and')} {unit}")
    return ", ".join(parts)


@pytest.mark.rule("v1.reserved.reads-zero")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_reserved_reads_zero(migration: MigrationRegion, state: DeviceState) -> None:
    """The reserved register can be read and is zero."""
    migration.enter(state)
    outcome, data = migration.try_read(RESERVED)
    checks.accepted("reading the reserved register", outcome, RESERVED.width)
    checks.equal("reading the reserved register", int.from_bytes(data, "little"), 0, hex)


@pytest.mark.rule("v1.reserved.ignores-writes")
@pytest.mark.parametrize("state", STATES, ids=name)
def test_reserved_ignores_writes(
    fresh: Callable[[], MigrationRegion], migration: MigrationRegion, state: DeviceState
) -> None:
    """Writing all ones succeeds; neither the reserved register nor device_state is changed by it."""
    migration.enter(state)
    before = migration.glance(RESERVED)
    if before is None:
        fresh().enter(state)
    outcome = migration.try_write(RESERVED, ALL_ONES)
    checks.accepted("writing 0xffffffff to the reserved register", outcome, RESERVED.width)
    in_state(migration, "afterwards", state)
    if before is not None and (after := migration.glance(RESERVED)) is not None:
        checks.equal("reading the reserved register after writing it", after, before, hex)


every_pending = pytest.mark.parametrize("value", [0, 0x1234_5000, 2**64 - 1], ids=hex)


@pytest.mark.rule("v1.pending.read-only")
@every_pending
def test_pending_read_only_in_pre_copy(migration: MigrationRegion, value: int) -> None:
    """A write to pending_bytes does not set it."""
    before, after = write_pending(migration, PRE_COPY, value)
    # While the device runs, it may have nothing left, or something again, at any time.
    judge_pending(migration, PRE_COPY, value, before, after, kept=not value or after != value)


@pytest.mark.rule("v1.pending.read-only")
@every_pending
def test_pending_read_only_in_stop_and_copy(migration: MigrationRegion, value: int) -> None:
    """A write to pending_bytes does not set it, and neither ends nor prolongs what is pending."""
    before, after = write_pending(migration, STOP_AND_COPY, value)
    judge_pending(migration, STOP_AND_COPY, value, before, after, kept=bool(after) == bool(before) and after != value)


def write_pending(migration: MigrationRegion, state: DeviceState, value: int) -> tuple[int, int]:
    """Write ``value`` in ``state``; return what pending_bytes read before, and after."""
    migration.enter(state)
    with checks.given():
        before = migration.read(PENDING_BYTES)
    if before == value:
        raise checks.NotApplicable("the device already reads this value")
    migration.try_write(PENDING_BYTES, value)
    return before, migration.read(PENDING_BYTES)


def judge_pending(
    migration: MigrationRegion, state: DeviceState, value: int, before: int, after: int, kept: bool
) -> None:
    """The write has changed neither pending_bytes, if it was ``kept``, nor the state."""
    if not kept:
        checks.broken(f"reading pending_bytes after writing 0x{value:x} to it", expected=hex(before), seen=hex(after))
    in_state(migration, "afterwards", state)


every_move = pytest.mark.parametrize("moved_by", [-8, 8, 4096, 2**32], ids="{:+}".format)


@pytest.mark.rule("v1.data-offset.read-only")
@every_move
def test_data_offset_read_only_in_stop_and_copy(migration: MigrationRegion, moved_by: int) -> None:
    """A write to data_offset does not move the place of a buffer that is offered."""
    migration.enter(STOP_AND_COPY)
    with checks.given():
        need_data(migration)
    judge_offset(migration, STOP_AND_COPY, moved_by)


@pytest.mark.rule("v1.data-offset.read-only")
@every_move
def test_data_offset_read_only_in_resuming(migration: MigrationRegion, moved_by: int) -> None:
    """A write to data_offset does not move the place to which data is written."""
    migration.enter(RESUMING)
    judge_offset(migration, RESUMING, moved_by)


def judge_offset(migration: MigrationRegion, state: DeviceState, moved_by: int) -> None:
    """data_offset reads the same after the write as before."""
    with checks.given():
        migration.read(DATA_OFFSET)
        again = migration.read(DATA_OFFSET)
        before = migration.read(DATA_OFFSET)  # once more: a change by reading again is not due to the write
    if before != again:
        raise checks.Unjudged("data_offset reads otherwise each time, which another rule judges")
    migration.try_write(DATA_OFFSET, max(before + moved_by, 0))
    checks.equal("reading data_offset after writing to it", migration.read(DATA_OFFSET), before, hex)
    in_state(migration, "afterwards", state)
