# SPDX-License-Identifier: GPL-2.0-only
"""The client that behaves as QEMU: what it writes, where it puts data, and when it gives up."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from vfio_compliance.device import DeviceError
from vfio_compliance.device.region import Area
from vfio_compliance.migration_v1.qemu import Qemu, pieces
from vfio_compliance.transport import Counts, Outcome

PAGE = mmap.PAGESIZE
STATE, PENDING, OFFSET, SIZE = (0, 4), (8, 8), (16, 8), (24, 8)


class Region:
    """A region with registers that store what is written, and two pages of data, some of which may be mappable."""

    index = 9
    size = 3 * PAGE

    def __init__(self, *areas: Area) -> None:
        self.registers = {STATE: 1, PENDING: 0, OFFSET: PAGE, SIZE: 0}
        self.trapped = bytearray(self.size)
        self.areas = areas
        self.mapped: dict[Area, mmap.mmap] = {}
        #: Offset and length of every write, registers and data alike.
        self.written: list[tuple[int, int]] = []
        self.changes_for_good = lambda: None
        #: Accesses through a mapping: direction, offset and bytes.
        self.through: list[tuple[str, int, bytes]] = []
        #: The result of the next write of device_state: the state after it, and the outcome.
        self.refusal: tuple[int, Outcome] | None = None

    def try_read(self, offset: int, length: int) -> tuple[Outcome, bytes]:
        value = self.registers.get((offset, length))
        if value is None:
            return Outcome(length, 0), bytes(self.trapped[offset : offset + length])
        return Outcome(length, 0), value.to_bytes(length, "little")

    def try_write(self, offset: int, data: bytes) -> Outcome:
        self.written.append((offset, len(data)))
        if (offset, len(data)) == STATE and self.refusal:
            self.registers[STATE], outcome = self.refusal
            return outcome
        if (offset, len(data)) in self.registers:
            self.registers[offset, len(data)] = int.from_bytes(data, "little")
        else:
            self.trapped[offset : offset + len(data)] = data
        return Outcome(len(data), 0)

    def read_bytes(self, offset: int, length: int) -> bytes:
        return self.try_read(offset, length)[1]

    def write_bytes(self, offset: int, data: bytes) -> None:
        self.try_write(offset, data)

    def seen(self, verb: str, region: int, offset: int, data: bytes, sent: bytes = b"") -> None:
        self.through.append((verb, offset, data or sent))

    def map(self, area: Area) -> mmap.mmap:
        if area.offset % PAGE:
            raise OSError("not at a page")
        return self.mapped.setdefault(area, mmap.mmap(-1, area.size))


def client(region: Region) -> Qemu:
    """The client of a device with only this region."""
    transport = SimpleNamespace(tracer=SimpleNamespace(counts=Counts()), seen=region.seen)
    device: Any = SimpleNamespace(regions_of_type=lambda wanted: [region], regions=[region], transport=transport)
    return Qemu(device, 1 << 30)


@pytest.mark.parametrize(
    ("offset", "length", "widths"),
    [
        (0, 0, []),
        (0, 16, [8, 8]),
        (0, 15, [8, 4, 2, 1]),
        (1, 15, [1, 2, 4, 8]),
        (6, 4, [2, 2]),
        (7, 2, [1, 1]),
        (4, 8, [4, 4]),
    ],
)
def test_pieces(offset: int, length: int, widths: Sequence[int]) -> None:
    """The next access is the widest that is aligned and fits; there are no gaps."""
    found = list(pieces(offset, length))
    assert [width for _, width in found] == widths
    assert [at for at, _ in found] == [offset + sum(widths[:index]) for index in range(len(widths))]


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        (Qemu.setup_save, 0x1, 0x3),
        (Qemu.setup_save, 0x0, 0x2),
        (Qemu.setup_save, 0xF9, 0x3),
        (Qemu.setup_load, 0xF9, 0xFC),
        (Qemu.stop_guest, 0xF9, 0xF8),
        (Qemu.stop_guest, 0x3, 0x2),
        (Qemu.stop_guest_for_snapshot, 0x1, 0x2),
        (Qemu.run_guest, 0xFC, 0xF9),
        (Qemu.run_guest, 0x2, 0x1),
        (Qemu.cancel, 0x3, 0x1),
        (Qemu.cancel, 0xFC, 0xF9),
        (Qemu.cancel, 0x0, 0x1),
    ],
)
def test_states(verb: Callable[..., Any], before: int, after: int) -> None:
    """Each verb keeps and adds its own bits; only setting up to save drops the reserved ones."""
    region = Region()
    region.registers[STATE] = before
    verb(client(region))
    assert region.registers[STATE] == after


def test_invalid_state_is_not_written() -> None:
    """Saving cannot be added to resuming."""
    region = Region()
    region.registers[STATE] = 4
    with pytest.raises(DeviceError, match="a valid state"):
        client(region).setup_save()
    assert region.written == []


@pytest.mark.parametrize(
    ("now", "outcome", "message"),
    [
        (1, Outcome(-1, 22), r"seen EINVAL \(Invalid argument\), then running$"),
        (6, Outcome(-1, 5), "then error, on which QEMU aborts"),
        (3, Outcome(2, 0), "seen 2 bytes, then pre-copy"),
        (0, Outcome(4, 0), "expected pre-copy, seen stop"),
    ],
    ids=["refused", "error", "short", "other state"],
)
def test_failed_write(now: int, outcome: Outcome, message: str) -> None:
    """The error has the state read after the failed write; an unexpected state after a success is an error, too."""
    region = Region()
    region.refusal = now, outcome
    with pytest.raises(DeviceError, match=message):
        client(region).setup_save()


def test_data_across_a_mapping() -> None:
    """Data inside the mapping goes through it, data past it in pieces; the same bytes are read back."""
    area = Area(PAGE, PAGE)
    region = Region(area)
    qemu = client(region)
    qemu.setup_load()
    data = bytes(range(1, 31))
    region.registers[OFFSET] = 2 * PAGE - 16
    qemu.load([data])
    assert region.mapped[area][PAGE - 16 :] == data[:16]
    assert region.through == [("mapped-write", 2 * PAGE - 16, data[:16])]
    assert region.trapped[2 * PAGE :][:14] == data[16:]
    assert region.written == [STATE, (2 * PAGE, 8), (2 * PAGE + 8, 4), (2 * PAGE + 12, 2), SIZE]
    region.registers[PENDING] = 1
    assert qemu.iterate(30) == [data]
    qemu.cleanup()


def test_without_a_mapping() -> None:
    """If one area cannot be mapped, none is; the ends of the data go in pieces, the rest at once."""
    region = Region(Area(PAGE, PAGE), Area(2 * PAGE + 8, 8))
    qemu = client(region)
    qemu.setup_load()
    data = bytes(range(250))
    qemu.load([data])
    assert region.trapped[PAGE:][:250] == data
    assert region.written[1:9] == [(PAGE + 8 * index, 8) for index in range(8)]
    assert region.written[9] == (PAGE + 64, 250 - 128)


def test_buffer_is_split_to_fit_the_region() -> None:
    """A buffer that does not fit is written as several, each with its data_size."""
    region = Region()
    region.registers[OFFSET] = 3 * PAGE - 16
    qemu = client(region)
    qemu.load([bytes(40)])
    assert [length for place, length in region.written if place != 24] == [8, 8, 8, 8, 8]
    assert region.written.count(SIZE) == 3
    region.written.clear()
    qemu.load([bytes(12)], room=8)
    assert region.written == [(3 * PAGE - 16, 8), SIZE, (3 * PAGE - 16, 4), SIZE]


@pytest.mark.parametrize("offset", [0, 31, 3 * PAGE, 2**63])
def test_data_offset_outside_the_data(offset: int) -> None:
    """Nothing is written to the registers or past the region."""
    region = Region()
    region.registers[OFFSET] = offset
    assert "data_offset" in str(client(region).try_load([bytes(8)], room=8))
    assert region.written == []


def test_data_size_out_of_bounds() -> None:
    """No data is read past the limit or the region."""
    region = Region()
    region.registers |= {PENDING: 1, SIZE: PAGE}
    with pytest.raises(DeviceError, match="largest_state"):
        client(region).iterate(100)
    region.registers[SIZE] = 2**63
    with pytest.raises(DeviceError, match="inside"):
        client(region).iterate(2**64)


def test_end_without_data() -> None:
    """Bytes pending with a data_size of 0 end the save."""
    region = Region()
    region.registers |= {STATE: 2, PENDING: 1}
    assert client(region).complete(100) == []
    assert region.registers[STATE] == 0
