# SPDX-License-Identifier: GPL-2.0-only
"""The PCI configuration space as in the datasheet, the same in the server and in the module.

The server is tested on this machine, the module in a guest:

    vfio-compliance vm --kernels 6.12 -- \
        pytest -p no:cacheprovider tools/tests/refdriver/test_configuration.py \
        --target profiles/refdriver-kernel.yaml
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from errno import EINVAL, ENOTTY
from pathlib import Path
from typing import Any

import pytest
from raw_client import COUNTER, eventually

from vfio_compliance import profiles
from vfio_compliance.device import Device
from vfio_compliance.device.region import Region
from vfio_compliance.profiles import KernelGroupDevice, Profile, VfioUserDevice
from vfio_compliance.run.reaching import way_to
from vfio_compliance.sections import PROFILE
from vfio_compliance.transport import VfioUserSettings, create
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_IRQ_INFO, RegionFlags, ffi

#: Region indexes of a PCI device.
REGISTERS, MEMORY, CONFIGURATION, VGA = 0, 2, 7, 8
#: Interrupt indexes.
INTX, MSI, MSI_X, ERRORS, REQUESTS = range(5)

SIZE = 256
COMMAND, BAR0, BAR2, INTERRUPT_LINE = 0x04, 0x10, 0x18, 0x3C
BARS = range(BAR0, BAR0 + 4 * 6, 4)
#: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO
HOT_RESET_INFO = 0x3B70
SYSFS_MEMORY = Path("/sys/module/vfio_refdriver/parameters/memory")


class Sheet:
    """One of the datasheet's two forms: the content after a reset, and the bits that can be written."""

    def __init__(self, memory: int, messages: bool) -> None:
        """``memory``: bytes that BAR 2 decodes. ``messages``: whether the form has MSI."""
        self.first, self.writable = bytearray(SIZE), bytearray(SIZE)
        for offset, width, value, writable in (
            (0x00, 2, 0x1AF4, 0),
            (0x02, 2, 0x10F1, 0),
            (COMMAND, 2, 0, 0x0546),
            (0x08, 1, 1, 0),
            (0x09, 3, 0x088000, 0),
            (0x0C, 1, 0, 0xFF),
            (0x0D, 1, 0, 0xFF),
            (BAR0, 4, 0, 0xFFFFF000),
            (BAR2, 4, 0, -memory & 0xFFFFFFFF),
            (0x2C, 2, 0x1AF4, 0),
            (0x2E, 2, 0x10F1, 0),
            (INTERRUPT_LINE, 1, 0, 0xFF),
        ):
            self._put(offset, width, value, writable)
        if messages:
            self._put(0x06, 2, 0x0010, 0)
            self._put(0x34, 1, 0x40, 0)
            self._put(0x40, 4, 0x0082_0005, 0x0071_0000)
            self._put(0x44, 4, 0, 0xFFFFFFFC)
            self._put(0x48, 4, 0, 0xFFFFFFFF)
            self._put(0x4C, 2, 0, 0xFFFF)

    def _put(self, offset: int, width: int, value: int, writable: int) -> None:
        self.first[offset : offset + width] = value.to_bytes(width, "little")
        self.writable[offset : offset + width] = writable.to_bytes(width, "little")

    def after(self, content: bytes, offset: int, data: bytes) -> bytes:
        """The content after a write."""
        result = bytearray(content)
        for place, byte in enumerate(data, offset):
            result[place] = result[place] & ~self.writable[place] | byte & self.writable[place]
        return bytes(result)


@pytest.fixture(scope="module")
def profile(target: Path) -> Profile:
    """The profile of the server or of the module."""
    return profiles.load(target, PROFILE)


@pytest.fixture(scope="module")
def attached(profile: Profile) -> Iterator[Device]:
    """The device, open."""
    device = Device(way_to(profile, profile.device, []))
    device.open()
    yield device
    device.close()


@pytest.fixture
def device(attached: Device) -> Device:
    """The device, after a reset."""
    attached.reset()
    return attached


@pytest.fixture
def space(device: Device) -> Region:
    """Its configuration space."""
    return device.region(CONFIGURATION)


