# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's group interface, with a fake kernel and made-up /dev, /sys and /proc."""

from __future__ import annotations

import errno
import os
import pwd
import resource
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.transport import KernelGroup, KernelGroupSettings, Outcome, SetupError, Target, create, libc
from vfio_compliance.uapi.type1 import VFIO_IOMMU_MAP_DMA
from vfio_compliance.uapi.vfio import (
    VFIO_CHECK_EXTENSION,
    VFIO_DEVICE_GET_REGION_INFO,
    VFIO_DEVICE_RESET,
    VFIO_GET_API_VERSION,
    VFIO_GROUP_GET_DEVICE_FD,
    VFIO_GROUP_GET_STATUS,
    VFIO_GROUP_SET_CONTAINER,
    VFIO_SET_IOMMU,
    ffi,
)

NAME = "0000:01:00.0"
REGION_OFFSET = 4096

Handler = Callable[[Any], int]


class FakeKernel:
    """Answers as VFIO does; ``answers`` overrides the result of a request (negative: that errno).

    The device is a file with region 9 at REGION_OFFSET, of two pages; other regions have no information.
    """

    def __init__(self) -> None:
        self.answers: dict[int, int | Handler] = {}
        self.unopenable: dict[str, int] = {}
        self.requests: list[tuple[str, int, int]] = []
        self._names: dict[int, str] = {}
        self._errno = 0

    def open(self, path: Path) -> int:
        if path.name in self.unopenable:
            code = self.unopenable[path.name]
            raise OSError(code, os.strerror(code), str(path))
        return self._new(path.name)

    def duplicate(self, descriptor: int) -> int:
        another = os.dup(descriptor)
        self._names[another] = self._names[descriptor]
        return another

    def close(self, descriptor: int) -> None:
        del self._names[descriptor]
        os.close(descriptor)

    def ioctl(self, descriptor: int, request: int, argument: Any) -> int:
        self.requests.append((self._names[descriptor], request, int(ffi.cast("uintptr_t", argument))))
        answer = self.answers.get(request)
        if callable(answer):
            answer = answer(argument)
        if answer is None:
            answer = self._ordinary(request, argument)
        if answer < 0:
            self._errno = -answer
            return -1
        return answer

    def pread(self, descriptor: int, data: Any, length: int, offset: int) -> int:
        return self._note(libc.pread64(descriptor, data, length, offset))

    def pwrite(self, descriptor: int, data: Any, length: int, offset: int) -> int:
        return self._note(libc.pwrite64(descriptor, data, length, offset))

    def errno(self) -> int:
        return self._errno

    @property
    def open_files(self) -> list[str]:
        """Names of the open files."""
        return sorted(self._names.values())

    def _note(self, value: int) -> int:
        self._errno = libc.ffi.errno
        return value

    def _new(self, name: str) -> int:
        descriptor = os.memfd_create(name)
        os.truncate(descriptor, REGION_OFFSET + 8192)
        self._names[descriptor] = name
        return descriptor

    def _ordinary(self, request: int, argument: Any) -> int:
        if request == VFIO_CHECK_EXTENSION:
            return 1
        if request == VFIO_GROUP_GET_STATUS:
            ffi.cast("struct vfio_group_status *", argument).flags = 1  # type: ignore[attr-defined]
        elif request == VFIO_GROUP_GET_DEVICE_FD:
            return self._new("device")
        elif request == VFIO_DEVICE_GET_REGION_INFO:
            info: Any = ffi.cast("struct vfio_region_info *", argument)
            if info.index != 9:
                return -errno.EINVAL
            info.flags, info.size, info.offset = 7, 8192, REGION_OFFSET
        return 0


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel in which everything succeeds."""
    return FakeKernel()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with the device in group 12, bound to vfio-pci, and a network card that is not."""
    (tmp_path / "dev/vfio").mkdir(parents=True)
    for name in ("vfio", "12"):
        (tmp_path / "dev/vfio" / name).touch()
    (tmp_path / "sys/module/vfio").mkdir(parents=True)
    for group in (0, 1, 2, 7):
        (tmp_path / f"sys/kernel/iommu_groups/{group}/devices").mkdir(parents=True)
    add_device(tmp_path, 12, NAME, "vfio-pci")
    return tmp_path


