# SPDX-License-Identifier: GPL-2.0-only
"""What the container reports about dirty page tracking, and whether it is true."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from vfio_compliance.common.words import counted
from vfio_compliance.device import Container, DirtyTracker, MigrationCapability
from vfio_compliance.dirty_type1.profile import DirtyClaims
from vfio_compliance.dirty_type1.scripted_memory import ScriptedMemory
from vfio_compliance.profiles import Profile
from vfio_compliance.run import checks
from vfio_compliance.transport import Outcome
from vfio_compliance.uapi.type1 import (
    VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION,
    IommuInfoFlags,
    bitmap_bytes,
)

#: Bytes of the largest bitmap that is tried; it costs only what is written to it.
LARGEST_TRIED = 1 << 28

#: Bytes of the largest page that is mapped for a test.
LARGEST_PAGE = 1 << 24

WORD = 8

#: Bytes of the largest field of a capability: at a multiple of this, none is read across a boundary.
ALIGNMENT = 8


@pytest.fixture
def capability(information: Container) -> MigrationCapability:
    """The migration capability."""
    with checks.given():
        found = information.info().migration
    if found is None:
        raise checks.Unjudged("there is no migration capability, which dirty.capability.announces-tracking judges")
    return found


@pytest.mark.rule("dirty.capability.announces-tracking")
def test_capability_announces_tracking(information: Container, tracker: DirtyTracker) -> None:
    """START succeeds if, and only if, the capability is present."""
    judge_start(announces(information), tracker.try_start())


@pytest.mark.rule("dirty.capability.announces-tracking")
def test_capability_stays_after_start(information: Container, tracker: DirtyTracker) -> None:
    """The capability is present after a START that succeeded, and only then."""
    outcome = tracker.try_start()
    judge_start(announces(information), outcome)


@pytest.mark.rule("dirty.capability.announces-tracking")
def test_capability_stays_after_stop(information: Container, tracker: DirtyTracker) -> None:
    """START succeeds again after STOP if, and only if, the capability is present then."""
    tracker.try_start()
    tracker.try_stop()
    judge_start(announces(information), tracker.try_start())


def announces(information: Container) -> bool:
    """Whether the container says that it tracks dirty pages."""
    with checks.given():
        return information.info().migration is not None


def judge_start(announced: bool, outcome: Outcome) -> None:
    """Tracking starts if, and only if, it is announced."""
    if announced:
        checks.succeeded("starting to track dirty pages, which a capability announces", outcome)
    else:
        checks.declined("starting to track dirty pages, which no capability announces", outcome)


@pytest.mark.rule("dirty.capability.id")
def test_capability_id(container: Container, information: Container) -> None:
    """If tracking is offered, the chain has a capability with id 2; the specification's 1 is of the IOVA ranges."""
    with checks.given():
        ids = [link.id for link in information.info().chain]
    if VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION not in ids:
        checks.broken(
            "looking for the capability that announces dirty page tracking",
            expected="id 2 (not 1 as in the specification: that is the id of the IOVA ranges)",
            seen=f"id {', '.join(map(str, ids))}" if ids else "no capability",
        )


@pytest.mark.rule("dirty.capability.version")
def test_capability_version(container: Container, capability: MigrationCapability) -> None:
    """The version in the capability's header is 1."""
    checks.equal("reading the version of the migration capability", capability.version, 1)


@pytest.mark.rule("dirty.info.chain-ends")
def test_chain_ends(container: Container, information: Container, observe: Callable[[str, str], None]) -> None:
    """The chain from cap_offset comes to its end without leaving the information; no capability is cut off."""
    info = information.info()
    found = {"links": info.chain, "migration": info.migration, "IOVA ranges": info.iova_ranges}
    odd = [f"{link.offset} (id {link.id})" for link in info.chain if link.offset % ALIGNMENT]
    observe(f"capabilities at offsets that are no multiple of {ALIGNMENT}", ", ".join(odd) or "none")
    if info.migration:
        observe("the migration capability's padding", f"0x{info.migration.padding:x}")
    checks.equal(
        "following the chain, which the flags say is there or is not",
        bool(found["links"]),
        IommuInfoFlags.CAPS in info.flags,
    )


@pytest.mark.rule("dirty.capability.page-sizes")
def test_page_sizes(
    container: Container,
    information: Container,
    capability: MigrationCapability,
    profile: Profile,
    request: pytest.FixtureRequest,
) -> None:
    """There is at least one; each can be mapped; a bitmap of the smallest can be fetched, and it is as claimed."""
    sizes, mappable = capability.pgsize_bitmap, information.info().iova_pgsizes
    what = "reading the page sizes of the migration capability"
    if not sizes:
        checks.broken(what, expected="one at least", seen="none")
    if mappable:
        checks.equal(f"{what}, which iova_pgsizes lacks", sizes & ~mappable, 0, hex)
    smallest = sizes & -sizes
    claim = profile.claims_of(DirtyClaims).page_size
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
def test_largest_bitmap(container: Container, capability: MigrationCapability, guest: ScriptedMemory) -> None:
    """A bitmap of the range that fills the largest bitmap can be fetched, whatever is mapped of it."""
    most = largest_of(capability)
    tried = min(most, LARGEST_TRIED + WORD)  # it has to take less as well
    checks.succeeded(*ask_for_words(guest, most, tried))


@pytest.mark.rule("dirty.capability.largest-bitmap")
@pytest.mark.parametrize("more", [{"slack": WORD}, {"pages": 1}], ids=["a word more", "a page more"])
def test_above_largest_bitmap(
    container: Container, capability: MigrationCapability, guest: ScriptedMemory, more: Mapping[str, int]
) -> None:
    """Neither a larger bitmap nor a larger range is accepted."""
    most = largest_of(capability)
    if most > LARGEST_TRIED:
        raise checks.NotApplicable(f"a bitmap of {counted(most, 'byte')} is larger than those that are tried")
    checks.declined(*ask_for_words(guest, most, most, **more))


def largest_of(capability: MigrationCapability) -> int:
    """Bytes of the largest bitmap, which must not be less than a word."""
    largest = capability.max_dirty_bitmap_size
    if largest < WORD:
        least = f"{counted(WORD, 'byte')} at least"
        checks.broken("reading the size of the largest bitmap", expected=least, seen=f"{largest}")
    return largest


def ask_for_words(
    guest: ScriptedMemory, most: int, size: int, *, slack: int = 0, pages: int = 0
) -> tuple[str, Outcome]:
    """Ask for the range of a bitmap of ``size`` bytes and ``pages`` pages, with ``slack``; words, and answer."""
    guest.map(0, 1)
    guest.start()
    guest.get(0, 64)  # n/a if no range with holes is answered
    count = size // WORD * 64 + pages
    outcome = guest.try_get(-guest.iova(0) // guest.page, count, slack=slack)
    size = bitmap_bytes(count) + slack
    return (
        f"GET_BITMAP of {counted(count, 'page')} from IOVA 0 into {counted(size, 'byte')}, where the largest is {most}",
        outcome,
    )