@pytest.fixture
def sheet(profile: Profile) -> Sheet:
    """Its form in the datasheet."""
    return Sheet(64 << 10, isinstance(profile.device, VfioUserDevice))


@pytest.fixture
def with_memory(profile: Profile, attached: Device, tmp_path: Path) -> Iterator[Callable[[int], Device]]:
    """Opens a device with this number of bytes of device memory."""
    opened: list[Device] = []
    of_module = isinstance(profile.device, KernelGroupDevice)
    before = SYSFS_MEMORY.read_text() if of_module else ""

    def other(size: int) -> Device:
        if of_module:
            attached.close()
            SYSFS_MEMORY.write_text(f"{size}\n")
            attached.open()
            return attached
        assert isinstance(profile.device, VfioUserDevice)
        settings: dict[str, Any] = {"call_deadline": profile.limits.call, "start_deadline": profile.limits.test}
        command, more = profile.device.command, (f"--memory={size}",)
        opened.append(Device(create(VfioUserSettings(str(tmp_path / "s"), command, extra_arguments=more, **settings))))
        opened[-1].open()
        return opened[-1]

    yield other
    for each in opened:
        each.close()
    if of_module:
        attached.close()
        SYSFS_MEMORY.write_text(before)
        attached.open()


def test_content_is_as_in_the_datasheet(space: Region, sheet: Sheet) -> None:
    """The whole space, in one read."""
    assert space.read_bytes(0, SIZE) == bytes(sheet.first)


@pytest.mark.parametrize("offset", range(0, SIZE, 4), ids=hex)
def test_only_writable_bits_change(space: Region, sheet: Sheet, offset: int) -> None:
    """All ones, then all zeros; no other offset changes."""
    for data in (b"\xff" * 4, bytes(4)):
        space.write_bytes(offset, data)
        assert space.read_bytes(0, SIZE) == sheet.after(bytes(sheet.first), offset, data)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 8, 64, SIZE])
def test_content_is_the_same_at_every_width(space: Region, sheet: Sheet, width: int) -> None:
    """Written and read from end to end in pieces of this width; the last one is shorter."""
    ones = sheet.after(bytes(sheet.first), 0, b"\xff" * SIZE)
    for offset in range(0, SIZE, width):
        outcome = space.try_write(offset, b"\xff" * min(width, SIZE - offset))
        assert outcome.value == min(width, SIZE - offset)
    assert b"".join(space.read_bytes(at, min(width, SIZE - at)) for at in range(0, SIZE, width)) == ones


def test_random_writes_follow_a_model(space: Region, sheet: Sheet) -> None:
    """Any value at any offset, width and alignment has the effect in the datasheet."""
    draw = random.Random(14)
    content = bytes(sheet.first)
    for _ in range(300):
        offset = draw.randrange(0x50)
        data = draw.randbytes(draw.randint(1, 8))
        space.write_bytes(offset, data)
        content = sheet.after(content, offset, data)
        at = draw.randrange(SIZE - 8)
        length = draw.randint(1, 8)
        assert space.read_bytes(at, length) == content[at : at + length]
    assert space.read_bytes(0, SIZE) == content


@pytest.mark.parametrize(("offset", "count"), [(SIZE - 1, 2), (SIZE, 1), (0, SIZE + 1), (1 << 32, 4), (SIZE - 4, 8)])
def test_access_past_the_end_is_refused(space: Region, sheet: Sheet, offset: int, count: int) -> None:
    """EINVAL for an access that is not wholly inside, without any effect."""
    assert space.try_read(offset, count)[0].errno == EINVAL
    assert space.try_write(offset, b"\xff" * count).errno == EINVAL
    assert space.read_bytes(0, SIZE) == bytes(sheet.first)


def test_reset_restores_the_content(device: Device, space: Region, sheet: Sheet) -> None:
    """Everything reads as it did at first."""
    space.write_bytes(0, b"\xff" * SIZE)
    device.reset()
    assert space.read_bytes(0, SIZE) == bytes(sheet.first)


def test_next_user_finds_the_first_content(device: Device, space: Region, sheet: Sheet) -> None:
    """Whatever the previous user has written."""
    space.write_bytes(0, b"\xff" * SIZE)
    device.reopen()
    assert device.region(CONFIGURATION).read_bytes(0, SIZE) == bytes(sheet.first)