def add_device(root: Path, group: int, name: str, driver: str | None) -> Path:
    """Put a device into a group."""
    device = root / "sys/bus/pci/devices" / name
    device.mkdir(parents=True)
    members = root / f"sys/kernel/iommu_groups/{group}/devices"
    members.mkdir(parents=True, exist_ok=True)
    (device / "iommu_group").symlink_to(members.parent)
    (members / name).symlink_to(device)
    if driver:
        (device / "driver").symlink_to(root / "sys/bus/pci/drivers" / driver)
    return device


@pytest.fixture
def device(kernel: FakeKernel, root: Path) -> Iterator[KernelGroup]:
    """The device, closed."""
    transport = KernelGroup(KernelGroupSettings(NAME, 12, None), root, kernel)
    yield transport
    transport.shutdown()
    assert kernel.open_files == []


def refused(device: KernelGroup) -> SetupError:
    """The error of opening the device."""
    with pytest.raises(SetupError) as caught:
        device.open()
    assert not device.is_open
    return caught.value


# Opening


def test_open_takes_the_documented_steps(device: KernelGroup, kernel: FakeKernel) -> None:
    """Version, extension, viability, container, IOMMU, device; all of it traced."""
    device.open()
    steps = [
        ("vfio", VFIO_GET_API_VERSION),
        ("vfio", VFIO_CHECK_EXTENSION),
        ("12", VFIO_GROUP_GET_STATUS),
        ("12", VFIO_GROUP_SET_CONTAINER),
        ("vfio", VFIO_SET_IOMMU),
        ("12", VFIO_GROUP_GET_DEVICE_FD),
    ]
    assert [request[:2] for request in kernel.requests] == steps
    assert kernel.requests[1][2] == kernel.requests[4][2] == 3
    assert kernel.open_files == ["12", "device", "vfio"]
    calls = device.tracer.calls
    container, *asked, device_fd = [call for call in calls if call.verb == "ioctl"]
    assert [call.number for call in (container, *asked, device_fd)] == [number for _, number in steps]
    assert device_fd.sent == NAME.encode() + b"\0"
    opened = [(call.target, call.sent.rpartition(b"/")[2]) for call in calls if call.verb == "open"]
    assert opened == [("container", b"vfio"), ("group", b"12"), ("device", b"")]
    assert [call.serial for call in calls] == list(range(1, 10))
    device.close()
    assert kernel.open_files == []
    device.open()
    assert device.tracer.counts.opens == 2


def test_second_device_joins_the_container(device: KernelGroup, kernel: FakeKernel, root: Path) -> None:
    """Its group is added to the container, which has its IOMMU already; closing it leaves the first one open."""
    other = "0000:02:00.0"
    add_device(root, 13, other, "vfio-pci")
    (root / "dev/vfio/13").touch()
    second = KernelGroup(KernelGroupSettings(other, 13, None), root, kernel, beside=device)
    with pytest.raises(SetupError, match="not open"):
        second.open()
    device.open()
    kernel.requests.clear()
    joined: list[int] = []
    kernel.answers[VFIO_GROUP_SET_CONTAINER] = lambda argument: joined.append(ffi.cast("int *", argument)[0]) or 0
    second.open()
    assert [request[:2] for request in kernel.requests] == [
        ("13", VFIO_GROUP_GET_STATUS),
        ("13", VFIO_GROUP_SET_CONTAINER),
        ("13", VFIO_GROUP_GET_DEVICE_FD),
    ]
    assert os.path.sameopenfile(joined[0], device._files[Target.CONTAINER])
    second.read(9, 0, 8)
    second.ioctl(Target.DEVICE, VFIO_DEVICE_RESET)
    second.close()
    assert kernel.open_files == ["12", "device", "vfio"]
    assert device.read(9, 0, 8)[0].ok
    calls = device.tracer.calls
    assert [call.target for call in calls[-6:]] == [
        "second device",  # asks for the offset of region 9
        "second region 9",
        "second device",
        "second device",
        "device",
        "region 9",
    ]
    assert (device.tracer.counts.resets, device.tracer.counts.opens) == (1, 2)


def test_second_device_is_closed_with_the_first(device: KernelGroup, kernel: FakeKernel, root: Path) -> None:
    """Before it, as it keeps the container open."""
    second = KernelGroup(KernelGroupSettings("0000:01:00.2", 12, None), root, kernel, beside=device)
    device.open()
    second.open()
    device.close()
    assert not second.is_open
    assert kernel.open_files == []


