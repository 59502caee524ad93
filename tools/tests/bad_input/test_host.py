# SPDX-License-Identifier: GPL-2.0-only
"""Hosts that refuse the device: the user sees the reason and the remedy, and no rule is blamed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vfio_compliance.run import reaching
from vfio_compliance.transport import KernelGroup, Outcome, SetupError, Target, VfioUser
from vfio_compliance.uapi.type1 import VFIO_IOMMU_MAP_DMA
from vfio_compliance.uapi.vfio import VFIO_CHECK_EXTENSION, VFIO_GROUP_GET_STATUS, VFIO_GROUP_SET_CONTAINER, ffi

if TYPE_CHECKING:
    from tests.bad_input.conftest import Run


class Kernel:
    """Opens every path but those in ``unopenable``, and refuses the group's container if ``busy``."""

    def __init__(self, unopenable: dict[str, int], viable: int = 1, busy: bool = False) -> None:
        self._unopenable = unopenable
        self._viable = viable
        self._busy = busy

    def open(self, path: Path) -> int:
        if path.name in self._unopenable:
            raise OSError(self._unopenable[path.name], os.strerror(self._unopenable[path.name]))
        return os.memfd_create(path.name)

    def duplicate(self, descriptor: int) -> int:
        return os.dup(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def ioctl(self, descriptor: int, request: int, argument: Any) -> int:
        if request == VFIO_GROUP_GET_STATUS:
            ffi.cast("struct vfio_group_status *", argument).flags = self._viable  # type: ignore[attr-defined]
        if request == VFIO_GROUP_SET_CONTAINER and self._busy:
            return -1
        return int(request == VFIO_CHECK_EXTENSION)

    def pread(self, descriptor: int, data: Any, length: int, offset: int) -> int:
        raise NotImplementedError("no device was opened")

    pwrite = pread

    def errno(self) -> int:
        return errno.EBUSY


@pytest.mark.parametrize(
    ("kernel", "message", "remedy"),
    [
        (Kernel({"vfio": errno.EACCES}), "may not open /dev/vfio/vfio", "run as root, or: chown"),
        (Kernel({"vfio": errno.ENOENT}), "/dev/vfio/vfio cannot be opened: No such file", "modprobe"),
        (Kernel({"12": errno.EACCES}), "may not open /dev/vfio/12", "run as root, or: chown"),
        (Kernel({"12": errno.EBUSY}), "group 12 is in use", "end the process that has /dev/vfio/12 open"),
        (
            Kernel({}, viable=0),
            "group 12 is not viable: other drivers hold devices of it: 0000:01:00.1 (e1000e)",
            "unbind each",
        ),
        (Kernel({}, busy=True), "the container is busy", "end the process that has /dev/vfio/12 open"),
    ],
    ids=["container forbidden", "no container", "group forbidden", "group in use", "not viable", "container busy"],
)
def test_device_refused_by_the_host(
    judge: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: Kernel, message: str, remedy: str
) -> None:
    """The run ends before the first test, with one reason."""
    devices = tmp_path / "sys/kernel/iommu_groups/12/devices"
    devices.mkdir(parents=True)
    (tmp_path / "drivers/e1000e").mkdir(parents=True)
    (devices / "0000:01:00.1").mkdir()
    (devices / "0000:01:00.1/driver").symlink_to(tmp_path / "drivers/e1000e")
    (tmp_path / "dev/vfio").mkdir(parents=True)
    monkeypatch.setattr(reaching, "create", lambda settings, beside: KernelGroup(settings, tmp_path, kernel))
    finished = judge(device={"transport": "kernel-group", "name": "0000:01:00.0", "group": 12})
    assert len(finished.result.stops) == 1
    assert message in finished.words
    assert remedy in finished.words
    assert set(finished.cases) == {"not-run"}
    assert finished.code == 2


class NoMemory(VfioUser):
    """A host that cannot lock any memory."""

    def _ioctl(self, target: Target, request: int, argument: Any) -> Outcome:
        if request == VFIO_IOMMU_MAP_DMA:
            return Outcome(-1, errno.ENOMEM)
        return super()._ioctl(target, request, argument)

    def host_fault(self, request: int, outcome: Outcome, length: int) -> SetupError | None:
        return SetupError(f"the kernel may not lock {length} bytes", "ulimit -l 65536")


def test_no_memory_to_lock(judge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's limit on locked memory is not held against the driver; the run ends with the remedy."""
    monkeypatch.setattr(reaching, "create", NoMemory)
    finished = judge(only="v1.state.stopped-before-return")
    assert finished.cases == ["pass"] * 4 + ["broken"] + ["not-run"] * 7
    assert "the kernel may not lock 65536 bytes" in finished.words
    assert "ulimit -l 65536" in finished.words
    assert finished.code == 2
