# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts of a PCI device, through a real kernel's vfio-pci.

QEMU's teaching device (edu) has INTx, which is level-triggered, and MSI. These tests run in a guest:

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

#: Seconds to wait for an interrupt that must come, even under emulation, and for one that must not.
AMPLE, A_WHILE = 30.0, 0.3

#: The command register of the configuration space, and the two registers that raise and lower the interrupt.
CONFIGURATION, COMMAND = 7, 0x04
RAISE, LOWER = 0x60, 0x64
BUS_MASTER = 0x0006


@pytest.fixture
def device(target: Path, project: Path) -> Iterator[Device]:
    """The device, open and with bus mastering enabled for MSI; no descriptor is left at the end."""
    profile = profiles.load(target, PROFILE)
    if profile.name != "qemu-edu":
        pytest.skip("for --target profiles/qemu-edu.yaml")
    with same_descriptors():
        device = Device(way_to(profile, profile.device, []))
        device.open()
        device.region(CONFIGURATION).write(COMMAND, 2, BUS_MASTER)
        lower_interrupt(device)
        yield device
        device.close()


def raise_interrupt(device: Device) -> None:
    """Makes the device raise its interrupt."""
    device.region(0).write(RAISE, 4, 1)


def lower_interrupt(device: Device) -> None:
    """Makes the device lower its interrupt."""
    device.region(0).write(LOWER, 4, 1)


@pytest.mark.parametrize("index", [INTX, MSI], ids=["INTx", "MSI"])
def test_an_interrupt_of_the_device_is_received(device: Device, index: int) -> None:
    """Exactly once, as wait and count show."""
    interrupts = device.interrupts
    interrupts.enable(index, 0)
    assert not interrupts.wait(index, 0, A_WHILE)
    raise_interrupt(device)
    assert interrupts.wait(index, 0, AMPLE)
    lower_interrupt(device)
    assert not interrupts.wait(index, 0, A_WHILE)
    assert interrupts.count(index, 0) == 1


@pytest.mark.parametrize("index", [INTX, MSI], ids=["INTx", "MSI"])
def test_trigger(device: Device, index: int) -> None:
    """The driver raises the interrupt as if the device had."""
    device.interrupts.enable(index, 0)
    device.interrupts.trigger(index, 0)
    assert device.interrupts.wait(index, 0, AMPLE)
    assert device.interrupts.count(index, 0) == 1


def test_unmasking_intx_that_is_still_high_raises_it_again(device: Device) -> None:
    """The driver masks INTx each time it fires."""
    interrupts = device.interrupts
    interrupts.enable(INTX, 0)
    raise_interrupt(device)
    assert interrupts.wait(INTX, 0, AMPLE)
    assert not interrupts.wait(INTX, 0, A_WHILE)
    interrupts.unmask(INTX, 0)
    assert interrupts.wait(INTX, 0, AMPLE)
    lower_interrupt(device)
    interrupts.unmask(INTX, 0)
    assert not interrupts.wait(INTX, 0, A_WHILE)


def test_msi_needs_no_unmasking(device: Device) -> None:
    """The driver does not mask it."""
    device.interrupts.enable(MSI, 0)
    for number in range(1, 4):
        raise_interrupt(device)
        assert device.interrupts.wait(MSI, 0, AMPLE)
        assert device.interrupts.count(MSI, 0) == number


def test_one_kind_at_a_time(device: Device) -> None:
    """A PCI device uses either INTx or MSI. An interrupt that is enabled again counts from 0."""
    interrupts = device.interrupts
    interrupts.enable(INTX, 0)
    with pytest.raises(DeviceError, match=r"enabling interrupt 1, vector 0, with interrupt 0 enabled: .* seen EINVAL"):
        interrupts.enable(MSI, 0)
    interrupts.disable(INTX)
    interrupts.enable(MSI, 0)
    raise_interrupt(device)
    assert interrupts.wait(MSI, 0, AMPLE)
    with pytest.raises(NotEnabled):
        interrupts.count(INTX, 0)
    interrupts.disable(MSI)
    interrupts.enable(MSI, 0)
    assert interrupts.count(MSI, 0) == 0


def test_missing_interrupts(device: Device) -> None:
    """The error says what the driver reports instead."""
    with pytest.raises(DeviceError, match=r"irq index 0 has 1 vector\b"):
        device.interrupts.enable(INTX, 1)
    with pytest.raises(DeviceError, match="irq index 2 has 0 vectors"):
        device.interrupts.enable(2, 0)
    with pytest.raises(DeviceError, match="the device has 5"):
        device.interrupts.enable(5, 0)