def test_writes_do_not_change_the_device(device: Device, space: Region) -> None:
    """Registers, memory and COUNTER are accessible with any command and any BARs."""
    for command in (0xFFFF, 0):
        space.write(COMMAND, 2, command)
        for bar in BARS:
            space.write(bar, 4, 0xE0000000 if command else 0)
        assert device.region(REGISTERS).read(0, 4) == 0x314D4656
        device.region(MEMORY).write(8, 8, command + 1)
        assert device.region(MEMORY).read(8, 8) == command + 1
        before = device.region(REGISTERS).read(COUNTER, 8)
        eventually(lambda before=before: device.region(REGISTERS).read(COUNTER, 8) > before)


def test_each_pci_region_is_described(device: Device) -> None:
    """Registers, memory and configuration space can be read and written; all others are empty."""
    sizes = {REGISTERS: 4096, MEMORY: 64 << 10, CONFIGURATION: SIZE}
    access = RegionFlags.READ | RegionFlags.WRITE
    found = {region.index: (region.size, region.flags) for region in device.regions if region.index <= VGA}
    assert found == {
        index: (sizes[index], access) if index in sizes else (0, RegionFlags(0)) for index in range(VGA + 1)
    }


def test_each_bar_decodes_its_region(device: Device, space: Region) -> None:
    """Sized by writing all ones, as a client does."""
    for index, bar in enumerate(BARS):
        space.write(bar, 4, 0xFFFFFFFF)
        assert -(space.read(bar, 4) & 0xFFFFFFF0) & 0xFFFFFFFF == device.region(index).size
        assert space.read(bar, 4) & 0xF == 0


@pytest.mark.parametrize(
    ("memory", "decoded"), [(0, 0), (1, 16), (16, 16), (4095, 4096), (65537, 128 << 10), (64 << 20, 64 << 20)]
)
def test_bar_decodes_a_power_of_two(
    with_memory: Callable[[int], Device], profile: Profile, memory: int, decoded: int
) -> None:
    """At least as many bytes as its region has, and 16; an absent region has no BAR."""
    device = with_memory(memory)
    assert device.region(MEMORY).size == memory
    space = device.region(CONFIGURATION)
    space.write_bytes(0, b"\xff" * SIZE)
    expected = Sheet(decoded, isinstance(profile.device, VfioUserDevice))
    assert space.read_bytes(0, SIZE) == expected.after(bytes(expected.first), 0, b"\xff" * SIZE)


def irq_info(device: Device, index: int) -> tuple[int, int]:
    """Errno and number of vectors from GET_IRQ_INFO."""
    info: Any = ffi.new("struct vfio_irq_info *", {"argsz": ffi.sizeof("struct vfio_irq_info"), "index": index})
    outcome = device.try_request(VFIO_DEVICE_GET_IRQ_INFO, info)
    return outcome.errno or 0, info.count


def test_interrupts_match_the_configuration_space(device: Device, space: Region) -> None:
    """As many messages as the MSI capability names; no pin, so no INTx; EINVAL for errors, which need PCI Express."""
    pin, capability = space.read(0x3D, 1), space.read(0x34, 1)
    messages = 1 << (space.read(capability + 2, 2) >> 1 & 7) if capability else 0
    answers = {index: irq_info(device, index) for index in (INTX, MSI, MSI_X, ERRORS, REQUESTS, REQUESTS + 1)}
    assert pin == 0
    assert answers == {
        INTX: (0, 0),
        MSI: (0, messages),
        MSI_X: (0, 0),
        ERRORS: (EINVAL, 0),
        REQUESTS: (0, 0),
        REQUESTS + 1: (EINVAL, 0),
    }


def test_bus_reset_is_not_offered(device: Device, space: Region, sheet: Sheet) -> None:
    """A client that asks what a bus reset affects is refused, and the device continues."""
    asked = ffi.new("uint32_t[3]", [12])
    assert device.try_request(HOT_RESET_INFO, asked).errno == ENOTTY
    assert space.read_bytes(0, SIZE) == bytes(sheet.first)
