# SPDX-License-Identifier: GPL-2.0-only
"""The canary detects a refused request that changed something."""

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
    """Memory of a guest, and a container, whose state a test sets."""

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

    # As the container.

    def maps(self, iova: int, size: int) -> bool:
        return self.mapped

    guarded = staticmethod(GuardedBuffer)
    dirty_request = staticmethod(Container.dirty_request)
    unmap_request = staticmethod(Container.unmap_request)


@pytest.fixture
def guest() -> Guest:
    """A guest without tracking."""
    return Guest()


@pytest.fixture
def canary(guest: Guest) -> Iterator[Canary]:
    """Its canary."""
    both: Any = guest
    canary = Canary(both, both)
    yield canary
    canary.release()


@pytest.mark.parametrize("tracking", [True, False])
@pytest.mark.parametrize("can_write", [True, False])
def test_refusal_without_an_effect_passes(guest: Guest, canary: Canary, tracking: bool, can_write: bool) -> None:
    """With a device that can write a page, and with one that cannot."""
    guest.can_write = can_write
    canary.begin(tracking=tracking)
    assert not canary.sure
    canary.unchanged("nothing")
    assert canary.sure


@pytest.mark.parametrize(
    ("tracking", "change", "message"),
    [
        (True, {"tracking": False}, "tracking is on"),
        (False, {"tracking": True}, "tracking is off"),
        (True, {"recorded": False}, "page 1"),
        (True, {"mapped": False}, "it is mapped"),
        (False, {"mapped": False}, "it is mapped"),
    ],
    ids=str,
)
def test_change_is_detected(
    guest: Guest, canary: Canary, tracking: bool, change: Mapping[str, bool], message: str
) -> None:
    """Anything that a refused request may have changed; whether more has changed is unknown."""
    canary.begin(tracking=tracking)
    vars(guest).update(change)
    with pytest.raises(RuleBroken, match=message):
        canary.unchanged("something")
    assert not canary.sure


def test_mapping_must_be_gone_after_an_unmap(guest: Guest, canary: Canary) -> None:
    """It is known to be gone, and not unmapped again."""
    canary.begin(tracking=False)
    with pytest.raises(RuleBroken, match="it is unmapped"):
        canary.gone("something")
    guest.mapped = False
    canary.gone("something")
    assert canary.sure


def bitmap_of(argument: bytes) -> int:
    """The address of the bitmap in an argument."""
    return int.from_bytes(argument[40:48], "little")


@pytest.mark.parametrize(("request_name", "flags"), [("dirty_request", 4), ("unmap_request", 1)])
def test_bitmap_is_checked(guest: Guest, canary: Canary, request_name: str, flags: int) -> None:
    """A request that succeeded has set the written page in it; a refused one has not touched it."""
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
def test_unused_bytes_are_ones(canary: Canary, flags: int) -> None:
    """A kernel that reads bytes that the request does not need is detected."""
    assert canary.dirty_request(flags, 8)[8:] == b"\xff" * 40
    assert canary.unmap_request(flags & ~1, 24)[24:] == b"\xff" * 24
