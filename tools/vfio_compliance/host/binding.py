# SPDX-License-Identifier: GPL-2.0-only
"""Binds a PCI device to a VFIO driver, and gives it back to the driver that it had."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from ..transport.host import Host
from .machine import HostError, Machine, PciDevice, has_driver, is_name, pci_address
from .record import Before, Record, alone
from .uses import uses

_UNDO: Final = "`vfio-compliance unbind {}` gives it back"

#: The most characters of a wrong word that are shown.
_SHOWN: Final = 80

#: Seconds to wait for the file of a group.
_PATIENCE: Final = 5.0
_LOOK: Final = 0.05


def bind(machine: Machine, address: str, driver: str, *, force: bool = False) -> list[str]:
    """Bind a device to ``driver``; returns lines for the user.

    The present state is written to disk before anything is changed, and a failure undoes what was done. ``force``: even
    if a disk or a network in use is taken away. Raises HostError.
    """
    address = _checked(address)
    device = PciDevice(machine, address)
    if not device.present:
        raise HostError(f"there is no device {address} on PCI: correct the address (lspci -D lists them)")
    if device.is_bridge:
        raise HostError(f"{address} is a bridge: VFIO does not take bridges; name a device behind it")
    if not is_name(driver) or not has_driver(machine, driver):
        raise HostError(f"there is no driver {driver[:_SHOWN]!r} for PCI devices: load its module with modprobe")
    with alone(machine):
        record = Record(machine, address)
        known = record.read()
        if device.driver == driver and device.override in ("", driver):
            kept = _UNDO.format(address) if known else "nothing was changed"
            return [f"{address} is bound to {driver} already; {kept}", *_group(machine, device)]
        if device.group is None:
            raise HostError(
                f"{address} belongs to no IOMMU group: switch on VT-d or AMD-Vi in the firmware, and boot with "
                "intel_iommu=on or amd_iommu=on"
            )
        if not force and (used := uses(machine, device)):
            raise HostError(f"{address} is in use: {'; '.join(used)}; end that first, or use --force to take it away")
        # An earlier call may have been killed: then its record is the original state.
        before = known or Before(device.driver, device.override)
        record.write(before)
        try:
            _give(device, driver)
        except (HostError, OSError, KeyboardInterrupt) as error:
            _give_back(machine, device, before, f"{_said(error)}; ")
            record.remove()
            raise HostError(f"{_said(error)}; {address} is as it was") from None
        return [f"{address} is bound to {driver}; {_UNDO.format(address)}", *_group(machine, device)]


def unbind(machine: Machine, address: str) -> str:
    """Give a device back to the driver that it had before bind(); returns a sentence that says so. Raises HostError."""
    address = _checked(address)
    record, device = Record(machine, address), PciDevice(machine, address)
    if record.read() is None:
        raise HostError(
            f"{address} was not bound by `vfio-compliance bind` since this machine was started, so there is nothing to"
            " give back"
        )
    with alone(machine):
        before = record.read()
        if before is None:
            return f"{address} has been given back in the meantime"
        if not device.present:
            record.remove()
            return f"{address} is no longer there; if it comes back, the kernel chooses its driver"
        if device.driver != before.driver and (used := uses(machine, device)):
            raise HostError(f"{address} is in use: {'; '.join(used)}; end that first")
        _give_back(machine, device, before)
        record.remove()
        return f"{address} is as it was, {_named(before.driver)}"


def _checked(word: str) -> str:
    """The address of a PCI device. Raises HostError for a word that is not an address."""
    if address := pci_address(word):
        return address
    raise HostError(f"{word[:_SHOWN]!r} is not a PCI address such as 0000:65:00.0")


def _give(device: PciDevice, driver: str) -> None:
    """Raises HostError, OSError."""
    device.set_override(driver)
    if device.driver:
        device.unbind()
    device.probe()
    if device.driver != driver:
        seen = _named(device.driver) if device.present else "gone"
        raise HostError(
            f"{device.address} was offered to {driver}, and is now {seen}: see the kernel log for the reason"
        )


def _give_back(machine: Machine, device: PciDevice, before: Before, why: str = "") -> None:
    """Whatever state it is in now. Raises HostError, which begins with ``why``; the device's record is kept then."""
    try:
        if device.driver and device.driver != before.driver:
            device.unbind()
        if device.override != before.override:
            device.set_override(before.override)
        if before.driver and device.driver != before.driver:
            if not has_driver(machine, before.driver):
                raise HostError(f"its driver {before.driver} is no longer loaded: modprobe {before.driver}")
            device.bind(before.driver)
    except (HostError, OSError) as error:
        if not device.present:
            return
        raise HostError(
            f"{why}{device.address} could not be given back to {_named(before.driver)}: {_said(error)}; then call "
            f"`vfio-compliance unbind {device.address}` again"
        ) from None


def _group(machine: Machine, device: PciDevice) -> Iterator[str]:
    """Lines on whether the group can be used now, and what is missing."""
    group = device.group
    if group is None:
        return
    for name, driver in Host(machine.root).obstacles(group).items():
        if driver == device.driver:  # a vendor's, whatever its name
            continue
        yield f"group {group} cannot be used yet: {name} of it is bound to {driver}; vfio-compliance bind {name}"
    place = f"dev/vfio/{group}"
    end = time.monotonic() + _PATIENCE
    while not machine.exists(place) and time.monotonic() < end:
        time.sleep(_LOOK)
    yield f"its group is /{place}" + ("" if machine.exists(place) else ", which has not appeared: is udev running?")


def _named(driver: str) -> str:
    return f"bound to {driver}" if driver else "bound to no driver"


def _said(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the kernel'}: {error.strerror}"
    return str(error) or "interrupted"
