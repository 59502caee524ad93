# SPDX-License-Identifier: GPL-2.0-only
"""Doctor names what a host lacks, with the remedy, and never reports as present what is missing."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest
from pci_tree import BUS, NET, SOUND, FakeMachine, built, without_driver

from vfio_compliance.host import kernel, programs
from vfio_compliance.host.binding import bind
from vfio_compliance.host.doctor import complete, needs, table
from vfio_compliance.host.needs import State, is_debian
from vfio_compliance.profiles import KernelGroupDevice, SecondInKernel, VfioUserDevice
from vfio_compliance.vm import host as vm_host

MIB = 1 << 20
DEVICE = KernelGroupDevice(transport="kernel-group", name=NET, sysfs=f"/{BUS}/devices/{NET}")


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """A machine that lacks nothing, except that the device is not bound."""
    found = built(tmp_path)
    for name in ("vfio", "vfio_iommu_type1", "vfio_pci"):
        (tmp_path / "sys/module" / name).mkdir(parents=True)
    (tmp_path / "dev/vfio/vfio").touch()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nCapEff:\t000001ffffffffff\n")
    return found


def modules(machine: FakeMachine, **lists: str) -> None:
    """The lists of modules of the running kernel."""
    folder = machine.root / "lib/modules" / os.uname().release
    folder.mkdir(parents=True)
    for name, text in lists.items():
        (folder / f"modules.{name}").write_text(text)


def ready(machine: FakeMachine) -> None:
    for address in (NET, SOUND):
        bind(machine, address, "vfio-pci")


def rows(
    machine: FakeMachine, where: KernelGroupDevice | VfioUserDevice = DEVICE, driver: str = ""
) -> dict[str, tuple[str, str]]:
    """State and remark of each need, by its name."""
    return {each.what: (each.state.value, each.says) for each in needs(machine, where, 64 * MIB, driver)}


def test_nothing_is_missing(machine: FakeMachine) -> None:
    """Then the target's needs are complete; programs of other commands do not count."""
    ready(machine)
    found = needs(machine, DEVICE, 64 * MIB)
    assert complete(found), table(found, 1000)
    assert rows(machine)["/dev/vfio/7"] == ("ok", "can be opened")
    assert rows(machine)["programs for vm"][0] == "not needed for this"


def test_a_device_that_is_not_bound(machine: FakeMachine) -> None:
    """The remark has the command that binds it."""
    assert rows(machine)[f"device {NET}"] == ("missing", f"it is bound to e1000e: vfio-compliance bind {NET}")
    assert rows(machine, driver="my_vfio")[f"device {NET}"][1].endswith(f"bind {NET} --driver my_vfio")
    without_driver(machine, NET)
    assert rows(machine)[f"device {NET}"] == ("missing", f"it has no driver: vfio-compliance bind {NET}")
    assert not complete(needs(machine, DEVICE, MIB))


def test_a_group_with_another_device(machine: FakeMachine) -> None:
    """The driver that holds it is named."""
    bind(machine, NET, "vfio-pci")
    state, says = rows(machine)["group 7"]
    assert (state, says) == (
        "missing",
        f"{SOUND} belongs to it: it is bound to snd_hda_intel: vfio-compliance bind {SOUND}",
    )


def test_a_vendors_driver_of_any_name(machine: FakeMachine) -> None:
    """It uses VFIO if the group has a node; other devices of the same driver do not block the group."""
    for address in (NET, SOUND):
        machine.knows[address] = "acme"
        (machine.root / BUS / "devices" / address / "driver").unlink()
        (machine.root / BUS / "devices" / address / "driver").symlink_to("../../drivers/acme")
    assert rows(machine)[f"device {NET}"][0] == "missing"
    (machine.root / "dev/vfio/7").touch()
    assert rows(machine)[f"device {NET}"] == ("ok", "bound to acme")
    assert rows(machine)["group 7"][0] == "ok"


@pytest.mark.parametrize(
    ("where", "row", "words"),
    [
        (DEVICE, f"device {NET}", "belongs to no IOMMU group"),
        (KernelGroupDevice(transport="kernel-group", name="x", sysfs="/sys/none"), "device x", "there is no device"),
        (KernelGroupDevice(transport="kernel-group", name="x", group=7), "device x", "group 7 does not hold it"),
        (KernelGroupDevice(transport="kernel-group", name="x", group=99), "device x", "group 99 does not hold it"),
    ],
    ids=range(4),
)
def test_a_missing_device(machine: FakeMachine, where: KernelGroupDevice, row: str, words: str) -> None:
    (machine.root / BUS / "devices" / NET / "iommu_group").unlink()
    state, remark = rows(machine, where)[row]
    assert state == "missing"
    assert words in remark


def test_the_second_device_counts(machine: FakeMachine) -> None:
    """A group that both devices share is listed once."""
    ready(machine)
    second = SecondInKernel(name="gone", sysfs="/sys/gone")
    where = KernelGroupDevice(transport="kernel-group", name=NET, sysfs=DEVICE.sysfs, second=second)
    assert rows(machine, where)["device gone"][0] == "missing"
    both = SecondInKernel(name=SOUND, sysfs=f"/{BUS}/devices/{SOUND}")
    where = KernelGroupDevice(transport="kernel-group", name=NET, sysfs=DEVICE.sysfs, second=both)
    assert [each.what for each in needs(machine, where, MIB)].count("group 7") == 1


