# SPDX-License-Identifier: GPL-2.0-only
"""The descriptions of the device's regions, and its registers."""

from __future__ import annotations

import mmap
import struct
from errno import EINVAL
from pathlib import Path

import pytest
from raw_client import (
    COUNTER,
    DMA_LENGTH,
    FAULT,
    MIGRATION,
    OFFSET,
    PENDING,
    RESERVED,
    SCRATCH0,
    STATE,
    STATUS,
    Client,
    Server,
    eventually,
)

INFO = struct.Struct("<IIIIQQ")


def describe(client: Client, index: int, argsz: int = 4096) -> tuple[tuple[int, ...], bytes]:
    """The fixed part of a region's description, and all of it."""
    reply = client.good(5, INFO.pack(argsz, 0, index, 0, 0, 0))
    return INFO.unpack_from(reply), reply


def capabilities(reply: bytes) -> dict[int, bytes]:
    """Contents of the capability chain by id; the version must be 1."""
    found = {}
    place = INFO.unpack_from(reply)[3]
    while place:
        ident, version, following = struct.unpack_from("<HHI", reply, place)
        assert version == 1
        found[ident] = reply[place + 8 : following or None]
        place = following
    return found


def test_is_a_resettable_pci_device(client: Client) -> None:
    """Flags RESET and PCI, ten regions, five interrupt indexes."""
    assert struct.unpack("<IIII", client.good(4, struct.pack("<IIII", 16, 0, 0, 0))) == (16, 3, 10, 5)


@pytest.mark.parametrize(
    ("index", "size", "flags"),
    [(0, 4096, 3), (1, 0, 0), (2, 65536, 3), (6, 0, 0), (7, 256, 3), (8, 0, 0), (9, 20480, 0xF)],
)
def test_describes_its_regions(client: Client, index: int, size: int, flags: int) -> None:
    """Size and access of each."""
    fixed, reply = describe(client, index)
    assert (fixed[0], fixed[1], fixed[2], fixed[4]) == (len(reply), flags, index, size)
    assert client.try_read(index, size, 1)[0] == EINVAL
    assert client.try_read(index, 0, 4)[0] == (0 if size else EINVAL)


def test_has_no_eleventh_region(client: Client) -> None:
    """EINVAL for index 10, in every command."""
    assert client.call(5, INFO.pack(32, 0, 10, 0, 0, 0))[0] == EINVAL
    assert client.try_read(10, 0, 4)[0] == EINVAL
    assert client.try_write(10, 0, b"1234")[0] == EINVAL


MIGRATION_TYPE = struct.pack("<II", 3, 1)


def test_trapped_section_has_only_the_type_capability(tmp_path: Path) -> None:
    """No areas, and no descriptor to map them by."""
    with Server(tmp_path, "--data-section=trapped") as server, server.client() as client:
        fixed, reply = describe(client, MIGRATION)
        assert (capabilities(reply), client.fds, fixed[1] & 4) == ({2: MIGRATION_TYPE}, [], 0)


@pytest.mark.parametrize(("option", "offset", "size"), [("mapped", 4096, 16384), ("partitioned", 4096, 8192)])
def test_area_of_the_section_can_be_mapped(tmp_path: Path, option: str, offset: int, size: int) -> None:
    """By the descriptor that comes with the description; mapped memory and accesses show the same data."""
    with Server(tmp_path, f"--data-section={option}") as server, server.client() as client:
        fixed, reply = describe(client, MIGRATION)
        found = capabilities(reply)
        assert found[2] == MIGRATION_TYPE
        assert struct.unpack_from("<II", found[1]) == (1, 0)
        assert list(struct.iter_unpack("<QQ", found[1][8:])) == [(offset, size)]
        assert fixed[1] & 4
        with mmap.mmap(client.fds[0], size, offset=fixed[5] + offset) as area:
            assert client.try_write(MIGRATION, offset + size - 3, b"end") == (0, 3)
            assert area[-3:] == b"end"
            area[:5] = b"start"
            assert client.try_read(MIGRATION, offset, 5) == (0, b"start")


def test_argsz_is_the_size_needed_if_the_chain_does_not_fit(client: Client) -> None:
    """Only the fixed part, without a chain, and no descriptor."""
    needed = len(describe(client, MIGRATION)[1])
    client.fds.clear()
    fixed, reply = describe(client, MIGRATION, needed - 1)
    assert (fixed[0], fixed[1], fixed[3], len(reply)) == (needed, 0xF, 0, 32)
    assert not client.fds
    assert client.call(5, INFO.pack(31, 0, MIGRATION, 0, 0, 0))[0] == EINVAL


@pytest.mark.parametrize("index", [0, 2, 4])
def test_other_indexes_have_no_interrupts(client: Client, index: int) -> None:
    """Count 0, and nothing can be set up."""
    asked = struct.pack("<IIII", 16, 0, index, 0)
    assert struct.unpack("<IIII", client.good(7, asked)) == (16, 0, index, 0)
    assert client.call(8, struct.pack("<IIIII", 20, 33, index, 0, 0))[0] == 0
    assert client.call(8, struct.pack("<IIIII", 20, 33, index, 0, 1))[0] == EINVAL
    assert client.call(7, struct.pack("<IIII", 16, 0, 5, 0))[0] == EINVAL


def test_has_no_index_for_errors(client: Client) -> None:
    """It is the only one of the five that is refused, in both commands."""
    assert client.call(7, struct.pack("<IIII", 16, 0, 3, 0))[0] == EINVAL
    assert client.call(8, struct.pack("<IIIII", 20, 33, 3, 0, 0))[0] == EINVAL


