# SPDX-License-Identifier: GPL-2.0-only
"""A device without migration: what is asked of it between two cases, and what of the profile is compared with it."""

from __future__ import annotations

import errno

import pytest

from vfio_compliance import profiles
from vfio_compliance.device import Device, DeviceError, Unreachable
from vfio_compliance.interfaces import INTERFACES
from vfio_compliance.migration_v1.migration import Migration
from vfio_compliance.results import events
from vfio_compliance.run import session
from vfio_compliance.run.errors import Broken
from vfio_compliance.sections import PROFILE
from vfio_compliance.transport import Outcome, Target, Transport
from vfio_compliance.transport.base import argument_view
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_RESET, ffi

PCI, RESET = 2, 1


class PciDevice(Transport):
    """As vfio-pci shows a device: nine regions, of which 0 and 7 have a size, and no word on the one for VGA."""

    takes_pointers = True
    kernel = True

    def __init__(self, flags, refuses=8, code=errno.EINVAL):
        super().__init__()
        self.flags = flags
        self.refuses = refuses
        self.code = code

    def identity(self):
        return {}

    def _open(self):
        pass

    def _close(self):
        pass

    def _ioctl(self, target, request, argument):
        assert target is Target.DEVICE
        if request == VFIO_DEVICE_GET_INFO:
            info = ffi.from_buffer("struct vfio_device_info *", argument_view(argument))
            info.flags, info.num_regions = self.flags, 9
        elif request == VFIO_DEVICE_GET_REGION_INFO:
            info = ffi.from_buffer("struct vfio_region_info *", argument_view(argument))
            if info.index == self.refuses:
                return Outcome(-1, self.code)
            info.size = {0: 4096, 7: 256}.get(info.index, 0)
        else:
            assert request == VFIO_DEVICE_RESET
            assert self.flags & RESET
        return Outcome(0, 0)

    _read = _write = _map = None


@pytest.fixture
def begin(monkeypatch, project):
    """Starts a session with a device, by the profile of one that has nothing to migrate; what it told, too."""

    def start(transport):
        monkeypatch.setattr("vfio_compliance.run.opened.way_to", lambda profile, where, defects, beside=None: transport)
        opened = session.Session(profiles.load(project / "profiles/qemu-edu.yaml", PROFILE), [], INTERFACES)
        told = []
        opened.tell = told.append
        opened.start()
        return opened, told

    return start


def test_device_that_announces_no_reset_is_not_asked_for_it(begin):
    """And there is not a word about it before each case."""
    device = PciDevice(PCI)
    opened, told = begin(device)
    assert opened.plain() is opened.plain() is opened.device
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (1, 0)
    assert told == [events.Target({})]


def test_device_that_announces_reset_is_asked_for_it(begin):
    """Where something was done to it, or nothing is known of it yet; it stays open."""
    device = PciDevice(PCI | RESET)
    opened, told = begin(device)
    opened.plain()
    opened.plain()
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (1, 1)
    device.touched = True
    opened.plain()
    opened.plain()
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (1, 2)
    assert told == [events.Target({})]


def test_device_without_migration_is_a_target(begin):
    """Nothing is missed until a case asks for the migration region."""
    opened, told = begin(PciDevice(PCI))
    assert told == [events.Target({})]
    with pytest.raises(Unreachable, match="none of the 9 regions"):
        opened.of(Migration).region()


def test_stimulus_that_does_not_fit_is_found_without_migration_too(begin, monkeypatch):
    """The place in the profile is named."""
    profile = profiles.load
    monkeypatch.setattr(profiles, "load", lambda path, kind: profile(path.with_name("refdriver-kernel.yaml"), kind))
    with pytest.raises(Unreachable, match="none of the 9 regions"):
        begin(PciDevice(PCI))[0].of(Migration).region()  # a device that claims migration and has none: the cases say so
    monkeypatch.setattr(profiles, "load", profile)
    small = PciDevice(PCI, refuses=0)
    with pytest.raises(Broken, match=r"qemu-edu\.yaml:\d+:\d+: .* but region 0 has 0 bytes"):
        begin(small)


def test_region_that_the_driver_refuses_with_einval_has_no_size():
    """So does vfio-pci with the index for VGA on all other devices."""
    device = Device(PciDevice(PCI))
    device.open()
    assert [(region.index, region.size) for region in device.regions if region.size] == [(0, 4096), (7, 256)]
    assert device.region(8).size == 0


def test_region_that_the_driver_refuses_otherwise_is_an_error():
    """It is no answer."""
    device = Device(PciDevice(PCI, refuses=3, code=errno.EIO))
    device.open()
    with pytest.raises(DeviceError, match="region 3: expected success, seen EIO"):
        _ = device.regions


@pytest.mark.parametrize(("interface", "opens"), [("dirty_type1", 2), ("migration_v1", 1)])
def test_what_outlives_a_reset_is_made_anew_after_a_failure(begin, interface, opens):
    """The device is opened again, once, and is reset then as before any case."""
    device = PciDevice(PCI | RESET)
    opened, _ = begin(device)
    opened.plain()
    opened.failed(interface)
    opened.plain()
    opened.plain()
    assert (device.tracer.counts.opens, device.tracer.counts.resets) == (opens, 2)


def test_device_that_reads_otherwise_is_reset(begin, monkeypatch):
    """Nothing was done to it, and yet it is not as it was."""
    device = PciDevice(PCI | RESET)
    opened, _ = begin(device)
    opened.plain()
    monkeypatch.setattr(opened.attachments[0], "reads_as_reset", lambda: False)
    opened.plain()
    assert device.tracer.counts.resets == 2