def test_second_device_of_the_same_group(device: KernelGroup, kernel: FakeKernel, root: Path) -> None:
    """The group is open already, and is not opened twice."""
    second = KernelGroup(KernelGroupSettings("0000:01:00.2", 12, None), root, kernel, beside=device)
    device.open()
    kernel.requests.clear()
    kernel.unopenable["12"] = errno.EBUSY
    second.open()
    assert [request[:2] for request in kernel.requests] == [("12", VFIO_GROUP_GET_DEVICE_FD)]
    assert kernel.open_files == ["12", "12", "device", "device", "vfio", "vfio"]
    second.close()
    assert kernel.open_files == ["12", "device", "vfio"]


def test_group_is_found_in_sysfs(root: Path, kernel: FakeKernel) -> None:
    """By the device's iommu_group link."""
    device = KernelGroup(KernelGroupSettings(NAME, None, f"/sys/bus/pci/devices/{NAME}"), root, kernel)
    device.open()
    assert device.group == 12
    identity = device.identity()
    assert (identity["group"], identity["driver"], identity["device"]) == ("12", "vfio-pci", NAME)
    assert identity["kernel"] == os.uname().release
    device.close()


def test_settings_select_the_transport() -> None:
    """create() uses the type of the settings."""
    assert isinstance(create(KernelGroupSettings(NAME, 12, None)), KernelGroup)


# Set-up faults


def test_missing_module_is_named(device: KernelGroup, kernel: FakeKernel, root: Path) -> None:
    """It must be loaded, unless the kernel does not have it."""
    kernel.unopenable["vfio"] = errno.ENOENT
    (root / "sys/module/vfio").rmdir()
    error = refused(device)
    assert "/dev/vfio/vfio" in error.message
    assert "modprobe" in error.remedy


def test_missing_container_with_the_module_loaded(device: KernelGroup, kernel: FakeKernel) -> None:
    """The remedy is not to load it again."""
    kernel.unopenable["vfio"] = errno.ENOENT
    assert "VFIO is loaded" in refused(device).remedy


@pytest.mark.parametrize("name", ["vfio", "12"])
def test_forbidden_file_names_its_owner(device: KernelGroup, kernel: FakeKernel, root: Path, name: str) -> None:
    """And the user who tried."""
    kernel.unopenable[name] = errno.EACCES
    (root / "dev/vfio" / name).chmod(0o600)
    error = refused(device)
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert f"{me} may not open /dev/vfio/{name}: it belongs to {me}, mode 0600" in error.message
    assert f"chown {me} /dev/vfio/{name}" in error.remedy


@pytest.mark.parametrize(("answer", "reason"), [(7, "version 7"), (-errno.ENOTTY, "Inappropriate ioctl")])
def test_file_other_than_vfio_is_reported(device: KernelGroup, kernel: FakeKernel, answer: int, reason: str) -> None:
    """Another version, or another kind of file."""
    kernel.answers[VFIO_GET_API_VERSION] = answer
    assert reason in refused(device).message


def test_container_without_type1_is_reported(device: KernelGroup, kernel: FakeKernel) -> None:
    """The remedy is to load its module."""
    kernel.answers[VFIO_CHECK_EXTENSION] = 0
    assert "modprobe vfio_iommu_type1" in refused(device).remedy


def test_missing_group_is_reported(kernel: FakeKernel, root: Path) -> None:
    """With the groups that exist."""
    kernel.unopenable["99"] = errno.ENOENT
    error = refused(KernelGroup(KernelGroupSettings(NAME, 99, None), root, kernel))
    assert error.message == "there is no IOMMU group 99; there are 0-2, 7, 12"


def test_group_without_a_file_needs_a_driver_bound(kernel: FakeKernel, root: Path) -> None:
    """The group exists, but no vfio driver is bound to a device of it."""
    add_device(root, 7, "0000:02:00.0", "nvme")
    kernel.unopenable["7"] = errno.ENOENT
    error = refused(KernelGroup(KernelGroupSettings("0000:02:00.0", 7, None), root, kernel))
    assert "0000:02:00.0 (nvme)" in error.message
    assert "bind" in error.remedy


