# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's trace events become a trace, with the values that an event has, and a gap if an access is not shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vfio_compliance.cli.main import main
from vfio_compliance.clients.importers.command import import_qemu
from vfio_compliance.clients.trace import Record, TraceError

if TYPE_CHECKING:
    from tests.clients.conftest import Import

OPEN = [
    "vfio_get_device Device dev flags: 3, regions: 10, irqs: 5",
    "vfio_region_sparse_mmap_header Device dev region 9: 1 sparse mmap entries",
    "vfio_region_sparse_mmap_entry sparse entry 0 [0x1000 - 0x4fff]",
    'vfio_region_setup Device dev, region 9 "migration", flags: 0xf, offset: 0x90000000000, size: 0x5000',
    "vfio_migration_probe  (dev) Region 9",
]


@pytest.fixture
def imported(import_by: Import) -> Import:
    """Imports events, one a line."""
    return lambda events, **options: import_by(import_qemu, "log", "".join(f"{each}\n" for each in events), **options)


def accesses(records: list[Record]) -> list[tuple[Any, ...]]:
    """Verb, offset, length and data of each access after the opening."""
    return [
        (each.verb, each.offset, each.length, each.data.hex() if not each.unknown else "?")
        for each in records
        if each.verb not in ("region", "open")
    ]


def le(value: int, width: int = 8) -> str:
    """A number as in a trace, little-endian."""
    return value.to_bytes(width, "little").hex()


EVENTS = {
    "vfio_migration_set_state  (dev) state 3": [("read", 0, 4, "?"), ("write", 0, 4, le(3, 4))],
    "vfio_update_pending  (dev) pending 0x10019": [("read", 8, 8, le(0x10019))],
    "vfio_save_buffer  (dev) Offset 0x1000 size 0x40 pending 0x59": [
        ("read", 16, 8, le(0x1000)),
        ("read", 24, 8, le(0x40)),
        ("read", 0x1000, 0x40, "?"),
    ],
    "vfio_save_buffer  (dev) Offset 0x0 size 0x0 pending 0x0": [("read", 16, 8, le(0)), ("read", 24, 8, le(0))],
    "vfio_load_state_device_data  (dev) Offset 0x1000 size 0x40": [
        ("read", 16, 8, le(0x1000)),
        ("write", 0x1000, 0x40, "?"),
        ("write", 24, 8, le(0x40)),
    ],
    "vfio_pci_reset_flr dev FLR/VFIO_DEVICE_RESET": [("reset", 0, 0, "")],
    "vfio_pci_reset_pm dev PCI PM Reset": [("reset", 0, 0, "")],
    "vfio_region_write  (dev:region0+0x10, 0x1ff, 2)": [("write", 0x10, 2, "ff01")],
    "vfio_region_read  (dev:region0+0x8, 4) = 0x12345678": [("read", 8, 4, "78563412")],
    "vfio_region_mmap Region migration mmaps[0] [0x1000 - 0x4fff]": [("map", 0x1000, 0x4000, "")],
    "vfio_region_mmap Region migration mmaps[0] [0x1000 - 0x5000]": [("map", 0x1000, 0x4000, "")],
    "vfio_put_base_device close vdev->fd=14": [("close", 0, 0, "")],
    "vfio_pci_hot_reset_result dev hot reset: Success": [("gap", 0, 0, "")],
    "vfio_pci_hot_reset_result dev hot reset: Failure": [],
    "vfio_vmstate_change  (dev) running 0 reason stop device state 2": [("gap", 0, 0, "")],
    "vfio_save_pending  (dev) precopy 0x2092019 postcopy 0x0 compatible 0x0": [],
    "vfio_update_pending  (dev) pend": [("gap", 0, 0, "")],
    "qemu-system-x86_64: warning: something else": [],
}


@pytest.mark.parametrize("prefix", ["", "163@1795920226.039934:"])
@pytest.mark.parametrize("event", EVENTS)
def test_each_event(imported: Import, event: str, prefix: str) -> None:
    """Becomes the accesses that QEMU must have made, with and without a time."""
    _, records = imported([f"{prefix}{each}" for each in [*OPEN, event]])
    assert accesses(records) == EVENTS[event]
    assert [each.about for each in records if each.about] == [(9, 0x5000, ((0x1000, 0x4000),), True)]


