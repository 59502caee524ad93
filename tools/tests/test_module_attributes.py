# SPDX-License-Identifier: GPL-2.0-only
"""The sysfs files of the module do the same as its registers. These tests run in a virtual machine:

vfio-compliance vm --kernels 6.12 -- pytest -p no:cacheprovider tools/tests/test_module_attributes.py
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_compliance.device import Device, DirtyTracker, DmaMap
from vfio_compliance.transport import KernelGroupSettings, create
from vfio_compliance.uapi.migration_v1 import DeviceState

FOLDER = Path("/sys/bus/platform/devices/vfio_refdriver.0")
IOVA, PAGE = 0x1_0000_0000, 4096
REGISTERS, MIGRATION = 0, 9
SCRATCH0, PIN_ADDRESS, PIN_LENGTH = 0x28, 0x50, 0x58
#: Registers of the migration region.
STATE, PENDING, OFFSET, SIZE = 0, 8, 16, 24

pytestmark = pytest.mark.skipif("not FOLDER.exists()", reason="the module is not loaded here")


@pytest.fixture
def closed() -> Device:
    """The device, which is not open."""
    return Device(create(KernelGroupSettings(name=FOLDER.name, group=None, sysfs=str(FOLDER))))


@pytest.fixture
def device(closed: Device) -> Iterator[Device]:
    """The same, open and reset."""
    closed.open()
    closed.reset()
    yield closed
    closed.close()


def put(name: str, text: str) -> int:
    """The errno of a write to the file; 0 if it succeeds."""
    try:
        (FOLDER / name).write_text(text)
    except OSError as error:
        return error.errno or 0
    return 0


def get(name: str) -> int:
    """The number in the file."""
    return int((FOLDER / name).read_text(), 0)


def go(device: Device, state: int) -> tuple[int, int]:
    """The errno of a write of device_state, and its value afterwards."""
    outcome = device.region(MIGRATION).try_write(STATE, int(state).to_bytes(4, "little"))
    return outcome.errno if outcome.value < 0 else 0, device.region(MIGRATION).read(STATE, 4)


def test_the_counter_stops_with_the_device(device: Device) -> None:
    """It changes while the device runs, and not while it is stopped."""
    first = get("counter")
    assert first < get("counter")
    go(device, DeviceState.STOP)
    assert get("counter") == get("counter") > first


def test_the_state_is_the_scratch_register(device: Device) -> None:
    """Each reads what was written to the other, in any notation; text that is not a number is refused."""
    assert put("state", "0x1234567890abcdef\n") == 0
    assert device.region(REGISTERS).read(SCRATCH0, 8) == 0x1234567890ABCDEF
    device.region(REGISTERS).write(SCRATCH0, 8, 17)
    assert get("state") == 17
    assert put("state", "nothing") == put("state", f"{1 << 64}") == errno.EINVAL
    assert get("state") == 17


@pytest.mark.parametrize(
    ("fault", "state"), [("error", DeviceState.ERROR), ("refusal", DeviceState.RUNNING)], ids=["error", "refusal"]
)
def test_a_fault_of_a_transition(device: Device, fault: str, state: DeviceState) -> None:
    """The next write of device_state fails once, and leaves the expected state."""
    assert put("fault", f"{fault}\n") == 0
    assert go(device, DeviceState.STOP) == (errno.EIO, state)
    device.reset()
    assert go(device, DeviceState.STOP) == (0, DeviceState.STOP)


def test_fault_of_saving(device: Device) -> None:
    """The next buffer fails once."""
    go(device, DeviceState.STOP_AND_COPY)
    region = device.region(MIGRATION)
    assert region.read(PENDING, 8)
    assert put("fault", "save") == 0
    assert region.try_read(OFFSET, 8)[0].errno == errno.EIO
    assert region.try_read(OFFSET, 8)[0].value == 8


def test_fault_of_resuming(device: Device) -> None:
    """The next write of data_size fails once."""
    go(device, DeviceState.RESUMING)
    region = device.region(MIGRATION)
    assert put("fault", "resume") == 0
    assert region.try_write(SIZE, bytes(8)).errno == errno.EIO
    assert region.try_write(SIZE, bytes(8)).value == 8


def test_other_faults_are_refused(device: Device) -> None:
    """An unknown word, and an empty line."""
    assert put("fault", "bogus\n") == put("fault", "\n") == errno.EINVAL
    assert go(device, DeviceState.STOP) == (0, DeviceState.STOP)


def dirty(tracker: DirtyTracker) -> int:
    """The first byte of the bitmap of eight pages."""
    return tracker.try_bitmap(IOVA, 8 * PAGE, PAGE)[1][0]


def test_pinned_pages_are_dirty(device: Device) -> None:
    """Until they are unpinned, and once after that; the registers keep their values."""
    registers, tracker = device.region(REGISTERS), DirtyTracker(device.transport)
    registers.write(PIN_ADDRESS, 8, 7)
    with DmaMap(device.transport, IOVA, 8 * PAGE):
        assert tracker.try_start().ok
        assert dirty(tracker) == dirty(tracker) == 0
        assert put("pin", f"{IOVA + PAGE:#x} {2 * PAGE}\n") == 0
        assert dirty(tracker) == dirty(tracker) == 0b110
        assert put("unpin", f"{IOVA + PAGE} {PAGE:#x}") == errno.EINVAL
        assert put("unpin", f"{IOVA + PAGE}\t{2 * PAGE:#x} \n") == 0
        assert [dirty(tracker), dirty(tracker)] == [0b110, 0]
        assert tracker.try_stop().ok
    assert (registers.read(PIN_ADDRESS, 8), registers.read(PIN_LENGTH, 4)) == (7, 0)


@pytest.mark.parametrize("name", ["pin", "unpin"])
@pytest.mark.parametrize(
    "text", ["", "\n", "4096", "4096 4096 4096", "0 0", "1 4096", "0 1", f"0 {1 << 32}", "a b", " " * 64 + "0 4096"]
)
def test_an_invalid_range_is_refused(device: Device, name: str, text: str) -> None:
    """Missing or extra numbers, and parts of pages."""
    assert put(name, f"{text}\n") == errno.EINVAL


def test_unmapped_memory_is_not_pinned(device: Device) -> None:
    """Only the user's memory can be pinned."""
    assert put("pin", f"{IOVA} {PAGE}") == errno.EFAULT


def test_a_closed_device_pins_nothing(closed: Device) -> None:
    """It has no user, and so no memory to pin."""
    assert put("pin", f"{IOVA} {PAGE}") == put("unpin", f"{IOVA} {PAGE}") == errno.ENODEV


@pytest.mark.parametrize("name", ["pin", "unpin", "fault"])
def test_a_write_only_file(name: str) -> None:
    """Its mode allows only root to write, and no one to read."""
    assert (FOLDER / name).stat().st_mode & 0o777 == 0o200
