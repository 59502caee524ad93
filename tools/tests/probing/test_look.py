# SPDX-License-Identifier: GPL-2.0-only
"""A look at a device changes nothing, finds its interfaces, and checks every answer."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from absurd import READ, SPARSE, TYPE, AbsurdDevice, capability, type_of
from scripted import GOOD_VERSION, ScriptedServer

from vfio_compliance.interfaces import INTERFACES
from vfio_compliance.probing import look as looking
from vfio_compliance.probing.errors import ProbeError
from vfio_compliance.profiles import VfioUserDevice
from vfio_compliance.uapi import type1, vfio

REFERENCE = ("{python}", "-m", "refdriver", "--socket-path={socket}")

#: Requests that leave a device and a container as they are.
QUERIES = {
    vfio.VFIO_DEVICE_GET_INFO,
    vfio.VFIO_DEVICE_GET_REGION_INFO,
    vfio.VFIO_DEVICE_GET_IRQ_INFO,
    type1.VFIO_IOMMU_GET_INFO,
}


class Calls:
    """Records each call."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []
        self.over = False

    def begin(self, verb: str, target: str, number: int, length: int) -> None:
        self.made.append((verb, number))

    def none(self) -> None:
        self.over = True


def look(*options: str, calls: Calls | None = None) -> looking.Look:
    """A look at the reference device."""
    return looking.look(VfioUserDevice(transport="vfio-user", command=(*REFERENCE, *options)), INTERFACES, calls)  # type: ignore[arg-type]


def look_at(tmp_path: Path, absurd: AbsurdDevice, version: bytes | None = None) -> looking.Look:
    server = ScriptedServer(tmp_path / "s", absurd, version)
    try:
        return looking.look(VfioUserDevice(transport="vfio-user", socket=str(tmp_path / "s")), INTERFACES)
    finally:
        server.stop()


def test_nothing_is_changed() -> None:
    """The calls are an open, queries, reads and a close: no write, no reset, no tracking, no mapping."""
    calls = Calls()
    look(calls=calls)
    verbs = {verb for verb, _ in calls.made}
    assert verbs == {"open", "version", "ioctl", "read", "close"}
    assert {number for verb, number in calls.made if verb == "ioctl"} <= QUERIES
    assert calls.over


@pytest.mark.parametrize("section", ["trapped", "mapped", "partitioned"])
def test_access_to_the_data_section(section: str) -> None:
    assert look(f"--data-section={section}").seen["migration_v1"].claims == {"data_section": section}


def test_tracking() -> None:
    """The page size and the largest bitmap are those that the container announces."""
    seen = look().seen["dirty_type1"]
    assert seen.claims == {"page_size": "4096"}
    assert "A bitmap has at most 16777216 bytes." in seen.says