def test_machine_without_groups_has_its_iommu_off(kernel: FakeKernel, tmp_path: Path) -> None:
    """The remedy names the firmware and the command line."""
    kernel.unopenable["3"] = errno.ENOENT
    error = refused(KernelGroup(KernelGroupSettings(NAME, 3, None), tmp_path, kernel))
    assert "the IOMMU is off" in error.message
    assert "intel_iommu=on" in error.remedy


def test_device_without_a_group_has_its_iommu_off(kernel: FakeKernel, root: Path) -> None:
    """The error names the device."""
    (root / "sys/bus/pci/devices" / NAME / "iommu_group").unlink()
    sysfs = f"/sys/bus/pci/devices/{NAME}"
    error = refused(KernelGroup(KernelGroupSettings(NAME, None, sysfs), root, kernel))
    assert f"{sysfs} belongs to no IOMMU group" in error.message
    assert "intel_iommu=on" in error.remedy


def test_missing_device_is_reported(kernel: FakeKernel, root: Path) -> None:
    """Before anything is opened."""
    error = refused(KernelGroup(KernelGroupSettings(NAME, None, "/sys/bus/pci/devices/no"), root, kernel))
    assert "there is no device /sys/bus/pci/devices/no" in error.message
    error = refused(KernelGroup(KernelGroupSettings(NAME, None, None), root, kernel))
    assert "device.sysfs" in error.remedy


def test_group_in_use_names_its_users(device: KernelGroup, kernel: FakeKernel, root: Path) -> None:
    """By process number and name; this process is marked."""
    kernel.unopenable["12"] = errno.EBUSY
    for process, name in (("4242", "qemu-system-x86"), (str(os.getpid()), "python")):
        (root / "proc" / process / "fd").mkdir(parents=True)
        (root / "proc" / process / "comm").write_text(name + "\n")
        (root / "proc" / process / "fd/7").symlink_to("/dev/vfio/12")
    (root / "proc/5000/fd").mkdir(parents=True)
    (root / "proc/5000/fd/1").symlink_to("/dev/vfio/13")
    message = refused(device).message
    assert "process 4242 (qemu-system-x86)" in message
    assert f"process {os.getpid()} (this one)" in message
    assert "5000" not in message


def test_group_in_use_by_an_invisible_process(device: KernelGroup, kernel: FakeKernel) -> None:
    """Processes of other users cannot be inspected."""
    kernel.unopenable["12"] = errno.EBUSY
    assert "cannot see" in refused(device).message


def test_group_that_is_not_viable_names_the_other_devices(device: KernelGroup, kernel: FakeKernel, root: Path) -> None:
    """Those with a driver other than VFIO's; unbound devices and bridges are allowed."""
    add_device(root, 12, "0000:01:00.1", "snd_hda_intel")
    add_device(root, 12, "0000:01:00.2", None)
    add_device(root, 12, "0000:00:01.0", "pcieport")
    kernel.answers[VFIO_GROUP_GET_STATUS] = 0
    message = refused(device).message
    assert message.endswith("hold devices of it: 0000:01:00.1 (snd_hda_intel)")


@pytest.mark.parametrize(
    ("request_number", "code", "reason"),
    [
        (VFIO_GROUP_GET_STATUS, errno.ENOTTY, "VFIO_GROUP_GET_STATUS of group 12: Inappropriate ioctl"),
        (VFIO_GROUP_SET_CONTAINER, errno.EBUSY, "the container is busy"),
        (VFIO_GROUP_SET_CONTAINER, errno.EINVAL, "the container is busy"),
        (VFIO_GROUP_SET_CONTAINER, errno.ENOMEM, "VFIO_GROUP_SET_CONTAINER of group 12: Cannot allocate"),
        (VFIO_SET_IOMMU, errno.EPERM, "no interrupt remapping"),
        (VFIO_SET_IOMMU, errno.EBUSY, "the container of group 12 is busy"),
        (VFIO_SET_IOMMU, errno.ENODEV, "VFIO_SET_IOMMU with VFIO_TYPE1v2_IOMMU of group 12: No such device"),
        (VFIO_GROUP_GET_DEVICE_FD, errno.ENODEV, "has no device '0000:01:00.0'; it holds 0000:01:00.0"),
        (VFIO_GROUP_GET_DEVICE_FD, errno.EIO, "the driver refused to open 0000:01:00.0: Input/output error"),
    ],
)
def test_each_refused_step_has_its_message(
    device: KernelGroup, kernel: FakeKernel, request_number: int, code: int, reason: str
) -> None:
    """Everything opened before is closed again."""
    kernel.answers[request_number] = -code
    error = refused(device)
    assert reason in error.message
    assert error.remedy
    assert kernel.open_files == []