def test_data_in_a_mapping_is_in_no_trace(imported: Import) -> None:
    """Bytes outside of the mapping were read."""
    events = [*OPEN, "vfio_region_mmap Region migration mmaps[0] [0x2000 - 0x2fff]"]
    _, records = imported([*events, "vfio_save_buffer  (dev) Offset 0x1000 size 0x3000 pending 0x3000"])
    assert accesses(records)[3:] == [("read", 0x1000, 0x1000, "?"), ("read", 0x3000, 0x1000, "?")]
    unmapped = "vfio_region_unmap Region migration mmaps[0] unmap [0x2000 - 0x2fff]"
    _, records = imported([*events, unmapped, "vfio_save_buffer  (dev) Offset 0x1000 size 0x3000 pending 0x3000"])
    assert accesses(records)[3:] == [("read", 0x1000, 0x3000, "?")]


def test_a_change_of_state_that_succeeded_leaves_no_gap(imported: Import) -> None:
    """The event of the virtual machine's change adds nothing."""
    change = "vfio_vmstate_change  (dev) running 1 reason running device state 1"
    _, records = imported([*OPEN, "vfio_migration_set_state  (dev) state 1", change])
    assert [each[0] for each in accesses(records)] == ["read", "write"]


def test_dirty_pages(imported: Import) -> None:
    """A bitmap implies that tracking was started; it ends with the migration."""
    bitmap = "vfio_get_dirty_bitmap container fd=13, iova=0x1000 size= 0x2000000 bitmap_size=0x400 start=0x0"
    end = "vfio_migration_state_notifier  (dev) state completed"
    _, records = imported([*OPEN, bitmap, bitmap, end, bitmap])
    calls = [each.called for each in records if each.called]
    assert [each.flags for each in calls if each] == [1, 4, 4, 2, 1, 4]
    bitmap_of = calls[1].bitmap
    assert bitmap_of is not None
    assert calls[1]._asdict() | {"bitmap": bitmap_of._asdict()} == {
        "argsz": 48,
        "flags": 4,
        "iova": 0x1000,
        "size": 0x2000000,
        "bitmap": {"pgsize": None, "size": 0x400, "zero": True},
    }


def test_memory(imported: Import) -> None:
    """Events give the first and the last byte of a range."""
    add = "vfio_listener_region_add_ram region_add [ram] 0x0 - 0x1ffffff [0x7fd0b1e00000]"
    _, records = imported([*OPEN, add, "vfio_listener_region_del region_del 0x0 - 0xffffffffffffffff"])
    assert [(each.verb, each.called.iova, each.called.size) for each in records if each.called] == [
        ("dma-map", 0, 0x2000000),
        ("dma-unmap", 0, 0xFFFFFFFFFFFFFFFF),
    ]


def test_two_devices(imported: Import) -> None:
    """Events have their names."""
    second = [each.replace("dev ", "other ").replace("dev,", "other,").replace("(dev)", "(other)") for each in OPEN]
    mapping = "vfio_region_mmap Region migration mmaps[0] [0x1000 - 0x4fff]"
    _, records = imported([*OPEN, *second, "vfio_save_setup  (dev)", "vfio_update_pending  (dev) pending 0x1", mapping])
    assert [each.device for each in records if each.verb in ("open", "read", "map")] == [0, 1, 0, 0]


def test_log_without_the_opening(imported: Import) -> None:
    """The event names the device; the user names its region."""
    made, records = imported(["vfio_update_pending  (dev) pending 0x1"])
    assert [each[0] for each in accesses(records)] == ["gap"]
    assert any("name it with --region" in note for note in made.notes)
    _, records = imported(["vfio_update_pending  (dev) pending 0x1"], region=9)
    assert [(each.verb, each.region) for each in records[1:]] == [("gap", -1), ("read", 9)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "log: the file is empty"),
        ("hello\n", "log:1: there is no trace event of VFIO; start QEMU with -trace 'vfio_\\*' -D FILE"),
        ("\0\1\2", "log:1: not a text file"),
        (f"{OPEN[0]}\nvfio_migration_set_state  (dev) state RUNNING\n", "log:2: a QEMU of 8 or later, .* version 2"),
    ],
)
def test_files_of_other_programs(tmp_path: Path, text: str, complaint: str) -> None:
    """An error that names the file, and no trace."""
    (tmp_path / "log").write_text(text)
    with pytest.raises(TraceError, match=complaint):
        import_qemu(tmp_path / "log", tmp_path / "trace")
    assert not (tmp_path / "trace").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reports the result, and what the reader has to know."""
    (tmp_path / "log").write_text("".join(f"{each}\n" for each in [*OPEN, *EVENTS]))
    assert main(["import", "qemu", str(tmp_path / "log"), "--trace", str(tmp_path / "made")]) == 0
    assert "failures are not in the trace" in " ".join(capsys.readouterr().out.split())
    assert main(["judge", str(tmp_path / "made")]) in (0, 1)
