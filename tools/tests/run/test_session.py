# SPDX-License-Identifier: GPL-2.0-only
"""A session on a device without migration: resets between cases, and checks of the profile."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance import profiles
from vfio_compliance.device import Device, DeviceError, Unreachable
from vfio_compliance.interfaces import INTERFACES
from vfio_compliance.migration_v1.migration import Migration
from vfio_compliance.results import events
from vfio_compliance.results.events import Event
from vfio_compliance.run import session
from vfio_compliance.run.errors import Broken
from vfio_compliance.run.session import Session
from vfio_compliance.sections import PROFILE
from vfio_compliance.transport import Outcome, Target, Transport
from vfio_compliance.transport.base import argument_view
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_RESET, ffi

PCI, RESET = 2, 1


class PciDevice(Transport):
    """Like a device of vfio-pci: nine regions, of which 0 and 7 have a size; the one for VGA is refused."""

    takes_pointers = True
    kernel = True

    def __init__(self, flags: int, refuses: int = 8, code: int = errno.EINVAL) -> None:
        super().__init__()
        self.flags = flags
        self.refuses = refuses
        self.code = code

    def identity(self) -> dict[Any, Any]:
        return {}

    def _open(self) -> None:
        pass

    def _close(self) -> None:
        pass

    def _ioctl(self, target: Target, request: int, argument: Any) -> Outcome:
        assert target is Target.DEVICE
        view: Any = argument_view(argument)
        if request == VFIO_DEVICE_GET_INFO:
            info: Any = ffi.from_buffer("struct vfio_device_info *", view)
            info.flags, info.num_regions = self.flags, 9
        elif request == VFIO_DEVICE_GET_REGION_INFO:
            info = ffi.from_buffer("struct vfio_region_info *", view)
            if info.index == self.refuses:
                return Outcome(-1, self.code)
            info.size = {0: 4096, 7: 256}.get(info.index, 0)
        else:
            assert request == VFIO_DEVICE_RESET
            assert self.flags & RESET
        return Outcome(0, 0)

    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        raise NotImplementedError

    def _write(self, region: int, offset: int, data: bytes) -> Outcome:
        raise NotImplementedError

    def _map(self, region: int, offset: int, length: int) -> mmap.mmap:
        raise NotImplementedError


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, project: Path) -> Callable[..., tuple[Session, list[Event]]]:
    """Starts a session with a device, by a profile without migration; returns its events as well."""

    def start(transport: PciDevice) -> tuple[Session, list[Event]]:
        monkeypatch.setattr("vfio_compliance.run.opened.way_to", lambda profile, where, defects, beside=None: transport)
        opened = session.Session(profiles.load(project / "profiles/qemu-edu.yaml", PROFILE), [], INTERFACES)
        recorded: list[Event] = []
        opened.emit = recorded.append
        opened.start()
        return opened, recorded

    return start


def test_a_device_without_reset_is_not_reset(begin: Callable[..., tuple[Session, list[Event]]]) -> None:
    """There is no message about this before each case."""
    device = PciDevice(PCI)
    opened, recorded = begin(device)
    assert opened.as_after_reset() is opened.as_after_reset() is opened.device
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (1, 0)
    assert recorded == [events.Target({})]


def test_a_device_with_reset_is_reset(begin: Callable[..., tuple[Session, list[Event]]]) -> None:
    """Before the first case, and if something was done to it. It stays open."""
    device = PciDevice(PCI | RESET)
    opened, recorded = begin(device)
    opened.as_after_reset()
    opened.as_after_reset()
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (1, 1)
    device.touched = True
    opened.as_after_reset()
    opened.as_after_reset()
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (1, 2)
    assert recorded == [events.Target({})]


def test_a_device_without_migration_is_accepted(begin: Callable[..., tuple[Session, list[Event]]]) -> None:
    """Nothing is missing until a case needs the migration region."""
    opened, recorded = begin(PciDevice(PCI))
    assert recorded == [events.Target({})]
    with pytest.raises(Unreachable, match="none of the 9 regions"):
        opened.of(Migration).region()


def test_a_stimulus_beyond_the_device_is_refused_without_migration(
    begin: Callable[..., tuple[Session, list[Event]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place in the profile is named."""
    profile = profiles.load
    monkeypatch.setattr(profiles, "load", lambda path, kind: profile(path.with_name("refdriver-kernel.yaml"), kind))
    with pytest.raises(Unreachable, match="none of the 9 regions"):
        begin(PciDevice(PCI))[0].of(Migration).region()  # the profile claims migration: the cases report this
    monkeypatch.setattr(profiles, "load", profile)
    small = PciDevice(PCI, refuses=0)
    with pytest.raises(Broken, match=r"qemu-edu\.yaml:\d+:\d+: .* but region 0 has 0 bytes"):
        begin(small)


def test_a_region_refused_with_einval_has_no_size() -> None:
    """vfio-pci does this with the index for VGA on all other devices."""
    device = Device(PciDevice(PCI))
    device.open()
    assert [(region.index, region.size) for region in device.regions if region.size] == [(0, 4096), (7, 256)]
    assert device.region(8).size == 0


