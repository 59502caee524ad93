# SPDX-License-Identifier: GPL-2.0-only
"""Binding on a real kernel: QEMU's teaching device gets a driver, and is given back. This runs only in a guest:

    vfio-compliance vm --kernels 6.12 -- \
        pytest -p no:cacheprovider tools/tests/host/test_bind_edu.py --target profiles/qemu-edu.yaml
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_compliance.host.binding import bind, unbind
from vfio_compliance.host.doctor import complete, needs
from vfio_compliance.host.machine import HostError, Machine, PciDevice
from vfio_compliance.profiles import KernelGroupDevice, load
from vfio_compliance.sections import PROFILE


@pytest.fixture
def device(target: Path) -> Iterator[PciDevice]:
    """The profile's device, which has no driver during the test."""
    profile = load(target, PROFILE)
    if profile.name != "qemu-edu":
        pytest.skip("for --target profiles/qemu-edu.yaml")
    assert isinstance(profile.device, KernelGroupDevice)
    found = PciDevice(Machine(), profile.device.name)
    driver = found.driver
    found.unbind()
    found.set_override("")
    yield found
    found.set_override(driver)
    found.probe()
    assert found.driver == driver


def test_bind_and_unbind(device: PciDevice, target: Path) -> None:
    """With the driver, the host lacks nothing and the device can be opened; while it is open, it stays bound."""
    where = load(target, PROFILE).device
    assert not complete(needs(Machine(), where, 0))
    bind(Machine(), device.address, "vfio-pci")
    assert (device.driver, device.override) == ("vfio-pci", "vfio-pci")
    assert complete(needs(Machine(), where, 0))
    opened = os.open(f"/dev/vfio/{device.group}", os.O_RDWR)
    with pytest.raises(HostError, match="this one"):
        unbind(Machine(), device.address)
    os.close(opened)
    unbind(Machine(), device.address)
    assert (device.driver, device.override) == ("", "")
