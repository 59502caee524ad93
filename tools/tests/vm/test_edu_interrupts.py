# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of a PCI device, through a real kernel's vfio-pci.

QEMU's teaching device has INTx, which is level-triggered, and MSI. Not for this machine; in a guest:

    vfio-compliance vm --kernels 6.12 -- \
        pytest -p no:cacheprovider tools/tests/vm/test_edu_interrupts.py --target profiles/qemu-edu.yaml
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from descriptors import same_descriptors

from vfio_compliance import profiles
from vfio_compliance.device import Device, DeviceError, NotEnabled
from vfio_compliance.run.reaching import way_to
from vfio_compliance.sections import PROFILE

INTX, MSI = 0, 1

#: Seconds for what has to come, under emulation too; and for what must not.
AMPLE, A_WHILE = 30.0, 0.3

#: The command register of the configuration space, and two registers of the device: what raises, what takes back.
CONFIGURATION, COMMAND = 7, 0x04
RAISE, LOWER = 0x60, 0x64
BUS_MASTER = 0x0006


@pytest.fixture
def device(target: Path, project: Path) -> Iterator[Device]:
    """The device, open and able to send messages; no descriptor of it is left in the end."""
    profile = profiles.load(target, PROFILE)
    if profile.name != "qemu-edu":
        pytest.skip("for --target profiles/qemu-edu.yaml")
    with same_descriptors():
        device = Device(way_to(profile, profile.device, []))
        device.open()
        device.region(CONFIGURATION).write(COMMAND, 2, BUS_MASTER)
        take_back(device)
        yield device
        device.close()


def raise_it(device: Device) -> None:
    """Have the device raise its interrupt."""
    device.region(0).write(RAISE, 4, 1)


def take_back(device: Device) -> None:
    """Have it raise none any more."""
    device.region(0).write(LOWER, 4, 1)


@pytest.mark.parametrize("index", [INTX, MSI], ids=["INTx", "MSI"])
def test_what_the_device_raises_is_seen(device: Device, index: int) -> None:
    """Once for each time, by the wait and by the count."""
    interrupts = device.interrupts
    interrupts.enable(index, 0)
    assert not interrupts.wait(index, 0, A_WHILE)
    raise_it(device)
    assert interrupts.wait(index, 0, AMPLE)
    take_back(device)
    assert not interrupts.wait(index, 0, A_WHILE)
    assert interrupts.count(index, 0) == 1


@pytest.mark.parametrize("index", [INTX, MSI], ids=["INTx", "MSI"])
def test_the_driver_raises_it_when_told_to(device: Device, index: int) -> None:
    """As if the device had."""
    device.interrupts.enable(index, 0)
    device.interrupts.trigger(index, 0)
    assert device.interrupts.wait(index, 0, AMPLE)
    assert device.interrupts.count(index, 0) == 1


def test_a_level_comes_again_once_unmasked(device: Device) -> None:
    """The driver masks INTx when it fires."""
    interrupts = device.interrupts
    interrupts.enable(INTX, 0)
    raise_it(device)
    assert interrupts.wait(INTX, 0, AMPLE)
    assert not interrupts.wait(INTX, 0, A_WHILE)
    interrupts.unmask(INTX, 0)
    assert interrupts.wait(INTX, 0, AMPLE)
    take_back(device)
    interrupts.unmask(INTX, 0)
    assert not interrupts.wait(INTX, 0, A_WHILE)


def test_a_message_comes_each_time(device: Device) -> None:
    """MSI is not masked by the driver."""
    device.interrupts.enable(MSI, 0)
    for number in range(1, 4):
        raise_it(device)
        assert device.interrupts.wait(MSI, 0, AMPLE)
        assert device.interrupts.count(MSI, 0) == number


def test_one_kind_after_the_other(device: Device) -> None:
    """A PCI device uses one of them at a time; a disabled one is enabled anew, and counts from 0."""
    interrupts = device.interrupts
    interrupts.enable(INTX, 0)
    with pytest.raises(DeviceError, match=r"enabling interrupt 1, vector 0, with interrupt 0 enabled: .* seen EINVAL"):
        interrupts.enable(MSI, 0)
    interrupts.disable(INTX)
    interrupts.enable(MSI, 0)
    raise_it(device)
    assert interrupts.wait(MSI, 0, AMPLE)
    with pytest.raises(NotEnabled):
        interrupts.count(INTX, 0)
    interrupts.disable(MSI)
    interrupts.enable(MSI, 0)
    assert interrupts.count(MSI, 0) == 0


def test_what_the_device_does_not_have(device: Device) -> None:
    """Said by what it has; each is asked of the driver."""
    with pytest.raises(DeviceError, match=r"irq index 0 has 1 vector\b"):
        device.interrupts.enable(INTX, 1)
    with pytest.raises(DeviceError, match="irq index 2 has 0 vectors"):
        device.interrupts.enable(2, 0)
    with pytest.raises(DeviceError, match="the device has 5"):
        device.interrupts.enable(5, 0)