def test_a_group_that_is_in_use(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy group counts as missing."""
    ready(machine)
    real = os.open

    def opened(path: Path, flags: int, *mode: int) -> int:
        if str(path).endswith("/dev/vfio/7"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", opened)
    state, says = rows(machine)["/dev/vfio/7"]
    assert state == "missing"
    assert "group 7 is in use" in says


@pytest.mark.parametrize(
    ("lists", "state", "remark"),
    [
        ({"dep": "kernel/drivers/vfio/vfio.ko.xz: kernel/x.ko\n"}, "missing", "modprobe vfio"),
        ({"dep": "", "builtin": "kernel/drivers/vfio/vfio.ko\n"}, "ok", "built in"),
        ({"dep": "kernel/drivers/net/vfio-net.ko: vfio.ko\n"}, "missing", "apt-get install linux-image-amd64"),
        ({}, "unknown", "does not say which modules there are"),
    ],
    ids=range(4),
)
def test_modules(machine: FakeMachine, lists: Mapping[str, str], state: str, remark: str) -> None:
    """To be loaded, built in, not available, or unknown."""
    modules(machine, **lists)
    shutil.rmtree(machine.root / "sys/module/vfio")
    found = kernel.module(machine, "vfio", os.uname().release)
    assert found.state.value == state
    assert remark in found.says
    assert complete([found]) == (state == "ok")


@pytest.mark.parametrize(
    ("release", "debian"),
    [("ID=fedora\n", False), ("", False), ('ID=ubuntu\nID_LIKE="debian"\n', True), ("\xff=\0", False)],
    ids=["fedora", "empty", "ubuntu", "malformed"],
)
def test_apt_get_is_suggested_on_debian_only(machine: FakeMachine, release: str, debian: bool) -> None:
    """And update-grub; distributions derived from Debian count as Debian."""
    modules(machine, dep="kernel/x.ko:\n")
    shutil.rmtree(machine.root / "sys/module/vfio")
    shutil.rmtree(machine.root / "sys/kernel/iommu_groups")
    (machine.root / "etc/os-release").write_text(release)
    assert is_debian(machine) == debian
    remarks = [each.says for each in needs(machine, None, MIB) if each.state is State.MISSING]
    assert any("apt-get" in each for each in remarks) == debian
    assert any("update-grub" in each for each in remarks) == debian


def test_without_an_iommu(machine: FakeMachine) -> None:
    """The remark has the option for the processor's vendor."""
    shutil.rmtree(machine.root / "sys/kernel/iommu_groups")
    (machine.root / "proc/cpuinfo").write_text("vendor_id : AuthenticAMD\n")
    assert "amd_iommu=on" in kernel.iommu(machine).says
    (machine.root / "proc/cpuinfo").write_text("vendor_id : GenuineIntel\n")
    assert "intel_iommu=on" in kernel.iommu(machine).says
    shutil.rmtree(machine.root / "sys")
    assert kernel.iommu(machine).state is State.UNKNOWN


NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "status", "state", "remark"),
    [
        ((64 * MIB, NO_LIMIT), "CapEff:\t0\n", State.OK, "67108864 bytes"),
        ((NO_LIMIT, NO_LIMIT), "", State.OK, "no limit"),
        ((8 * MIB, NO_LIMIT), "CapEff:\t0000000000004000\n", State.OK, "CAP_IPC_LOCK"),
        ((8 * MIB, NO_LIMIT), "CapEff:\t0000000000000000\n", State.MISSING, "ulimit -l 65536"),
        ((8 * MIB, 8 * MIB), "nonsense", State.MISSING, "/etc/security/limits.conf"),
    ],
    ids=["enough", "no limit", "capability", "too low", "hard limit"],
)
def test_limit_on_locked_memory(
    machine: FakeMachine,
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    status: str,
    state: State,
    remark: str,
) -> None:
    """A process with CAP_IPC_LOCK has no limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    (machine.root / "proc/self/status").write_text(status)
    found = kernel.lockable(machine, 64 * MIB)
    assert found.state is state
    assert remark in found.says


def test_the_socket_of_a_server(machine: FakeMachine, tmp_path: Path) -> None:
    """It must exist and be a socket. Doctor does not connect to it, and the kernel's modules are not needed."""
    path = tmp_path / "socket"
    where, row = VfioUserDevice(transport="vfio-user", socket=str(path)), f"socket {path}"
    assert rows(machine, where)[row] == (
        "missing",
        "No such file or directory: start the server, or correct device.socket",
    )
    path.touch()
    assert "not a socket" in rows(machine, where)[row][1]
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.setblocking(False)
        assert complete(needs(machine, where, MIB))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert rows(machine, where)["module vfio"] == ("not needed for this", "")


def test_the_program_of_a_server(machine: FakeMachine) -> None:
    """It must be found."""
    missing = VfioUserDevice(transport="vfio-user", command=("no-such-program-here", "{socket}"))
    assert rows(machine, missing)["the server's program"][0] == "missing"
    assert complete(needs(machine, VfioUserDevice(transport="vfio-user", command=("{python}", "{socket}")), MIB))


def test_programs(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing one has a row of its own, with its package."""
    monkeypatch.setattr(programs, "which", lambda tool: None if tool == "qemu-system-x86_64" else f"/bin/{tool}")
    found = {each.what: each for each in programs.of_vm(machine)}
    assert found["qemu-system-x86_64, for vm"].says == "apt-get install qemu-system-x86"
    assert "busybox" in found["programs for vm"].says
    assert vm_host.remedy("busybox", debian=False) == "install the program busybox"


def test_the_table_escapes_control_characters(machine: FakeMachine) -> None:
    """Names of devices and drivers are not trusted."""
    where = KernelGroupDevice(transport="kernel-group", name="\x1b[31mx\n", group=7)
    text = "\n".join(table(needs(machine, where, MIB), 1000))
    assert "\x1b" not in text
    assert r"device \x1b[31mx\n" in text
    assert text.index("missing") < text.index(" ok ")
