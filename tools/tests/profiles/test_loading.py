# SPDX-License-Identifier: GPL-2.0-only
"""Loading valid profiles."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vfio_compliance import profiles
from vfio_compliance.migration_v1.profile import MigrationRunning
from vfio_compliance.profiles import (
    Dma,
    KernelDefects,
    KernelGroupDevice,
    Limits,
    MapSection,
    Read,
    ServerDefects,
    Setup,
    Skip,
    SpareInKernel,
    SpareServer,
    VfioUserDevice,
    VisibleState,
    Wait,
    Waiver,
    Write,
    document,
    load,
)
from vfio_compliance.profiles.expressions import parse
from vfio_compliance.sections import PROFILE

#: The classes of these parts, made from the sections of the interfaces.
CLAIMS, STIMULUS = PROFILE.kinds["claims"].cls, PROFILE.kinds["stimulus"].cls

SMALL = """\
format: 1
name: small
interfaces: [migration_v1]
device: {transport: kernel-group, name: "0000:05:00.0", group: 12}
"""

FULL = """\
format: 1
name: full
description: >
  Two lines
  of text
vendor: "on"
product: Größe
driver: a-driver
version: "1.10"
interfaces: [migration_v1]
device:
  transport: vfio-user
  socket: ../run/socket
  command: ["{python}", -m, server, "--at={socket}", "", "${HOME}", "{print}"]
  recovery: [recover, "7"]
  defects: {option: "--defect={name}"}
claims:
  data_section: mapped-only
  precopy_data: false
  transitions: [pre-copy -> running, stop -> stop]
  page_size: 4096
limits: {largest_state: 64 KiB, call: 1.5s, test: 50000ms, run: 2h}
stimulus:
  running:
    sample: {read: {region: 0, offset: 0x08, width: 8}}
    changes_within: 10ms
  dma:
    start:
      - {write: {region: 0, offset: 0x10, width: 8, value: $iova}}
      - {write: {region: 0, offset: 0x18, width: 4, value: $length}}
    stop:
      - {wait: {region: 0, offset: 0, width: 1, mask: 0x81, equals: 0x80, within: 20us}}
      - {wait: {region: 0, offset: 0, width: 1, equals: 1, within: 0.5min}}
    writes_within: 50ms
  visible_state:
    set: [{write: {region: 2, offset: 0, width: 2, value: $value}}]
    observe: [{read: {region: 2, offset: 0, width: 2}}]
  error: [{write: {region: 0, offset: 64, width: 4, value: 0xffffffff}}]
waivers:
  - {rule: v1.a-b.c, reason: because, link: "https://bugs.example.com/1", expires: 2027-01-31, shows: "0x1"}
  - {rule: v1.a-b.c, reason: because, expires: "2027-01-31", shows: "0x2"}
setup:
  after_open: [map: data_section, write: {region: 0, offset: 0, width: 1, value: 1}]
  after_reset:
    - {wait: {region: 0, offset: 0, width: 1, equals: 1, within: 1s}}
