# SPDX-License-Identifier: GPL-2.0-only
"""The device that a word names, and what the kernel says about it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from pci_tree import BUS, DISK, NET, SOUND, FakeMachine, built, without_driver

from vfio_compliance.probing.errors import ProbeError
from vfio_compliance.probing.identity import identity, names, same_kind
from vfio_compliance.probing.target import where
from vfio_compliance.profiles import KernelGroupDevice, VfioUserDevice

FOLDER = f"/{BUS}/devices/{NET}"

IDS = """\
# a list
10d3  Not this one
\t8086  Nor this
8086  Intel \x1b[31mCorporation
\t10d2  Another device
\t10d3  82574L
\t\t10d3 0001  A subsystem
\t10d4  Yet another
8087  Others
\t10d3  Of others
"""


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    """A machine whose devices have a link to their bus."""
    found = built(tmp_path)
    for address in (NET, DISK, SOUND):
        (tmp_path / BUS / "devices" / address / "subsystem").symlink_to("../../../pci")
    return found


def of_the_kernel(word: str, machine: FakeMachine) -> KernelGroupDevice:
    """The device of that machine that a word names."""
    found = where(word, (), machine.root)
    assert isinstance(found, KernelGroupDevice)
    return found


def served_by(word: str | None, *command: str) -> VfioUserDevice:
    """The device of a server."""
    found = where(word, command)
    assert isinstance(found, VfioUserDevice)
    return found


@pytest.mark.parametrize(
    "word", [NET, NET.removeprefix("0000:"), FOLDER, f"{FOLDER}/", f"7:{NET}", f"/dev/vfio/7:{NET}"]
)
def test_a_device_of_the_kernel(machine: FakeMachine, word: str) -> None:
    """By any name, the profile has its folder in sysfs, because numbers of groups change."""
    found = of_the_kernel(word, machine)
    assert (found.name, found.sysfs, found.group) == (NET, FOLDER, None)


@pytest.mark.parametrize("word", ["5", "/dev/vfio/5"])
def test_a_group_of_one_names_its_device(machine: FakeMachine, word: str) -> None:
    assert of_the_kernel(word, machine).name == DISK


def test_a_group_names_its_only_device_with_a_driver(machine: FakeMachine) -> None:
    without_driver(machine, SOUND)
    assert of_the_kernel("7", machine).name == NET


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (None, "which device"),
        ("0000:09:00.0", "there is no device `/sys/bus/pci/devices/0000:09:00.0`"),
        ("7", rf"group 7 holds {NET} \(e1000e\), {SOUND} \(snd_hda_intel\); name one of them, such as 7:{NET}"),
        ("7:x", "holds no device `x`"),
        ("99", "there is no IOMMU group 99"),
        ("9" * 400, "there is no `9"),
        ("/sys/none", "there is no device `/sys/none`"),
        ("/dev/vfio/vfio", "is neither a device nor a socket|there is no"),
        ("", "there is no ``"),
        ("a\0b", "there is no"),
        ("\x1b]0;x\x07", "there is no"),
        ("x" * 100_000, "there is no"),
        (os.fsdecode(b"\xff"), "there is no"),
        ("/etc/passwd", "`/etc/passwd` is neither a device nor a socket"),
        ("/", "is neither a device nor a socket"),
    ],
    ids=range(15),
)
def test_words_that_name_no_device(machine: FakeMachine, word: str | None, message: str) -> None:
    with pytest.raises(ProbeError, match=message) as refused:
        where(word, (), machine.root)
    assert len(str(refused.value)) < 1000


def test_a_socket(tmp_path: Path) -> None:
    """With a command, it is the path where the server will listen, and need not exist yet."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        assert served_by(path).socket == path
    assert served_by("/run/later", "server", "{socket}").command == ("server", "{socket}")
    assert served_by(None, "server", "{socket}").socket is None


def test_identity_of_a_device(machine: FakeMachine) -> None:
    """Ids, names, driver and the version of its module."""
    module = machine.root / "sys/module/e1000e"
    module.mkdir(parents=True)
    (module / "version").write_text("3.2\x1b[1m\n")
    (module / "srcversion").write_text("ABC123\n")
    (machine.root / BUS / "drivers/e1000e/module").symlink_to(module)
    (machine.root / "usr/share/misc").mkdir(parents=True)
    (machine.root / "usr/share/misc/pci.ids").write_text(IDS)
    found = identity(FOLDER, machine.root)
    assert found.ids == ("8086", "10d3")
    assert (found.vendor, found.product) == (r"Intel \x1b[31mCorporation", "82574L")
    assert (found.driver, found.module, found.version, found.srcversion) == (
        "e1000e",
        "e1000e",
        r"3.2\x1b[1m",
        "ABC123",
    )


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (("8086", "10d4"), (r"Intel \x1b[31mCorporation", "Yet another")),
        (("8086", "ffff"), (r"Intel \x1b[31mCorporation", "")),
        (("8087", "10d3"), ("Others", "Of others")),
        (("ffff", "10d3"), ("", "")),
    ],
)
def test_names(machine: FakeMachine, ids: tuple[str, str], found: tuple[str, str]) -> None:
    """A device is looked up among those of its vendor only."""
    (machine.root / "usr/share/hwdata").mkdir(parents=True)
    (machine.root / "usr/share/hwdata/pci.ids").write_text(IDS)
    assert names(*ids, machine.root) == found


@pytest.mark.parametrize("text", ["", "0x80861", "8086:10d3", "\xff\xfe", "0xzzzz", "8" * 100_000])
def test_malformed_ids_are_ignored(machine: FakeMachine, text: str) -> None:
    (machine.root / BUS / "devices" / NET / "vendor").write_text(text)
    assert identity(FOLDER, machine.root).ids == ("", "")


def test_others_of_its_kind(machine: FakeMachine) -> None:
    """Devices of the same ids and driver."""
    assert same_kind(FOLDER, machine.root) == []
    (machine.root / BUS / "devices" / SOUND / "driver").unlink()
    (machine.root / BUS / "devices" / SOUND / "driver").symlink_to("../../drivers/e1000e")
    assert same_kind(FOLDER, machine.root) == [SOUND]
    without_driver(machine, NET)
    assert same_kind(FOLDER, machine.root) == []