def test_wrong_device_name_lists_the_right_ones(kernel: FakeKernel, root: Path) -> None:
    """With their drivers."""
    kernel.answers[VFIO_GROUP_GET_DEVICE_FD] = -errno.ENODEV
    error = refused(KernelGroup(KernelGroupSettings("0000:01:00.9", 12, None), root, kernel))
    assert error.message == "group 12 has no device '0000:01:00.9'; it holds 0000:01:00.0 (vfio-pci)"
    assert "device.name" in error.remedy


def test_mapping_beyond_the_limit_is_a_host_fault(device: KernelGroup) -> None:
    """With the limit and the size needed; other errnos and requests are not host faults."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    shown = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft} bytes"
    error = device.host_fault(VFIO_IOMMU_MAP_DMA, Outcome(-1, errno.ENOMEM), 1 << 30)
    assert error is not None
    assert "1073741824 bytes" in error.message
    assert f"RLIMIT_MEMLOCK is {shown}" in error.message
    assert "ulimit -l" in error.remedy
    assert device.host_fault(VFIO_IOMMU_MAP_DMA, Outcome(-1, errno.EINVAL), 1) is None
    assert device.host_fault(VFIO_DEVICE_RESET, Outcome(-1, errno.ENOMEM), 1) is None


def check_refused(device: KernelGroup, available: str) -> None:
    """More memory than any machine has is refused, and a MiB is not."""
    with pytest.raises(SetupError) as caught:
        device.memory(1 << 62)
    assert caught.value.message == f"this machine cannot give a device {1 << 62} bytes of memory: {available}"
    assert "--memory" in caught.value.remedy
    device.memory(1 << 20).release()


@pytest.mark.parametrize(
    ("meminfo", "available"),
    [
        ("MemTotal: 999 kB\nMemAvailable:   65536 kB\n", "it has 67108864 to spare"),
        ("MemAvailable:\n", "it has less to spare"),
    ],
    ids=["known", "cut short"],
)
def test_more_memory_than_the_machine_has_is_refused(
    device: KernelGroup, root: Path, meminfo: str, available: str
) -> None:
    """Before any of it is locked, with the size available."""
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(meminfo)
    check_refused(device, available)


def test_too_much_memory_is_refused_without_meminfo(device: KernelGroup) -> None:
    """The size available is unknown."""
    check_refused(device, "it has less to spare")


def test_mapping_refused_for_lack_of_memory(device: KernelGroup, root: Path) -> None:
    """The limit is not blamed."""
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text("MemAvailable:   1024 kB\n")
    fault = Outcome(-1, errno.ENOMEM)
    short, enough = (device.host_fault(VFIO_IOMMU_MAP_DMA, fault, size) for size in (1 << 21, 1 << 20))
    assert short is not None
    assert enough is not None
    assert "1048576 to spare" in short.message
    assert "RLIMIT_MEMLOCK" in enough.message


def test_files_of_this_machine_are_the_default() -> None:
    """On any machine, opening a group that cannot exist is a set-up error."""
    device = KernelGroup(KernelGroupSettings("nothing", 2**31, None))
    error = refused(device)
    assert "/dev/vfio" in error.message or "group" in error.message


# Calls


def test_accesses_use_the_regions_offset(device: KernelGroup, kernel: FakeKernel) -> None:
    """It is requested once, unless it was requested before."""
    device.open()
    device.tracer.forget()
    assert device.write(9, 0x10, b"abcdefgh") == (8, 0)
    assert device.read(9, 0x11, 3) == ((3, 0), b"bcd")
    assert device.read(9, 0, 0) == ((0, 0), b"")
    calls = [(call.verb, call.target, call.number) for call in device.tracer.calls]
    assert calls == [
        ("ioctl", "device", VFIO_DEVICE_GET_REGION_INFO),
        ("write", "region 9", 0x10),
        ("read", "region 9", 0x11),
        ("read", "region 9", 0),
    ]
    mapping = device.map(9, 0, 4096)
    assert mapping[0x10:0x18] == b"abcdefgh"
    device.close()
    assert mapping.closed


def test_region_without_information_is_not_accessed(device: KernelGroup) -> None:
    """The access fails with the errno of the request for information."""
    device.open()
    assert device.read(3, 0, 4) == ((-1, errno.EINVAL), b"")
    assert device.read(3, 0, 100_000) == ((-1, errno.EINVAL), b"")
    assert device.write(3, 0, b"a") == (-1, errno.EINVAL)
    with pytest.raises(OSError, match="no information on region 3"):
        device.map(3, 0, 4096)


def test_accesses_reach_the_kernel_unchecked(device: KernelGroup, kernel: FakeKernel) -> None:
    """Odd lengths and offsets and huge reads are answered by the kernel."""
    device.open()
    assert device.read(9, 8190, 8) == ((2, 0), b"\0\0")
    assert device.read(9, -REGION_OFFSET - 1, 4)[0] == (-1, errno.EINVAL)
    assert device.read(9, 2**64 - REGION_OFFSET - 1, 4)[0] == (-1, errno.EINVAL)
    assert device.write(9, 2**63, b"a") == (-1, errno.EINVAL)
    assert device.read(9, 0, 5000) == ((5000, 0), bytes(5000))
    assert device.read(9, 0, 1 << 32) == ((8192, 0), bytes(8192))
    assert device.read(9, 0, 1 << 63)[0].errno in (errno.EFAULT, errno.EINVAL)


def test_arguments_of_every_kind_are_passed(device: KernelGroup, kernel: FakeKernel) -> None:
    """Numbers and addresses as they are, memory by its address; the kernel's writes to it are returned."""
    device.open()
    kernel.requests.clear()
    assert device.ioctl(Target.DEVICE, VFIO_DEVICE_RESET) == (0, 0)
    assert device.ioctl(Target.DEVICE, 1, 2**64 - 1) == (0, 0)
    info = ffi.new("struct vfio_region_info *", {"argsz": 32, "index": 9})
    assert device.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, info) == (0, 0)
    assert struct.unpack("<IIIIQQ", ffi.buffer(info)) == (32, 7, 9, 0, 8192, REGION_OFFSET)
    assert kernel.requests == [
        ("device", VFIO_DEVICE_RESET, 0),
        ("device", 1, 2**64 - 1),
        ("device", VFIO_DEVICE_GET_REGION_INFO, int(ffi.cast("uintptr_t", info))),
    ]