def test_a_region_refused_with_another_errno_is_an_error() -> None:
    """It does not mean that the region is missing."""
    device = Device(PciDevice(PCI, refuses=3, code=errno.EIO))
    device.open()
    with pytest.raises(DeviceError, match="region 3: expected success, seen EIO"):
        _ = device.regions


@pytest.mark.parametrize(("interface", "opens"), [("dirty_type1", 2), ("migration_v1", 1)])
def test_after_a_failure_state_that_outlives_a_reset_is_set_up_again(
    begin: Callable[..., tuple[Session, list[Event]]], interface: str, opens: int
) -> None:
    """With such state, the device is opened again once; then it is reset as before any case."""
    device = PciDevice(PCI | RESET)
    opened, _ = begin(device)
    opened.as_after_reset()
    opened.failed(interface)
    opened.as_after_reset()
    opened.as_after_reset()
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (opens, 2)


def test_a_device_that_does_not_read_as_reset_is_reset(
    begin: Callable[..., tuple[Session, list[Event]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although nothing was done to it."""
    device = PciDevice(PCI | RESET)
    opened, _ = begin(device)
    opened.as_after_reset()
    monkeypatch.setattr(opened.attachments[0], "reads_as_reset", lambda: False)
    opened.as_after_reset()
    assert device.tracer.counts.resets == 2


def resets_of_a_row(opened: Session, *cases: tuple[str, str]) -> list[int]:
    """The number of resets before each of these cases, given by the rule and the marks it leaves on the transport."""
    counts = []
    for rule, mark in cases:
        before = opened.transport.tracer.counts.resets
        opened.judges(rule)
        opened.as_after_reset()
        counts.append(opened.transport.tracer.counts.resets - before)
        for name in mark.split():
            setattr(opened.transport, name, True)
    return counts


@pytest.mark.parametrize(
    ("left", "same", "other"),
    [("", 0, 0), ("questioned", 0, 1), ("touched", 0, 1), ("touched lasting", 1, 1), ("touched questioned", 0, 1)],
)
def test_a_device_is_reset_before_the_next_rule(
    begin: Callable[..., tuple[Session, list[Event]]], left: str, same: int, other: int
) -> None:
    """If a case did something to it. Within a rule, only if this outlives a return to running."""
    opened, _ = begin(PciDevice(PCI | RESET))
    assert resets_of_a_row(opened, ("one", left), ("one", left), ("other", "")) == [1, same, other]


@pytest.mark.parametrize(("interface", "within"), [("migration_v1", 1), ("dirty_type1", 0)])
def test_a_request_that_is_left_open_is_followed_by_a_reset(
    begin: Callable[..., tuple[Session, list[Event]]], interface: str, within: int
) -> None:
    """At once after a request to the device; before the next rule after one to a container."""
    opened, _ = begin(PciDevice(PCI | RESET))
    assert resets_of_a_row(opened, ("one", "")) == [1]
    opened.left_open(interface)
    assert resets_of_a_row(opened, ("one", "")) == [within]
    opened.left_open(interface)
    assert resets_of_a_row(opened, ("other", "")) == [1]


def test_a_device_that_cannot_be_brought_back_is_reset(
    begin: Callable[..., tuple[Session, list[Event]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even within a rule."""
    opened, _ = begin(PciDevice(PCI | RESET))
    assert resets_of_a_row(opened, ("one", "touched")) == [1]
    monkeypatch.setattr(opened.attachments[0], "brought_back", lambda: False)
    assert resets_of_a_row(opened, ("one", "")) == [1]


def test_a_device_that_has_failed_is_reset_twice(
    begin: Callable[..., tuple[Session, list[Event]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first reset leaves of the fault must not affect the next rule."""
    opened, _ = begin(PciDevice(PCI | RESET))
    monkeypatch.setattr(opened.attachments[0], "has_failed", lambda: True)
    assert resets_of_a_row(opened, ("one", "")) == [2]


def test_the_second_device_stays_open_within_a_rule(
    begin: Callable[..., tuple[Session, list[Event]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is to be kept. It is opened again for the next rule, and after an error."""
    opened, _ = begin(PciDevice(PCI | RESET))
    second = PciDevice(PCI | RESET)
    opened.judges("one")
    monkeypatch.setattr(opened._second, "_device", Device(second))

    def use(*, keep: bool = True) -> tuple[int, bool]:
        with opened.second(keep=keep) as device:
            assert device is not None
            assert device.transport.is_open
        return second.openings, second.is_open

    assert [use(), use(), use(keep=False), use()] == [(1, True), (1, True), (2, False), (3, True)]
    opened.judges("one")
    assert use() == (3, True)
    with pytest.raises(DeviceError), opened.second(keep=True):
        raise DeviceError("trying", "success", "failure")
    assert use() == (4, True)
    opened.judges("other")
    assert not second.is_open
