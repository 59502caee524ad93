# SPDX-License-Identifier: GPL-2.0-only
"""What the specification asks of a user program that tracks dirty pages, judged on the suite's own traffic."""

from __future__ import annotations

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.device import Device
from vfio_compliance.dirty_type1.client import DirtyJudge, accesses
from vfio_compliance.dirty_type1.scripted_memory import ScriptedMemory
from vfio_compliance.run import checks

every_count = pytest.mark.parametrize("count", [1, 65], ids=lambda count: counted(count, "page"))


def judge_clause(device: Device, clause: str, least: int = 1) -> None:
    """This client kept ``clause``, which applied at least ``least`` times."""
    judge = DirtyJudge()
    traffic = accesses(device.transport.tracer.calls)
    for offence in [offence for access in traffic for offence in judge.take(access)]:
        if offence.clause == clause:
            checks.broken(f"judging call {offence.access} of the client", expected=offence.expected, seen=offence.seen)
    if judge.kept[clause] < least:
        often = counted(judge.kept[clause], "time")
        raise checks.Unjudged(f"{clause} was put to the test {often}, {least} needed to judge")


def fetch(guest: ScriptedMemory, count: int) -> None:
    """Pages are tracked, and their bitmap is fetched."""
    with checks.given():
        guest.map(0, count)
        guest.start()
        guest.get(0, count)


def unmap(guest: ScriptedMemory, count: int) -> None:
    """Pages are tracked, and unmapped with their bitmap."""
    with checks.given():
        guest.map(0, count)
        guest.start()
        guest.unmap_with_bitmap(0)


@pytest.mark.rule("dirty.client.describes-bitmap")
@every_count
def test_describes_bitmap(device: Device, guest: ScriptedMemory, count: int) -> None:
    """The argsz of a query covers the range and bitmap fields."""
    fetch(guest, count)
    judge_clause(device, "DRT-06")


@pytest.mark.rule("dirty.client.gives-memory")
@every_count
def test_gives_memory(device: Device, guest: ScriptedMemory, count: int) -> None:
    """The bitmap buffer of a query has a bit for each page."""
    fetch(guest, count)
    judge_clause(device, "DRT-08")


@pytest.mark.rule("dirty.client.sets-argsz")
def test_sets_argsz(device: Device, guest: ScriptedMemory) -> None:
    """The argsz of each request covers argsz and flags."""
    fetch(guest, 1)
    judge_clause(device, "DRT-12", 2)


@pytest.mark.rule("dirty.client.unmap-describes")
@every_count
def test_describes_bitmap_when_unmapping(device: Device, guest: ScriptedMemory, count: int) -> None:
    """The argsz of an unmapping with the bitmap covers the bitmap fields."""
    unmap(guest, count)
    judge_clause(device, "UNM-02")


@pytest.mark.rule("dirty.client.unmap-gives-memory")
@every_count
def test_gives_memory_when_unmapping(device: Device, guest: ScriptedMemory, count: int) -> None:
    """The bitmap buffer of an unmapping has a bit for each page."""
    unmap(guest, count)
    judge_clause(device, "UNM-03")