def test_argsz_beyond_the_argument_damages_nothing(device: KernelGroup, kernel: FakeKernel) -> None:
    """What the kernel writes past the argument is discarded."""

    def chain(argument: Any) -> int:
        ffi.memmove(argument, b"\xcc" * 4096, 4096)
        return 0

    device.open()
    kernel.answers[VFIO_DEVICE_GET_REGION_INFO] = chain
    short = bytearray(b"\xff" * 32)
    beside = [bytearray(32) for _ in range(100)]
    assert device.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, short) == (0, 0)
    assert short == b"\xcc" * 32
    assert all(each == bytes(32) for each in beside)


def test_count_above_the_length_returns_no_more_bytes(device: KernelGroup) -> None:
    """The count is returned as it is; the bytes are cut."""
    device.open()
    device._pread = lambda *_: 100
    assert device.read(9, 0, 4) == ((100, 0), bytes(4))


def test_calls_on_a_closed_device_are_setup_errors(device: KernelGroup) -> None:
    """There is no descriptor."""
    for call in (lambda: device.read(9, 0, 4), lambda: device.ioctl(Target.CONTAINER, 1)):
        with pytest.raises(SetupError, match="not open"):
            call()


@pytest.mark.parametrize("length", [8, 70_000, (1 << 20) + 1])
def test_bytes_that_a_driver_leaves_out_read_as_zero(device: KernelGroup, length: int) -> None:
    """Not as the bytes of an earlier read."""
    device.open()

    def partial_read(descriptor: int, data: Any, count: int, offset: int) -> int:
        ffi.memmove(data, b"\xcc" * count, count)
        return count

    device._pread = partial_read
    assert device.read(9, 0, length)[1] == b"\xcc" * length
    device._pread = lambda descriptor, data, count, offset: count
    assert device.read(9, 0, length)[1] == bytes(length)
