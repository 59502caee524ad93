# SPDX-License-Identifier: GPL-2.0-only
"""How the migration region announces itself, and which parts of it can be mapped."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.device import Area, Device, Region
from vfio_compliance.migration_v1.checks import need_data
from vfio_compliance.migration_v1.flows import Flow, Flows
from vfio_compliance.migration_v1.profile import MigrationClaims
from vfio_compliance.migration_v1.region import MigrationRegion
from vfio_compliance.migration_v1.states import name
from vfio_compliance.profiles import Profile
from vfio_compliance.run import checks
from vfio_compliance.run.session import Session
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET, DEVICE_STATE, HEADER_SIZE, DeviceState


@pytest.mark.rule("v1.region.announced")
def test_one_region_announces_itself(device: Device) -> None:
    """Exactly one region has a type capability of type 3, subtype 1, right after the device was opened."""
    device.reopen()
    judge_regions(device.regions)


@pytest.mark.rule("v1.region.announced")
def test_one_region_announces_itself_after_reset(session: Session, device: Device) -> None:
    """Exactly one region has a type capability of type 3, subtype 1, once the device was reset."""
    device.reopen()  # it may report nothing because of what earlier cases did
    judge_regions(asked_again(session.after_reset()))


def judge_regions(regions: Sequence[Region]) -> None:
    """Exactly one of them is the migration region."""
    types = {region.index: region.type for region in regions if region.type is not None}
    found = [index for index, kind in types.items() if kind == (3, 1)]
    if len(found) != 1:
        seen = ", ".join(f"region {index}: type {kind[0]}, subtype {kind[1]}" for index, kind in types.items())
        checks.broken(
            "looking through the type capabilities of all regions",
            expected="exactly one region of type 3, subtype 1",
            seen=seen or f"no type capability on any of {counted(len(regions), 'region')}",
        )


def asked_again(device: Device) -> list[Region]:
    """All regions, as the device describes them now. A device may describe them only when it is opened."""
    try:
        return device.regions_now()
    except checks.Refused as refusal:
        raise checks.NotApplicable(f"the device describes its regions after it was opened only: {refusal}") from None


@pytest.mark.rule("v1.header.starts-region")
def test_header_starts_region(device: Device, header: MigrationRegion, fresh: Callable[[], MigrationRegion]) -> None:
    """The four bytes at offset 0 are device_state: running on a newly opened device, or after it was written there."""
    device.reopen()
    outcome, data = header.region.try_read(0, DEVICE_STATE.width)
    if outcome.ok and int.from_bytes(data, "little") & 7 != DeviceState.RUNNING:
        with suppress(checks.Unreachable):
            fresh()
        header.region.try_write(0, int(DeviceState.RUNNING).to_bytes(DEVICE_STATE.width, "little"))
        outcome, data = header.region.try_read(0, DEVICE_STATE.width)
    checks.accepted("reading 4 bytes at offset 0", outcome, DEVICE_STATE.width)
    checks.equal(
        "reading 4 bytes at offset 0", DeviceState(int.from_bytes(data, "little") & 7), DeviceState.RUNNING, name
    )


@pytest.mark.rule("v1.layout.area-inside-region")
def test_areas_lie_inside(header: MigrationRegion) -> None:
    """Each mappable area has at least one byte and ends inside the region."""
    for area in header.region.areas:
        if not area.size or area.offset + area.size > header.region.size:
            checks.broken(
                "reading the mappable areas",
                expected=f"areas that are not empty, inside the region's {counted(header.region.size, 'byte', '#x')}",
                seen=str(area),
            )


@pytest.mark.rule("v1.layout.area-spares-registers")
def test_areas_spare_registers(header: MigrationRegion) -> None:
    """Each mappable area starts past the 32 bytes of registers."""
    for area in header.region.areas:
        if area.offset < HEADER_SIZE:
            checks.broken("reading the mappable areas", expected=f"areas from 0x{HEADER_SIZE:x} on", seen=str(area))


@pytest.mark.rule("v1.layout.section-as-claimed")
def test_section_as_claimed(header: MigrationRegion, profile: Profile) -> None:
    """There are no areas if the profile says trapped; they are all of the section if mapped, parts if partitioned.

    Nothing says where the section begins: areas up to the end of the region may be all of it, or only its end.
    """
    claim = profile.claims_of(MigrationClaims).data_section
    if claim is None:
        raise checks.Silent("claims.data_section")
    areas = header.region.areas
    covered = sum(area.size for area in areas)
    first = min((area.offset for area in areas), default=0)
    if not covered:
        seen = ["trapped"]
    elif covered >= header.region.size - (-(-HEADER_SIZE // mmap.PAGESIZE) * mmap.PAGESIZE):
        seen = ["mapped", "mapped-only"]
    else:
        whole = covered == header.region.size - first
        seen = ["partitioned", "mapped", "mapped-only"] if whole else ["partitioned"]
    what = f"comparing the mappable areas with claims.data_section ({counted(covered, 'byte')} in areas)"
    if claim not in seen:
        checks.broken(what, expected=claim, seen=seen[0])


def in_pre_copy(migration: MigrationRegion, patience: float) -> None:
    migration.enter(DeviceState.PRE_COPY)
    need_data(migration, patience)


def in_stop_and_copy(migration: MigrationRegion, patience: float) -> None:
    migration.enter(DeviceState.STOP_AND_COPY)
    need_data(migration)


def at_second_buffer(migration: MigrationRegion, patience: float) -> None:
    in_stop_and_copy(migration, patience)
    migration.read_buffer()
    need_data(migration)


def in_resuming(migration: MigrationRegion, patience: float) -> None:
    migration.enter(DeviceState.RESUMING)


#: Moments at which the place of the data can be read: how a running device gets there.
MOMENTS = {
    "pre-copy": in_pre_copy,
    "stop-and-copy": in_stop_and_copy,
    "stop-and-copy, second buffer": at_second_buffer,
    "resuming": in_resuming,
}


@pytest.fixture(params=MOMENTS.values(), ids=list(MOMENTS))
def offered(request: pytest.FixtureRequest, migration: MigrationRegion, pre_copy_patience: float) -> int:
    """data_offset, read in a state and at a moment at which the specification lets a user read it."""
    request.param(migration, pre_copy_patience)
    return migration.read(DATA_OFFSET)


@pytest.mark.rule("v1.layout.offset-past-header")
def test_offset_past_header(migration: MigrationRegion, offered: int) -> None:
    """What data_offset reads is past the registers and inside the region."""
    if not HEADER_SIZE <= offered < migration.region.size:
        checks.broken(
            "reading data_offset",
            expected=f"at least 0x{HEADER_SIZE:x}, less than 0x{migration.region.size:x}",
            seen=f"0x{offered:x}",
        )


#: Flows in which data_offset is read.
FLOWS: dict[str, Callable[[Flows], Flow]] = {
    "suspend": lambda flows: flows.suspend(),
    "live": lambda flows: flows.live(),
    "resume": lambda flows: flows.resume(flows.suspend),
}


@pytest.mark.rule("v1.layout.mapped-offset-aligned")
def test_mapped_offset_aligned(migration: MigrationRegion, offered: int) -> None:
    """A data_offset in a mappable area is a multiple of the page size."""
    if not aligned(migration.region.areas, offered):
        raise checks.NotApplicable("the data is not in a mappable area")


@pytest.mark.rule("v1.layout.mapped-offset-aligned")
@pytest.mark.parametrize("made", FLOWS.values(), ids=FLOWS)
def test_every_mapped_offset_aligned(flows: Flows, header: MigrationRegion, made: Callable[[Flows], Flow]) -> None:
    """The same for each data_offset that was read while a whole state was saved or resumed."""
    flow = made(flows)
    areas, mapped = header.region.areas, 0
    for access in flow.traffic:
        if access.verb == "read" and access.offset == DATA_OFFSET.offset and access.ok:
            with checks.about(access.number):
                mapped += aligned(areas, access.content)
    if not mapped:
        raise checks.NotApplicable("no data was in a mappable area")


def aligned(areas: Sequence[Area], offset: int) -> bool:
    """Whether ``offset`` is in one of the areas; if so, it must be at the start of a page."""
    inside = [area for area in areas if area.offset <= offset < area.offset + area.size]
    if inside and offset % mmap.PAGESIZE:
        checks.broken(
            f"reading data_offset, which is in the mappable area {inside[0]}",
            expected=f"a multiple of {mmap.PAGESIZE}",
            seen=f"0x{offset:x}",
        )
    return bool(inside)