@pytest.mark.parametrize(
    ("section", "areas"),
    [
        ("trapped", ()),
        ("trapped", (0x1000, 0)),
        ("mapped", (0x1000, 0x2000)),
        ("mapped", (0x1000, 0x1000, 0x2000, 0x1000)),
        ("mapped", (0x2000, 0x1000, 0x1000, 0x1000)),
        ("partitioned", (0x2000, 0x1000)),
        ("partitioned", (0x1000, 0x1000)),
    ],
    ids=range(7),
)
def test_areas(tmp_path: Path, section: str, areas: tuple[int, ...]) -> None:
    """Adjacent areas count as one; bytes outside the areas can only be read and written."""
    kind = capability(TYPE, 48, type_of(3, 1))
    sparse = capability(SPARSE, 0, len(areas) // 2, *areas)
    seen = look_at(tmp_path, AbsurdDevice(capabilities=kind + sparse)).seen["migration_v1"]
    assert seen.claims == {"data_section": section}


@pytest.mark.parametrize("state", [0, 1, 2, 3, 4, 5, 6, 7, 0x101])
def test_any_state(tmp_path: Path, state: int) -> None:
    """It is reported, and not changed."""
    absurd = AbsurdDevice(state=struct.pack("<I", state))
    remarks = look_at(tmp_path, absurd).seen["migration_v1"].says
    assert any(each.startswith("device_state reads") for each in remarks)
    assert absurd.asked.count(READ) == 1


LOOP = capability(TYPE, 32, type_of(3, 1))
FEW = capability(TYPE, 48, type_of(3, 1)) + capability(SPARSE, 0, 1 << 31, 0x1000, 0x1000)
OUTSIDE = capability(TYPE, 48, type_of(3, 1)) + capability(SPARSE, 0, 1, 0x1000, 1 << 63)


@pytest.mark.parametrize(
    ("absurd", "message"),
    [
        (AbsurdDevice(regions=2**32 - 1), "at most 4096 regions"),
        (AbsurdDevice(regions=5000), "at most 4096 regions"),
        (AbsurdDevice(capabilities=LOOP), "a link back to offset 32"),
        (AbsurdDevice(capabilities=capability(TYPE, 1 << 31, 0)), "a link to offset 2147483648"),
        (AbsurdDevice(first=7), "a link to offset 7"),
        (AbsurdDevice(capabilities=FEW), "nr_areas 2147483648"),
        (AbsurdDevice(capabilities=OUTSIDE), "areas inside its 0x3000 bytes"),
        (AbsurdDevice(size=2**64 - 1), "less than 2"),
        (AbsurdDevice(size=1 << 63), "less than 2"),
        (AbsurdDevice(size=31), "more than 32 bytes"),
        (AbsurdDevice(size=32), "more than 32 bytes"),
        (AbsurdDevice(state=b"\xff" * 4), "left its bus"),
        (AbsurdDevice(flags=2, regions=8, state=b"\xff" * 4), "left its bus"),
        (AbsurdDevice(state=b""), "expected 4 bytes of data"),
        (AbsurdDevice(ends={1: "refuse"}), "Input/output error"),
        (AbsurdDevice(ends={2: "refuse"}), "Input/output error"),
        (AbsurdDevice(ends={4: "refuse"}), "Input/output error"),
    ],
    ids=range(17),
)
def test_absurd_answers(tmp_path: Path, absurd: AbsurdDevice, message: str) -> None:
    """The look ends with a message that shows the answer."""
    with pytest.raises(ProbeError, match=message):
        look_at(tmp_path, absurd)


@pytest.mark.parametrize("page", [1, 2048])
def test_absurd_pages(tmp_path: Path, page: int) -> None:
    """A profile cannot claim pages smaller than 4 KiB; pages larger than the machine's are not agreed."""
    version = b"\0\0\0\0" + GOOD_VERSION.replace(b"4096", str(page).encode())
    with pytest.raises(ProbeError, match="page sizes of dirty bitmaps"):
        look_at(tmp_path, AbsurdDevice(), version)


@pytest.mark.parametrize("request_number", range(1, 6))
@pytest.mark.parametrize(("end", "message"), [("leave", "closed|gone|ended"), ("be silent", "within 0.3 s")])
def test_gone_or_hanging_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, message: str, request_number: int
) -> None:
    """At any request."""
    monkeypatch.setattr(looking, "Limits", lambda: SimpleNamespace(call=0.3, test=30.0))
    absurd = AbsurdDevice(ends={request_number: end})
    with pytest.raises(ProbeError, match=message):
        look_at(tmp_path, absurd)
    assert len(absurd.asked) == request_number


@pytest.mark.parametrize("defect", ["info-chain-loops", "info-chain-outside"])
def test_bad_chains_of_the_container(defect: str) -> None:
    """They are refused, too."""
    with pytest.raises(ProbeError, match="information"):
        look(f"--defect={defect}")


def test_many_regions(tmp_path: Path) -> None:
    """The first ones are listed, and the others counted."""
    seen = look_at(tmp_path, AbsurdDevice(regions=4096))
    assert len(seen.regions) < 50
    assert seen.regions[-1] == "and 4064 more"


def test_a_server_that_does_not_start() -> None:
    """Its output is in the message."""
    where = VfioUserDevice(
        transport="vfio-user", command=(sys.executable, "-c", "import sys; sys.exit('no card')", "{socket}")
    )
    with pytest.raises(ProbeError, match="no card"):
        looking.look(where, INTERFACES)
