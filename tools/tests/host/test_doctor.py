# SPDX-License-Identifier: GPL-2.0-only
"""What a host lacks is said with what brings it, and what is not there never counts as there."""

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
    """One that lacks nothing but that the device is bound."""
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
    """State and remark by what they are about."""
    return {each.what: (each.state.value, each.says) for each in needs(machine, where, 64 * MIB, driver)}


def test_nothing_is_missing(machine: FakeMachine) -> None:
    """Then the target's needs are complete, whatever the programs of other commands."""
    ready(machine)
    found = needs(machine, DEVICE, 64 * MIB)
    assert complete(found), table(found, 1000)
    assert rows(machine)["/dev/vfio/7"] == ("ok", "can be opened")
    assert rows(machine)["programs for vm"][0] == "not needed for this"


def test_a_device_that_is_not_bound(machine: FakeMachine) -> None:
    """The command is the one to call."""
    assert rows(machine)[f"device {NET}"] == ("missing", f"it is bound to e1000e: vfio-compliance bind {NET}")
    assert rows(machine, driver="my_vfio")[f"device {NET}"][1].endswith(f"bind {NET} --driver my_vfio")
    without_driver(machine, NET)
    assert rows(machine)[f"device {NET}"] == ("missing", f"it has no driver: vfio-compliance bind {NET}")
    assert not complete(needs(machine, DEVICE, MIB))


def test_a_group_with_others(machine: FakeMachine) -> None:
    """Who else holds a part of it is named."""
    bind(machine, NET, "vfio-pci")
    state, says = rows(machine)["group 7"]
    assert (state, says) == (
        "missing",
        f"{SOUND} belongs to it: it is bound to snd_hda_intel: vfio-compliance bind {SOUND}",
    )


def test_a_vendors_driver_of_any_name(machine: FakeMachine) -> None:
    """It is one of VFIO's where the group is there; others of the same driver do not keep the group from being used."""
    for address in (NET, SOUND):
        machine.knows[address] = "acme"
        (machine.root / BUS / "devices" / address / "driver").unlink()
        (machine.root / BUS / "devices" / address / "driver").symlink_to("../../drivers/acme")
    assert rows(machine)[f"device {NET}"][0] == "missing"
    (machine.root / "dev/vfio/7").touch()
    assert rows(machine)[f"device {NET}"] == ("ok", "bound to acme")
    assert rows(machine)["group 7"][0] == "ok"


@pytest.mark.parametrize(
    ("where", "row", "says"),
    [
        (DEVICE, f"device {NET}", "belongs to no IOMMU group"),
        (KernelGroupDevice(transport="kernel-group", name="x", sysfs="/sys/none"), "device x", "there is no device"),
        (KernelGroupDevice(transport="kernel-group", name="x", group=7), "device x", "group 7 does not hold it"),
        (KernelGroupDevice(transport="kernel-group", name="x", group=99), "device x", "group 99 does not hold it"),
    ],
    ids=range(4),
)
def test_a_device_that_is_not_there(machine: FakeMachine, where: KernelGroupDevice, row: str, says: str) -> None:
    (machine.root / BUS / "devices" / NET / "iommu_group").unlink()
    state, said = rows(machine, where)[row]
    assert state == "missing"
    assert says in said


def test_the_second_device_counts(machine: FakeMachine) -> None:
    """So do spare ones; the group they share is told once."""
    ready(machine)
    second = SecondInKernel(name="gone", sysfs="/sys/gone")
    where = KernelGroupDevice(transport="kernel-group", name=NET, sysfs=DEVICE.sysfs, second=second)
    assert rows(machine, where)["device gone"][0] == "missing"
    both = SecondInKernel(name=SOUND, sysfs=f"/{BUS}/devices/{SOUND}")
    where = KernelGroupDevice(transport="kernel-group", name=NET, sysfs=DEVICE.sysfs, second=both)
    assert [each.what for each in needs(machine, where, MIB)].count("group 7") == 1


