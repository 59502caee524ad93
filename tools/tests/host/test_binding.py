# SPDX-License-Identifier: GPL-2.0-only
"""A device gets the requested driver, and its own one back, whatever happens in between."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pci_tree import BRIDGE, DISK, NET, SOUND, FakeMachine, built, shown, without_driver

from vfio_compliance.host.binding import bind, unbind
from vfio_compliance.host.machine import HostError, PciDevice
from vfio_compliance.host.record import alone

RECORDS = "run/vfio-compliance"


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return built(tmp_path)


def in_child(work: Callable[[], object]) -> int:
    """The exit code of a child process that does this."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("address", [NET, DISK, NET.removeprefix("0000:"), NET.upper()])
def test_bind_and_unbind(machine: FakeMachine, address: str) -> None:
    """Bound, the device has the driver and there is a record; afterwards, everything is as before."""
    before = shown(machine)
    messages = bind(machine, address, "vfio-pci")
    whole = f"0000:{address}" if address.count(":") == 1 else address
    assert PciDevice(machine, whole).driver == "vfio-pci"
    assert "is bound to vfio-pci" in messages[0]
    assert len(os.listdir(machine.root / RECORDS)) == 1
    assert "as it was" in unbind(machine, address)
    assert shown(machine) == before
    assert os.listdir(machine.root / RECORDS) == []


def test_a_device_without_a_driver_has_none_again(machine: FakeMachine) -> None:
    """No other driver binds it."""
    without_driver(machine, NET)
    before = shown(machine)
    bind(machine, NET, "vfio-pci")
    unbind(machine, NET)
    assert shown(machine) == before


def test_an_earlier_override_is_restored(machine: FakeMachine) -> None:
    PciDevice(machine, NET).set_override("e1000e")
    before = shown(machine)
    bind(machine, NET, "vfio-pci")
    unbind(machine, NET)
    assert shown(machine) == before


def test_the_other_function_is_named(machine: FakeMachine) -> None:
    """A group is used as a whole: the message names the driver of its other device, and the remedy."""
    *_, note, group = bind(machine, NET, "vfio-pci")
    assert note == f"group 7 cannot be used yet: {SOUND} of it is bound to snd_hda_intel; vfio-compliance bind {SOUND}"
    assert group == "its group is /dev/vfio/7"
    assert [*bind(machine, SOUND, "vfio-pci")][1:] == ["its group is /dev/vfio/7"]


def test_bound_already(machine: FakeMachine) -> None:
    """A second call changes nothing. If the user bound the device by hand, there is nothing to undo."""
    bind(machine, NET, "vfio-pci")
    writes = machine.writes
    assert "unbind" in bind(machine, NET, "vfio-pci")[0]
    assert machine.writes == writes
    PciDevice(machine, DISK).unbind()
    PciDevice(machine, DISK).set_override("vfio-pci")
    PciDevice(machine, DISK).probe()
    assert "nothing was changed" in bind(machine, DISK, "vfio-pci")[0]
    with pytest.raises(HostError, match="nothing to give back"):
        unbind(machine, DISK)


