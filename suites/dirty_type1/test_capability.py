# SPDX-License-Identifier: GPL-2.0-only
"""What the container says of dirty page tracking, and whether it is so."""

from __future__ import annotations

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.run import checks
from vfio_compliance.uapi.type1 import (
    VFIO_IOMMU_DIRTY_PAGES,
    VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
    DirtyPagesFlags,
    IommuInfoFlags,
)

#: Bytes of the largest bitmap that is tried; it costs only what is written to it.
LARGEST_TRIED = 1 << 28

#: Bytes of the largest page that is mapped to be tried.
LARGEST_PAGE = 1 << 24

WORD = 8


@pytest.fixture
def capability(information):
    """The migration capability."""
    with checks.given():
        found = information.info().migration
    if found is None:
        raise checks.Unjudged("there is no migration capability, which dirty.capability.announces-tracking judges")
    return found


@pytest.mark.rule("dirty.capability.announces-tracking")
@pytest.mark.parametrize("when", ["before START", "after START", "after STOP"])
def test_capability_announces_tracking(information, tracker, when):
    """START succeeds where the capability is there, and only there; it stays there."""
    outcome = tracker.try_start() if when != "before START" else None
    if when == "after STOP":
        tracker.try_stop()
    with checks.given():
        announced = information.info().migration is not None
    if when != "after START":
        outcome = tracker.try_start()
    if announced:
        checks.succeeded("starting to track dirty pages, which a capability announces", outcome)
    else:
        checks.declined("starting to track dirty pages, which no capability announces", outcome)


@pytest.mark.rule("dirty.capability.id")
def test_capability_id(container, information):
    """Where tracking is offered a capability of id 2 is in the chain; the text's 1 is that of the IOVA ranges."""
    with checks.given():
        ids = [link.id for link in information.info().chain]
    if VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION not in ids:
        checks.broken(
            "looking for the capability that announces dirty page tracking",
            expected="id 2 (not 1 as the text has it: that is the id of the IOVA ranges)",
            seen=f"id {', '.join(map(str, ids))}" if ids else "no capability",
        )


@pytest.mark.rule("dirty.capability.version")
def test_capability_version(container, capability):
    """The version in the capability's header is 1."""
    checks.equal("reading the version of the migration capability", capability.version, 1)


@pytest.mark.rule("dirty.info.chain-ends")
def test_chain_ends(container, information):
    """Following the chain from cap_offset comes to its end, without leaving the information; no capability is cut."""
    info = information.info()
    found = {"links": info.chain, "migration": info.migration, "IOVA ranges": info.iova_ranges}
    checks.equal(
        "following the chain, which the flags say is there or is not",
        bool(found["links"]),
        IommuInfoFlags.CAPS in info.flags,
    )


@pytest.mark.rule("dirty.capability.page-sizes")
def test_page_sizes(container, information, capability, profile, request):
    """There is one at least, each can be mapped, a bitmap of the smallest can be had, and it is the one claimed."""
    sizes, mappable = capability.pgsize_bitmap, information.info().iova_pgsizes
    what = "reading the page sizes of the migration capability"
    if not sizes:
        checks.broken(what, expected="one at least", seen="none")
    if mappable:
        checks.equal(f"{what}, which iova_pgsizes lacks", sizes & ~mappable, 0, hex)
    smallest = sizes & -sizes
    claim = profile.claims.page_size
    if claim is not None:
        checks.equal(f"{what}: the smallest, which claims.page_size gives", smallest, claim)
    if smallest > LARGEST_PAGE:
        raise checks.NotApplicable(f"a page of {counted(smallest, 'byte')} is larger than those that are tried")
    guest = request.getfixturevalue("guest")
    count = max(1, smallest // guest.page)
    guest.map(0, count)
    guest.start()
    what = f"asking for a bitmap with {counted(smallest, 'byte')} a page"
    checks.succeeded(what, guest.try_get(0, count, page=smallest))


@pytest.mark.rule("dirty.capability.largest-bitmap")
@pytest.mark.parametrize(
    ("more", "pages"), [(0, 0), (WORD, 0), (WORD, 1)], ids=["the largest", "a word more", "a page more"]
)
def test_largest_bitmap(container, capability, guest, more, pages):
    """The range that fills the largest bitmap can be asked for, whatever is mapped of it; nothing above it can."""
    most = largest = capability.max_dirty_bitmap_size
    if largest < WORD:
        least = f"{counted(WORD, 'byte')} at least"
        checks.broken("reading the size of the largest bitmap", expected=least, seen=f"{largest}")
    if largest > LARGEST_TRIED:
        if more:
            raise checks.NotApplicable(f"a bitmap of {counted(largest, 'byte')} is larger than those that are tried")
        largest = min(most, LARGEST_TRIED + WORD)  # which it has to take as well
    guest.map(0, 1)
    guest.start()
    guest.get(0, 64)  # n/a where no range with holes is answered
    whole = largest // WORD * WORD
    with container.guarded(whole + more) as bitmap:
        argument = container.dirty_request(
            DirtyPagesFlags.GET_BITMAP,
            argsz=48,
            size=(whole * 8 + pages) * guest.page,
            page=guest.page,
            bitmap=bitmap,
            bitmap_size=whole + more,
        )
        outcome = container.try_request(VFIO_IOMMU_DIRTY_PAGES, argument)
    asked = f"{counted(whole * 8 + pages, 'page')} from IOVA 0 on in {counted(whole + more, 'byte')}"
    what = f"asking for {asked}, where {most} are the most"
    (checks.declined if more else checks.succeeded)(what, outcome)