def test_a_group_that_is_in_use(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy is not there."""
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
    ("lists", "state", "says"),
    [
        ({"dep": "kernel/drivers/vfio/vfio.ko.xz: kernel/x.ko\n"}, "missing", "modprobe vfio"),
        ({"dep": "", "builtin": "kernel/drivers/vfio/vfio.ko\n"}, "ok", "built in"),
        ({"dep": "kernel/drivers/net/vfio-net.ko: vfio.ko\n"}, "missing", "apt-get install linux-image-amd64"),
        ({}, "unknown", "does not say which modules there are"),
    ],
    ids=range(4),
)
def test_modules(machine: FakeMachine, lists: Mapping[str, str], state: str, says: str) -> None:
    """Loaded, built in, to be loaded, not to be had, or nobody knows."""
    modules(machine, **lists)
    shutil.rmtree(machine.root / "sys/module/vfio")
    found = kernel.module(machine, "vfio", os.uname().release)
    assert found.state.value == state
    assert says in found.says
    assert complete([found]) == (state == "ok")


def test_elsewhere_than_on_debian(machine: FakeMachine) -> None:
    """Nobody is told to call apt-get."""
    modules(machine, dep="kernel/x.ko:\n")
    shutil.rmtree(machine.root / "sys/module/vfio")
    shutil.rmtree(machine.root / "sys/kernel/iommu_groups")
    for text, debian in (
        ("ID=fedora\n", False),
        ("", False),
        ('ID=ubuntu\nID_LIKE="debian"\n', True),
        ("\xff=\0", False),
    ):
        (machine.root / "etc/os-release").write_text(text)
        assert is_debian(machine) == debian
        said = [each.says for each in needs(machine, None, MIB) if each.state is State.MISSING]
        assert any("apt-get" in each for each in said) == debian
        assert any("update-grub" in each for each in said) == debian


def test_without_an_iommu(machine: FakeMachine) -> None:
    """The option is that of the processor's vendor."""
    shutil.rmtree(machine.root / "sys/kernel/iommu_groups")
    (machine.root / "proc/cpuinfo").write_text("vendor_id : AuthenticAMD\n")
    assert "amd_iommu=on" in kernel.iommu(machine).says
    (machine.root / "proc/cpuinfo").write_text("vendor_id : GenuineIntel\n")
    assert "intel_iommu=on" in kernel.iommu(machine).says
    shutil.rmtree(machine.root / "sys")
    assert kernel.iommu(machine).state is State.UNKNOWN


def test_memory_that_may_be_locked(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a limit allows, unless the user has none."""
    none = resource.RLIM_INFINITY
    for limits, status, state, says in (
        ((64 * MIB, none), "CapEff:\t0\n", State.OK, "67108864 bytes"),
        ((none, none), "", State.OK, "no limit"),
        ((8 * MIB, none), "CapEff:\t0000000000004000\n", State.OK, "CAP_IPC_LOCK"),
        ((8 * MIB, none), "CapEff:\t0000000000000000\n", State.MISSING, "ulimit -l 65536"),
        ((8 * MIB, 8 * MIB), "nonsense", State.MISSING, "/etc/security/limits.conf"),
    ):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limits=limits: limits)
        (machine.root / "proc/self/status").write_text(status)
        found = kernel.lockable(machine, 64 * MIB)
        assert found.state is state
        assert says in found.says


def test_a_server(machine: FakeMachine, tmp_path: Path) -> None:
    """Its program, or its socket; nothing of the kernel is needed, and nobody connects."""
    path = str(tmp_path / "socket")
    where = VfioUserDevice(transport="vfio-user", socket=path)
    assert rows(machine, where)[f"socket {path}"] == (
        "missing",
        "No such file or directory: start the server, or correct device.socket",
    )
    (tmp_path / "socket").touch()
    assert "not a socket" in rows(machine, where)[f"socket {path}"][1]
    (tmp_path / "socket").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.setblocking(False)
        assert complete(needs(machine, where, MIB))
        with pytest.raises(BlockingIOError):
            server.accept()
    assert rows(machine, where)["module vfio"] == ("not needed for this", "")
    started = VfioUserDevice(transport="vfio-user", command=("no-such-program-here", "{socket}"))
    assert rows(machine, started)["the server's program"][0] == "missing"
    assert complete(needs(machine, VfioUserDevice(transport="vfio-user", command=("{python}", "{socket}")), MIB))


def test_programs(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is missing has a row of its own, with its package."""
    monkeypatch.setattr(programs, "which", lambda tool: None if tool == "qemu-system-x86_64" else f"/bin/{tool}")
    found = {each.what: each for each in programs.of_vm(machine)}
    assert found["qemu-system-x86_64, for vm"].says == "apt-get install qemu-system-x86"
    assert "busybox" in found["programs for vm"].says
    assert vm_host.remedy("busybox", debian=False) == "install the program busybox"


def test_the_table_steers_no_terminal(machine: FakeMachine) -> None:
    """Names of devices and drivers come from elsewhere."""
    where = KernelGroupDevice(transport="kernel-group", name="\x1b[31mx\n", group=7)
    text = "\n".join(table(needs(machine, where, MIB), 1000))
    assert "\x1b" not in text
    assert r"device \x1b[31mx\n" in text
    assert text.index("missing") < text.index(" ok ")
