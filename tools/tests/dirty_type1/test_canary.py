# SPDX-License-Identifier: GPL-2.0-only
"""A request that was refused and changed something all the same does not go unseen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from vfio_compliance.device import Container, DeviceError
from vfio_compliance.dirty_type1.canary import Canary
from vfio_compliance.run.checks import NotApplicable, RuleBroken, broken
from vfio_compliance.transport import GuardedBuffer, Outcome, libc

PAGE = 4096


class Guest:
    """Memory of a guest, and a container, of which a test says what they have become."""

    page = PAGE

    def __init__(self) -> None:
        self.tracking = self.mapped = self.recorded = False
        self.can_write = True
        self.served: tuple[int, ...] = ()
        self.transport = SimpleNamespace(may_track=True)
        self.history = SimpleNamespace(reported=lambda *_: None)

    def iova(self, page: int) -> int:
        return page * PAGE

    def take_served(self, first: int, count: int) -> tuple[int, ...]:
        return self.served

    def map(self, first: int, count: int) -> None:
        self.mapped = True

    def start(self) -> None:
        self.tracking = True

    def make_dirty(self, page: int) -> None:
        if not self.can_write:
            raise NotApplicable("no way to write")
        self.recorded = True

    def get(self, first: int, count: int) -> SimpleNamespace:
        if not self.tracking:
            raise DeviceError("asking", "success", "EINVAL")
        return SimpleNamespace(complete=self.complete)

    def try_get(self, first: int, count: int) -> Outcome:
        return Outcome(0, 0) if self.tracking else Outcome(-1, 22)

    def complete(self) -> None:
        if self.can_write and not self.recorded:
            broken("the bitmap", expected="page 1", seen="none")

    def mapping(self, first: int) -> Guest:
        return self

    # what it asks of the container

    def maps(self, iova: int, size: int) -> bool:
        return self.mapped

    guarded = staticmethod(GuardedBuffer)
    dirty_request = staticmethod(Container.dirty_request)
    unmap_request = staticmethod(Container.unmap_request)


@pytest.fixture
def guest() -> Guest:
    """One that tracks nothing yet."""
    return Guest()


@pytest.fixture
def canary(guest: Guest) -> Iterator[Canary]:
    """A canary of it."""
    both: Any = guest
    canary = Canary(both, both)
    yield canary
    canary.release()


@pytest.mark.parametrize("tracking", [True, False])
@pytest.mark.parametrize("can_write", [True, False])
def test_nothing_happened(guest: Guest, canary: Canary, tracking: bool, can_write: bool) -> None:
    """All as it was, with a device that can write a page and one that cannot."""
    guest.can_write = can_write
    canary.begin(tracking=tracking)
    assert not canary.sure
    canary.unchanged("nothing")
    assert canary.sure


@pytest.mark.parametrize(
    ("tracking", "change", "words"),
    [
        (True, {"tracking": False}, "tracking is on"),
        (False, {"tracking": True}, "tracking is off"),
        (True, {"recorded": False}, "page 1"),
        (True, {"mapped": False}, "it is mapped"),
        (False, {"mapped": False}, "it is mapped"),
    ],
    ids=str,
)
def test_a_change_is_seen(guest: Guest, canary: Canary, tracking: bool, change: Mapping[str, bool], words: str) -> None:
    """Each thing that a refused request may have changed; then nobody knows what else has."""
    canary.begin(tracking=tracking)
    vars(guest).update(change)
    with pytest.raises(RuleBroken, match=words):
        canary.unchanged("something")
    assert not canary.sure


def test_the_mapping_may_have_to_be_gone(guest: Guest, canary: Canary) -> None:
    """Then it is known not to be there, and nobody unmaps it once more."""
    canary.begin(tracking=False)
    with pytest.raises(RuleBroken, match="it is unmapped"):
        canary.gone("something")
    guest.mapped = False
    canary.gone("something")
    assert canary.sure


def bitmap_of(argument: bytes) -> int:
    """Where an argument says that the bitmap goes."""
    return int.from_bytes(argument[40:48], "little")


@pytest.mark.parametrize("request_name", ["dirty_request", "unmap_request"])
def test_the_bitmap_is_looked_at(guest: Guest, canary: Canary, request_name: str) -> None:
    """A refused request has not written there; one that succeeded has the written page there."""
    flags = 4 if request_name == "dirty_request" else 1
    argument = getattr(canary, request_name)(flags, 48)
    assert argument[:8] == bytes([48, 0, 0, 0, flags, 0, 0, 0])
    canary.begin(tracking=True)
    with pytest.raises(RuleBroken, match="bit 1 set"):
        canary.settles(tracking=True, after="something", got=True)
    assert libc.store(bitmap_of(argument), b"\2")
    canary.settles(tracking=True, after="something", got=True)
    assert canary.sure
    with pytest.raises(RuleBroken, match="zeros as before"):
        canary.unchanged("something")


@pytest.mark.parametrize("flags", [0, 1, 2, 8])
def test_without_a_bitmap_there_are_ones(canary: Canary, flags: int) -> None:
    """What no request needs is not zero, so that who looks at it is seen."""
    assert canary.dirty_request(flags, 8)[8:] == b"\xff" * 40
    assert canary.unmap_request(flags & ~1, 24)[24:] == b"\xff" * 24