def test_only_the_crowded_layout_has_a_rom_bar(tmp_path: Path) -> None:
    """2 KiB and the enable bit; in other layouts it reads 0."""
    for layout, decoded in (("plain", 0), ("far", 0), ("crowded", 0xFFFFF801)):
        with Server(tmp_path, f"--regions={layout}") as server, server.client() as client:
            client.put(7, 0x30, 4, 0xFFFFFFFF)
            assert client.get(7, 0x30, 4) == decoded


def test_device_memory_takes_any_width(client: Client) -> None:
    """Up to the last byte, but not past it."""
    assert client.try_write(2, 65533, b"end") == (0, 3)
    assert client.try_read(2, 65530, 6) == (0, b"\0\0\0end")
    assert client.try_write(2, 65534, b"end")[0] == EINVAL


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, 1), (0, 8), (0x0C, 4), (0x08, 4), (0x22, 4), (0x48, 3), (0xFFF, 2), (1 << 63, 4)],
)
def test_refuses_registers_at_odd_widths(client: Client, offset: int, count: int) -> None:
    """EINVAL for reads and writes."""
    assert client.try_read(0, offset, count)[0] == EINVAL
    assert client.try_write(0, offset, bytes(count))[0] == EINVAL


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_unnamed_offsets_read_zero(client: Client, width: int) -> None:
    """They ignore writes."""
    assert client.try_write(0, 0x100, b"\xff" * width) == (0, width)
    assert client.try_read(0, 0x100, width) == (0, bytes(width))


def test_counter_grows_while_the_device_runs(client: Client) -> None:
    """COUNTER grows, is constant in STOP, and grows again."""
    first = client.get(0, COUNTER, 8)
    eventually(lambda: client.get(0, COUNTER, 8) > first)
    client.go(0)
    still = client.get(0, COUNTER, 8)
    assert still == client.get(0, COUNTER, 8)
    client.go(1)
    eventually(lambda: client.get(0, COUNTER, 8) > still)


def test_refuses_register_values_out_of_bounds(client: Client) -> None:
    """DMA_LENGTH up to 64 KiB, FAULT up to 2."""
    assert client.try_write(0, DMA_LENGTH, struct.pack("<I", 65536))[0] == 0
    assert client.try_write(0, DMA_LENGTH, struct.pack("<I", 65537))[0] == EINVAL
    assert client.try_write(0, FAULT, struct.pack("<I", 3))[0] == EINVAL
    assert client.get(0, DMA_LENGTH, 4) == 65536


READ_ONLY = [(0, 0, 4), (0, COUNTER, 8), (0, STATUS, 4), (MIGRATION, PENDING, 8), (MIGRATION, OFFSET, 8)]


@pytest.mark.parametrize(("region", "offset", "width"), READ_ONLY)
def test_ignores_writes_to_read_only_registers(client: Client, region: int, offset: int, width: int) -> None:
    """They have no effect."""
    client.go(0)
    before = client.try_read(region, offset, width)
    assert client.try_write(region, offset, b"\xff" * width) == (0, width)
    assert client.try_read(region, offset, width) == before


def test_read_only_refuse_refuses_them(tmp_path: Path) -> None:
    """EINVAL."""
    with Server(tmp_path, "--read-only=refuse") as strict, strict.client() as other:
        for region, offset, width in READ_ONLY:
            assert other.try_write(region, offset, b"\xff" * width)[0] == EINVAL


def test_reset_keep_preserves_memory_and_scratch(tmp_path: Path) -> None:
    """And nothing else."""
    with Server(tmp_path, "--reset=keep") as running, running.client() as client:
        client.put(0, SCRATCH0, 8, 1)
        client.put(2, 0, 4, 2)
        client.put(0, FAULT, 4, 2)
        client.reset()
        assert [client.get(0, SCRATCH0, 8), client.get(2, 0, 4), client.get(0, FAULT, 4)] == [1, 2, 0]


def test_reset_clears_everything(client: Client) -> None:
    """Registers and memory read zero, and the device runs."""
    client.put(0, SCRATCH0, 8, 1)
    client.put(2, 0, 4, 1)
    client.put(0, FAULT, 4, 2)
    client.reset()
    assert [client.get(0, SCRATCH0, 8), client.get(2, 0, 4), client.get(0, FAULT, 4)] == [0, 0, 0]
    client.go(0)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 12, 16, 32])
def test_refuses_the_header_at_odd_widths(client: Client, width: int) -> None:
    """EINVAL for everything but native width and alignment, without an effect."""
    native = {(0, 4), (4, 4), (8, 8), (16, 8), (24, 8)}
    for offset in range(32):
        if (offset, width) not in native:
            assert client.try_read(MIGRATION, offset, width)[0] == EINVAL
            assert client.try_write(MIGRATION, offset, bytes(width))[0] == EINVAL
    assert client.state() == 1


def test_has_nothing_between_header_and_data(client: Client) -> None:
    """EINVAL there, across the border, and past the end."""
    for offset, count in ((32, 4), (4092, 8), (4095, 2), (20479, 2), (20480, 1)):
        assert client.try_read(MIGRATION, offset, count)[0] == EINVAL
        assert client.try_write(MIGRATION, offset, bytes(count))[0] == EINVAL


def test_reserved_reads_zero(client: Client) -> None:
    """In every state, whatever was written."""
    for state in (1, 3, 2, 0, 4):
        client.go(state)
        client.put(MIGRATION, RESERVED, 4, 0xFFFFFFFF)
        assert client.get(MIGRATION, RESERVED, 4) == 0
        assert client.get(MIGRATION, STATE, 4) == state