skip: [{case: "test_a[b -> c]", reason: because}]
"""


def loaded(folder: Path, text: str) -> profiles.Profile:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, PROFILE)


def test_every_key_is_loaded(tmp_path: Path) -> None:
    profile = loaded(tmp_path, FULL)
    assert profile.format == 1
    assert profile.name == "full"
    assert profile.description == "Two lines of text"
    assert (profile.vendor, profile.product, profile.driver, profile.version) == (
        "on",
        "Größe",
        "a-driver",
        "1.10",
    )
    assert profile.interfaces == ("migration_v1",)
    assert profile.device == VfioUserDevice(
        transport="vfio-user",
        socket="../run/socket",
        command=("{python}", "-m", "server", "--at={socket}", "", "${HOME}", "{print}"),
        recovery=("recover", "7"),
        defects=ServerDefects(option="--defect={name}"),
    )
    assert profile.claims == CLAIMS(
        data_section="mapped-only",
        precopy_data=False,
        transitions=(("pre-copy", "running"), ("stop", "stop")),
        page_size=4096,
    )
    assert profile.limits == Limits(largest_state=65536, call=1.5, test=50.0, run=7200.0)
    assert profile.stimulus == STIMULUS(
        running=MigrationRunning(sample=Read(region=0, offset=8, width=8), changes_within=0.01),
        dma=Dma(
            start=(
                Write(region=0, offset=16, width=8, value=parse("$iova")),
                Write(region=0, offset=24, width=4, value=parse("$length")),
            ),
            stop=(
                Wait(region=0, offset=0, width=1, mask=0x81, equals=0x80, within=0.00002),
                Wait(region=0, offset=0, width=1, mask=2**64 - 1, equals=1, within=30.0),
            ),
            writes_within=0.05,
        ),
        visible_state=VisibleState(
            set=(Write(region=2, offset=0, width=2, value=parse("$value")),),
            observe=(Read(region=2, offset=0, width=2),),
        ),
        error=(Write(region=0, offset=64, width=4, value=0xFFFFFFFF),),
    )
    day = datetime.date(2027, 1, 31)
    assert profile.waivers == (
        Waiver(rule="v1.a-b.c", reason="because", link="https://bugs.example.com/1", expires=day, shows="0x1"),
        Waiver(rule="v1.a-b.c", reason="because", link=None, expires=day, shows="0x2"),
    )
    assert profile.setup == Setup(
        after_open=(MapSection(), Write(region=0, offset=0, width=1, value=1)),
        after_reset=(Wait(region=0, offset=0, width=1, equals=1, within=1.0),),
    )
    assert profile.skip == (Skip(case="test_a[b -> c]", reason="because"),)
    assert profile.denied == frozenset()


def test_a_missing_key_has_its_default(tmp_path: Path) -> None:
    profile = loaded(tmp_path, SMALL)
    assert profile.device == KernelGroupDevice(
        transport="kernel-group", name="0000:05:00.0", group=12, sysfs=None, recovery=None, defects=None
    )
    assert profile.description == ""
    assert profile.claims == CLAIMS(data_section=None, precopy_data=None, transitions=(), page_size=None)
    assert profile.limits == Limits(largest_state=2**30, call=5.0, test=30.0, run=600.0)
    assert profile.stimulus == STIMULUS(running=None, dma=None, visible_state=None, error=None)
    assert (profile.waivers, profile.skip) == ((), ())
    assert profile.setup == Setup(after_open=(), after_reset=())
    assert not profile.denies("stimulus.dma")


#: By transport: the second device and its recovery, spares, and the spares when loaded.
SPARES = {
    "vfio-user": (
        "second: {socket: /b, recovery: [r]}, socket: /a",
        "{socket: /c}, {socket: /d}",
        (SpareServer(socket="/c"), SpareServer(socket="/d")),
    ),
    "kernel-group": (
        "second: {name: b, group: 1, recovery: [r]}, name: a, group: 1",
        "{name: c, group: 1}, {name: d, sysfs: /sys/d}",
        (SpareInKernel(name="c", group=1), SpareInKernel(name="d", sysfs="/sys/d")),
    ),
}


@pytest.mark.parametrize("transport", SPARES)
def test_spares_and_a_recovery_of_the_second_device(tmp_path: Path, transport: str) -> None:
    rest, spares, expected = SPARES[transport]
    device = f"device: {{transport: {transport}, {rest}, spares: [{spares}]}}"
    found = loaded(tmp_path, f"format: 1\nname: a\ninterfaces: [migration_v1]\n{device}\n").device
    assert found.second is not None
    assert found.second.recovery == ("r",)
    assert found.spares == expected


def test_a_denied_key_differs_from_a_missing_one(tmp_path: Path) -> None:
    text = SMALL.replace("group: 12", "group: 12, second: none") + "stimulus: {dma: none, dirty: none, error: none}\n"
    profile = loaded(tmp_path, text)
    denied = ("device.second", "stimulus.dma", "stimulus.dirty", "stimulus.dirty.pin", "stimulus.error")
    assert all(profile.denies(key) for key in denied)
    assert not any(profile.denies(key) for key in ("stimulus.save_fault", "stimulus.err", "stimulus", "device"))
    assert (profile.device.second, profile.stimulus) == (None, STIMULUS())
    assert profile != loaded(tmp_path, SMALL)


@pytest.mark.parametrize("given", ["pin: none", "unpin: none", "pin: none, unpin: none"])
def test_pinning_is_denied_as_a_whole(tmp_path: Path, given: str) -> None:
    dirty = f"{{write: [read: {{region: 0, offset: 0, width: 1}}], largest: 1, {given}}}"
    profile = loaded(tmp_path, SMALL + f"stimulus: {{dirty: {dirty}}}\n")
    assert profile.denies("stimulus.dirty.pin")
    assert profile.denies("stimulus.dirty.unpin")
    assert not profile.denies("stimulus.dirty")


def test_programs_are_all_lists_of_steps(tmp_path: Path) -> None:
    profile = loaded(tmp_path, FULL)
    found = profiles.programs(profile.stimulus, profile.setup)
    assert list(found) == [
        *("setup.after_open", "setup.after_reset"),
        *("stimulus.running.sample", "stimulus.dma.start", "stimulus.dma.stop"),
        *("stimulus.visible_state.set", "stimulus.visible_state.observe", "stimulus.error"),
    ]
    assert found["setup.after_open"] == profile.setup.after_open


def test_a_kernel_device_by_its_folder(tmp_path: Path) -> None:
    profile = loaded(tmp_path, SMALL.replace("group: 12", "sysfs: /sys/x, defects: {parameter: /sys/p}"))
    assert isinstance(profile.device, KernelGroupDevice)
    assert (profile.device.group, profile.device.sysfs) == (None, "/sys/x")
    assert profile.device.defects == KernelDefects(parameter="/sys/p")


@pytest.mark.parametrize(
    ("dotted", "line", "column"),
    [
        ("name", 2, 1),
        ("stimulus.running.sample", 25, 5),
        ("stimulus.dma.start.1.write.value", 30, 53),
        ("claims.transitions.1", 20, 38),
        ("waivers.1", 41, 5),
        ("waivers.1.link", 41, 5),
        ("limits.nothing", 22, 1),
        ("nothing.at.all", 1, 1),
    ],
)
def test_where_names_the_place_or_the_nearest_one(tmp_path: Path, dotted: str, line: int, column: int) -> None:
    assert loaded(tmp_path, FULL).where(dotted) == f"{tmp_path / 'p.yaml'}:{line}:{column}"


def test_path_and_digest_are_those_of_the_file(tmp_path: Path) -> None:
    profile = loaded(tmp_path, SMALL)
    assert profile.path == tmp_path / "p.yaml"
    assert profile.digest == hashlib.sha256(SMALL.encode()).hexdigest()


def test_a_byte_order_mark_and_dos_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load(path, PROFILE).where("device") == f"{path}:4:1"


def test_a_profile_is_frozen(tmp_path: Path) -> None:
    profile = loaded(tmp_path, FULL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.name = "other"  # type: ignore[misc]


def test_both_parsers_of_pyyaml_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_default = loaded(tmp_path, FULL)
    monkeypatch.setattr(document, "_LOADER", yaml.SafeLoader)
    pure = loaded(tmp_path, FULL)
    assert pure == by_default
    assert pure.source == by_default.source


def test_loading_imports_neither_pytest_nor_a_transport() -> None:
    script = "import sys, vfio_compliance.profiles.command; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    modules = set(done.stdout.split())
    assert "vfio_compliance.profiles.loader" in modules
    assert not modules & {"pytest", "cffi", "difflib", "vfio_compliance.transport", "vfio_compliance.uapi"}