@pytest.mark.parametrize("moment", ["killed_before", "killed_after"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_while_it_binds(machine: FakeMachine, moment: str, number: int) -> None:
    """The next process undoes the changes of a killed one."""
    before = shown(machine)
    setattr(machine, moment, number)
    assert in_child(lambda: bind(machine, NET, "vfio-pci")) == -signal.SIGKILL
    setattr(machine, moment, 0)
    unbind(machine, NET)
    assert shown(machine) == before


@pytest.mark.parametrize("moment", ["killed_before", "killed_after"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_killed_while_it_gives_back(machine: FakeMachine, moment: str, number: int) -> None:
    """Here, too."""
    before = shown(machine)
    bind(machine, NET, "vfio-pci")
    machine.writes = 0
    setattr(machine, moment, number)
    assert in_child(lambda: unbind(machine, NET)) == -signal.SIGKILL
    setattr(machine, moment, 0)
    unbind(machine, NET)
    assert shown(machine) == before


@pytest.mark.parametrize("number", [1, 2, 3])
def test_bound_again_after_a_kill(machine: FakeMachine, number: int) -> None:
    """The record still has the original driver, not the state that the killed call left."""
    before = shown(machine)
    machine.killed_after = number
    in_child(lambda: bind(machine, NET, "vfio-pci"))
    machine.killed_after = 0
    bind(machine, NET, "vfio-pci")
    unbind(machine, NET)
    assert shown(machine) == before


def test_a_driver_that_refuses(machine: FakeMachine) -> None:
    """The device is given back at once, and the message names the driver that refused it."""
    before = shown(machine)
    machine.refusing.add("vfio-pci")
    with pytest.raises(HostError, match=r"offered to vfio-pci, and is now bound to no driver.* is as it was"):
        bind(machine, NET, "vfio-pci")
    assert shown(machine) == before
    assert os.listdir(machine.root / RECORDS) == []


def test_both_drivers_refuse(machine: FakeMachine) -> None:
    """If its first driver refuses the device, too, the record stays, and both reasons are shown."""
    machine.refusing |= {"vfio-pci", "e1000e"}
    with pytest.raises(HostError, match=r"offered to vfio-pci.*could not be given back.*No such device"):
        bind(machine, NET, "vfio-pci")
    machine.refusing.clear()
    unbind(machine, NET)
    assert PciDevice(machine, NET).driver == "e1000e"


def test_the_first_driver_was_unloaded(machine: FakeMachine) -> None:
    """It is named; once it is loaded again, the device is bound to it."""
    bind(machine, NET, "vfio-pci")
    folder = machine.root / "sys/bus/pci/drivers/e1000e"
    folder.rename(folder.with_name("away"))
    with pytest.raises(HostError, match="modprobe e1000e"):
        unbind(machine, NET)
    folder.with_name("away").rename(folder)
    unbind(machine, NET)
    assert PciDevice(machine, NET).driver == "e1000e"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_unplugged_in_the_middle(machine: FakeMachine, number: int) -> None:
    """The removal is reported without a traceback, and leaves no record."""
    machine.gone_before = number
    with pytest.raises(HostError, match=r"No such file|is now gone"):
        bind(machine, NET, "vfio-pci")
    assert os.listdir(machine.root / RECORDS) == []


def test_unplugged_before_it_is_given_back(machine: FakeMachine) -> None:
    """There is nothing left to undo."""
    bind(machine, NET, "vfio-pci")
    machine.remove(NET)
    assert "no longer there" in unbind(machine, NET)
    assert os.listdir(machine.root / RECORDS) == []


@pytest.mark.parametrize(
    ("address", "driver", "message"),
    [
        ("0000:09:00.0", "vfio-pci", "there is no device 0000:09:00.0 on PCI"),
        (BRIDGE, "vfio-pci", "is a bridge"),
        (NET, "vfio-pcu", "there is no driver 'vfio-pcu'"),
        (NET, "../../../etc", "there is no driver"),
        (NET, "", "there is no driver"),
        (NET, "\x1b[31m\n", r"there is no driver '\\x1b"),
        ("../../etc/passwd", "vfio-pci", "is not a PCI address"),
        ("", "vfio-pci", "is not a PCI address"),
        ("\x1b]0;x\x07", "vfio-pci", r"'\\x1b\]0;x\\x07' is not a PCI address"),
        ("0" * (1 << 20), "vfio-pci", "^'0{80}' is not a PCI address"),
    ],
    ids=range(10),
)
def test_requests_that_are_refused(machine: FakeMachine, address: str, driver: str, message: str) -> None:
    """They change nothing."""
    before = shown(machine)
    with pytest.raises(HostError, match=message):
        bind(machine, address, driver)
    assert shown(machine) == before


def test_without_a_group(machine: FakeMachine) -> None:
    """The message says how to switch the IOMMU on."""
    (machine.root / "sys/bus/pci/devices" / NET / "iommu_group").unlink()
    with pytest.raises(HostError, match="intel_iommu=on"):
        bind(machine, NET, "vfio-pci")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 1}',
        b'{"format": 1, "boot": "first", "driver": 3, "override": ""}',
        b'{"format": 1, "boot": "first", "driver": "../x", "override": ""}',
        b'{"format": 1, "boot": "first", "driver": "x\\u001b", "override": ""}',
        b'{"format": 2, "boot": "first", "driver": "e1000e", "override": ""}',
    ],
    ids=range(11),
)
@pytest.mark.parametrize("verb", [lambda machine: bind(machine, NET, "vfio-pci"), lambda machine: unbind(machine, NET)])
def test_a_damaged_record(machine: FakeMachine, verb: Callable[..., Any], content: bytes) -> None:
    """Its content is not guessed: nothing is changed, and the file is named."""
    folder = machine.root / RECORDS
    folder.mkdir()
    (folder / f"{NET}.json").write_bytes(content)
    before = shown(machine)
    with pytest.raises(HostError, match=rf"{NET}\.json"):
        verb(machine)
    assert shown(machine) == before


def test_a_record_from_before_a_reboot(machine: FakeMachine) -> None:
    """After a reboot, each device has its own driver, so an older record is ignored."""
    bind(machine, NET, "vfio-pci")
    record = machine.root / RECORDS / f"{NET}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"boot": "zeroth", "driver": "nvme"}))
    with pytest.raises(HostError, match="nothing to give back"):
        unbind(machine, NET)


def test_two_processes_at_once(machine: FakeMachine) -> None:
    """The second one changes nothing, and says why."""
    with alone(machine), pytest.raises(HostError, match="another vfio-compliance"):
        bind(machine, NET, "vfio-pci")


def test_interrupted(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a signal in the middle, the changes are undone, too."""
    before = shown(machine)

    def probe(device: PciDevice) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PciDevice, "probe", probe)
    with pytest.raises(HostError, match=r"interrupted; .* is as it was"):
        bind(machine, NET, "vfio-pci")
    assert shown(machine) == before
