# SPDX-License-Identifier: GPL-2.0-only
"""The module's files in sysfs do what its registers do. In a virtual machine:

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
    """The device, which nobody has open."""
    return Device(create(KernelGroupSettings(name=FOLDER.name, group=None, sysfs=str(FOLDER))))


@pytest.fixture
def device(closed: Device) -> Iterator[Device]:
    """The same, open and reset."""
    closed.open()
    closed.reset()
    yield closed
    closed.close()


def put(name: str, text: str) -> int:
    """The errno of a write to the file; 0 where it succeeds."""
    try:
        (FOLDER / name).write_text(text)
    except OSError as error:
        return error.errno or 0
    return 0


def get(name: str) -> int:
    """The number that the file reads."""
    return int((FOLDER / name).read_text(), 0)


def go(device: Device, state: int) -> tuple[int, int]:
    """The errno of a write of device_state, and what it reads then."""
    outcome = device.region(MIGRATION).try_write(STATE, int(state).to_bytes(4, "little"))
    return outcome.errno if outcome.value < 0 else 0, device.region(MIGRATION).read(STATE, 4)


def test_counter_stands_with_the_device(device: Device) -> None:
    """It moves while the device works, and not while it is stopped."""
    first = get("counter")
    assert first < get("counter")
    go(device, DeviceState.STOP)
    assert get("counter") == get("counter") > first


def test_state_is_the_scratch_register(device: Device) -> None:
    """Either is what the other was given, in any notation; a word is refused."""
    assert put("state", "0x1234567890abcdef\n") == 0
    assert device.region(REGISTERS).read(SCRATCH0, 8) == 0x1234567890ABCDEF
    device.region(REGISTERS).write(SCRATCH0, 8, 17)
    assert get("state") == 17
    assert put("state", "nothing") == put("state", f"{1 << 64}") == errno.EINVAL
    assert get("state") == 17


@pytest.mark.parametrize(
    ("fault", "state"), [("error", DeviceState.ERROR), ("refusal", DeviceState.RUNNING)], ids=["error", "refusal"]
)
def test_faults_of_transitions(device: Device, fault: str, state: DeviceState) -> None:
    """The next write of device_state fails, once, and ends where it should."""
    assert put("fault", f"{fault}\n") == 0
    assert go(device, DeviceState.STOP) == (errno.EIO, state)
    device.reset()
    assert go(device, DeviceState.STOP) == (0, DeviceState.STOP)


def test_fault_of_saving(device: Device) -> None:
    """The next buffer fails, once."""
    go(device, DeviceState.STOP_AND_COPY)
    region = device.region(MIGRATION)
    assert region.read(PENDING, 8)
    assert put("fault", "save") == 0
    assert region.try_read(OFFSET, 8)[0].errno == errno.EIO
    assert region.try_read(OFFSET, 8)[0].value == 8


def test_fault_of_resuming(device: Device) -> None:
    """The next write of data_size fails, once."""
    go(device, DeviceState.RESUMING)
    region = device.region(MIGRATION)
    assert put("fault", "resume") == 0
    assert region.try_write(SIZE, bytes(8)).errno == errno.EIO
    assert region.try_write(SIZE, bytes(8)).value == 8


def test_other_faults_are_refused(device: Device) -> None:
    """A word that is none, or nothing."""
    assert put("fault", "bogus\n") == put("fault", "\n") == errno.EINVAL
    assert go(device, DeviceState.STOP) == (0, DeviceState.STOP)


def dirty(tracker: DirtyTracker) -> int:
    """The first byte of the bitmap of eight pages."""
    return tracker.try_bitmap(IOVA, 8 * PAGE, PAGE)[1][0]


def test_pinned_pages_are_dirty(device: Device) -> None:
    """Until they are unpinned, and once after that; the registers keep what they hold."""
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
def test_what_is_no_range_is_refused(device: Device, name: str, text: str) -> None:
    """Numbers that are missing or too many, and parts of pages."""
    assert put(name, f"{text}\n") == errno.EINVAL


def test_what_is_not_mapped_is_not_pinned(device: Device) -> None:
    """It is the user's memory that is pinned."""
    assert put("pin", f"{IOVA} {PAGE}") == errno.EFAULT


def test_a_device_that_is_closed_pins_nothing(closed: Device) -> None:
    """Nobody's memory is there to be pinned."""
    assert put("pin", f"{IOVA} {PAGE}") == put("unpin", f"{IOVA} {PAGE}") == errno.ENODEV


@pytest.mark.parametrize("name", ["pin", "unpin", "fault"])
def test_what_is_only_written_cannot_be_read(name: str) -> None:
    """Its mode says so, and only root may write."""
    assert (FOLDER / name).stat().st_mode & 0o777 == 0o200
