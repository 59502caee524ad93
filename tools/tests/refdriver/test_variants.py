# SPDX-License-Identifier: GPL-2.0-only
"""Options for what the specification leaves open: each has the effect in the datasheet."""

from __future__ import annotations

import struct
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from errno import EBUSY, EINVAL, EIO, ENODATA
from itertools import pairwise
from pathlib import Path

import pytest
from guest_memory import BASE, PAGE, SIZE, Guest
from raw_client import (
    MIGRATION,
    OFFSET,
    PENDING,
    PRE_COPY,
    RESUMING,
    RUNNING,
    STATE,
    STOP,
    STOP_AND_COPY,
    Client,
    Server,
    eventually,
)
from raw_client import SIZE as DATA_SIZE

from refdriver.device.layout import LAYOUTS
from refdriver.migration_v1.section import places, scattered
from refdriver.options import Options, add_options, from_arguments

ERROR = 0b110

Start = Callable[..., Client]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with options, and returns a client of it."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(stack.enter_context(Server(tmp_path, *options)).client())


def test_default_device_has_the_first_value_of_each_choice() -> None:
    """A command line without options makes it; the module is the same by default."""
    parser = ArgumentParser()
    add_options(parser)
    assert from_arguments(parser.parse_args([])) == Options()
    choices = {action.dest: action.choices for action in parser._actions if action.choices}
    assert all(getattr(Options(), name) == next(iter(values)) for name, values in choices.items())
    assert Options().problems() == []


@pytest.mark.parametrize("option", ["--section-at=100", "--errno=-1", "--largest-bitmap=4", "--section-at=16"])
def test_refuses_impossible_devices(tmp_path: Path, option: str) -> None:
    """The server ends at once."""
    with pytest.raises(AssertionError), Server(tmp_path, option):
        pass


# The data and its section.


def test_offset_option_places_the_buffers() -> None:
    """At the first, the middle or the last place, or at each in turn."""
    assert list(places("fixed", 4096, 20480, 4096)) == [4096]
    assert list(places("middle", 4096, 20480, 4096)) == [12288]
    assert list(places("last", 4096, 20480, 4096)) == [20480]
    assert list(places("moving", 4096, 12288, 4096)) == [4096, 8192, 12288]


@pytest.mark.parametrize("size", [8192, 16384, 24576, 1 << 20, 3 << 20])
def test_scattered_areas_are_apart(size: int) -> None:
    """Whole pages, at most eight areas, with gaps between, all inside the section."""
    areas = scattered(PAGE, PAGE + size)
    assert 0 < len(areas) <= 8
    assert all(offset % PAGE == 0 and length % PAGE == 0 and length for offset, length in areas)
    ends = [(offset, offset + length) for offset, length in reversed(areas)]
    assert all(end < following for (_, end), (following, _) in pairwise(ends))
    assert ends[0][0] == PAGE
    assert ends[-1][1] <= PAGE + size


def test_section_may_follow_the_registers(start: Start) -> None:
    """Right after them, with a state in small pieces."""
    client = start("--data-section=trapped", "--section-at=32", "--section=40", "--memory=64")
    client.go(STOP_AND_COPY)
    assert client.get(MIGRATION, PENDING, 8)
    assert client.get(MIGRATION, OFFSET, 8) == 32
    buffers = [client.save_one(), *client.save()]
    assert max(map(len, buffers)) == 40
    client.reset()
    client.restore(buffers)


@pytest.mark.parametrize(
    ("kind", "is_expected"),
    [
        ("exact", lambda pending, size: pending[0] == size),
        ("over", lambda pending, size: pending[0] == size + (4 << 30)),
        ("one", lambda pending, size: set(pending) == {1}),
        ("growing", lambda pending, size: pending == sorted(set(pending))),
        ("drifting", lambda pending, size: size <= pending[0] < size + 4096),
    ],
)
def test_pending_bytes_of_each_kind(start: Start, kind: str, is_expected: Callable[[list[int], int], bool]) -> None:
    """More than 0 until the whole state was read."""
    client = start(f"--pending={kind}")
    client.go(STOP_AND_COPY)
    pending, size = [], 0
    while left := client.get(MIGRATION, PENDING, 8):
        pending.append(left)
        size += len(client.save_one())
    assert is_expected(pending, size)


def test_mixed_buffers_differ_in_size(start: Start) -> None:
    """The device accepts them when it resumes."""
    client = start("--buffers=mixed")
    client.go(STOP_AND_COPY)
    buffers = client.save()
    assert len(set(map(len, buffers[:4]))) == 4
    client.reset()
    client.restore(buffers)


def test_endless_pre_copy_starts_again(start: Start) -> None:
    """After the last part of the memory, the first is offered again; not in stop-and-copy."""
    client = start("--pre-copy=endless")
    client.go(PRE_COPY)
    early = []
    for _ in range(12):
        assert client.get(MIGRATION, PENDING, 8)
        early.append(client.save_one())
    assert early[:5] == early[5:10]
    client.go(STOP_AND_COPY)
    buffers = early + client.save()
    client.reset()
    client.restore(buffers)


def test_pre_copy_in_bursts(start: Start) -> None:
    """After a buffer, nothing is pending for a while, then more."""
    client = start("--pre-copy=bursts")
    client.go(PRE_COPY)
    for _ in range(3):
        eventually(lambda: client.get(MIGRATION, PENDING, 8))
        client.save_one()
    client.go(STOP_AND_COPY)
    assert len(client.save()) == 5


def spoil(client: Client) -> int:
    """Errno of writing a state with a bit flipped in its first buffer and without its second."""
    client.go(STOP_AND_COPY)
    first, _, *rest = client.save()
    client.reset()
    client.go(RESUMING)
    return max(client.try_restore_one(buffer) for buffer in [bytes([first[0] ^ 1]) + first[1:], *rest])


@pytest.mark.parametrize(
    ("kind", "answers"),
    [("refuse", (EINVAL, EINVAL, RESUMING)), ("drop", (0, 0, RUNNING)), ("fail", (0, EIO, ERROR))],
)
def test_bad_data_has_the_chosen_result(start: Start, kind: str, answers: tuple[int, int, int]) -> None:
    """At once or at the end; a reset makes the device usable again."""
    client = start(f"--bad-data={kind}")
    assert (spoil(client), client.try_go(RUNNING), client.state()) == answers
    client.reset()
    assert client.state() == RUNNING


# Replies.


def test_refuses_the_current_state(start: Start) -> None:
    """In each of the five states."""
    client = start("--self-writes=refuse")
    assert client.try_go(RUNNING) == EINVAL
    for state in (STOP, PRE_COPY, STOP_AND_COPY, RESUMING):
        client.go(state)
        assert client.try_go(state) == EINVAL
        assert client.state() == state
        client.reset()


@pytest.mark.parametrize(("kind", "errno", "reads"), [("ignore", 0, STOP), ("refuse", EINVAL, 1), ("keep", 0, 0x80)])
def test_reserved_bits_have_the_chosen_result(start: Start, kind: str, errno: int, reads: int) -> None:
    """A reset clears bits that were kept."""
    client = start(f"--reserved-bits={kind}")
    assert client.try_write(MIGRATION, STATE, struct.pack("<I", 0x80 | STOP))[0] == errno
    assert client.state() == reads
    client.reset()
    assert client.state() == RUNNING


def test_failure_enters_the_error_state(start: Start) -> None:
    """After an invalid value was written."""
    client = start("--after-failure=error")
    assert client.try_go(0b101) == EINVAL
    assert client.state() == ERROR
    assert client.try_go(RUNNING) == EIO
    client.reset()
    assert client.state() == RUNNING


def test_refuses_undefined_accesses(start: Start) -> None:
    """Registers out of order, and data where no data is; the documented order succeeds."""
    client = start("--undefined=refuse")
    assert client.try_read(MIGRATION, PENDING, 8)[0] == EINVAL
    client.go(STOP_AND_COPY)
    assert client.try_read(MIGRATION, OFFSET, 8)[0] == EINVAL
    assert client.try_read(MIGRATION, DATA_SIZE, 8)[0] == EINVAL
    assert client.get(MIGRATION, PENDING, 8)
    assert client.try_read(MIGRATION, DATA_SIZE, 8)[0] == EINVAL
    place = client.get(MIGRATION, OFFSET, 8)
    size = client.get(MIGRATION, DATA_SIZE, 8)
    assert client.try_read(MIGRATION, place, size)[0] == 0
    assert client.try_read(MIGRATION, place + 1, size)[0] == EINVAL
    client.reset()
    client.go(STOP_AND_COPY)
    buffers = client.save()
    client.reset()
    client.go(RESUMING)
    assert client.try_write(MIGRATION, place, b"1")[0] == EINVAL
    client.go(RUNNING)
    client.restore(buffers)


def test_errno_option_sets_the_errno(start: Start) -> None:
    """Of accesses and tracking, not where the specification requires another."""
    client = start(f"--errno={ENODATA}")
    assert client.try_go(0b111) == ENODATA
    assert client.dirty(3) == ENODATA
    assert client.call(5, struct.pack("<4I2Q", 32, 0, 10, 0, 0, 0))[0] == EINVAL


# Regions and capabilities.


def region(client: Client, index: int) -> tuple[int, list[int]]:
    """Size of a region, and ids of its capabilities."""
    answer = client.good(5, struct.pack("<4I2Q", 4096, 0, index, 0, 0, 0))
    _, flags, _, offset, size, _ = struct.unpack_from("<4I2Q", answer)
    ids = []
    while flags & 8 and offset:
        ident, _, offset = struct.unpack_from("<HHI", answer, offset)
        ids.append(ident)
    return size, ids


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_has_its_regions(start: Start, name: str) -> None:
    """The number of regions it names; one of them is for migration."""
    layout = LAYOUTS[name]
    client = start(f"--regions={name}")
    _, _, count, interrupts = struct.unpack("<4I", client.good(4, struct.pack("<4I", 16, 0, 0, 0)))
    assert (count, interrupts) == (layout.indexes, layout.interrupts)
    assert region(client, layout.migration) == (PAGE + 16384, [2, 1])
    assert all(region(client, index)[0] == size for index, size in layout.idle.items())
    assert {index for index, kind in layout.kinds.items() if region(client, index)[1] != [2]} == set()
    refused = {*layout.refused, count}
    assert all(client.call(5, struct.pack("<4I2Q", 32, 0, index, 0, 0, 0))[0] == EINVAL for index in refused)


def test_mixed_capabilities(start: Start) -> None:
    """In reverse order, with others at both ends; the container's, too."""
    client = start("--capabilities=mixed")
    assert region(client, MIGRATION)[1] == [3, 1, 2, 0x7A5A]
    errno, answer = client.container_info(4096)
    assert errno == 0
    offset, ids = struct.unpack_from("<I", answer, 16)[0], []
    while offset:
        ident, _, offset = struct.unpack_from("<HHI", answer, offset)
        ids.append(ident)
    assert ids == [3, 1, 2, 0x7A5A]


# The container.


def test_refuses_repeated_start_and_stop(start: Start) -> None:
    """START while tracking is on, STOP while it is off."""
    client = start("--restart=refuse")
    assert [client.dirty(flag) for flag in (2, 1, 1, 2, 2)] == [EBUSY, 0, EBUSY, 0, EBUSY]


@pytest.mark.parametrize(("kind", "cut", "hole"), [("any", 0, 0), ("whole", EINVAL, 0), ("mapped", EINVAL, EINVAL)])
def test_refuses_ranges_other_than_mappings(start: Start, kind: str, cut: int, hole: int) -> None:
    """A range that cuts a mapping, or one with a hole, depending on the option."""
    client = start(f"--ranges={kind}")
    guest = Guest(client, True)
    assert client.dirty(1) == 0
    assert client.bitmap(BASE, SIZE)[0] == 0
    assert client.bitmap(BASE + PAGE, SIZE - PAGE)[0] == cut
    assert client.bitmap(BASE, SIZE + PAGE)[0] == hole
    guest.close()


def test_unmapping_across_mappings(start: Start) -> None:
    """Several mappings, or none, but never a part of one."""
    client = start("--unmapping=across")
    guests = [Guest(client, True, address) for address in (BASE, BASE + 2 * SIZE)]
    assert client.unmap(BASE, SIZE - PAGE)[0] == EINVAL
    assert client.unmap(BASE, 3 * SIZE) == (0, struct.pack("<IIQQ", 24, 0, BASE, 2 * SIZE))
    assert client.unmap(BASE, 3 * SIZE) == (0, struct.pack("<IIQQ", 24, 0, BASE, 0))
    for guest in guests:
        guest.close()


def test_sticky_pages_stay_dirty(start: Start) -> None:
    """Until tracking ends."""
    client = start("--dirty-scope=sticky")
    guest = Guest(client, True)
    assert client.dirty(1) == 0
    guest.ring(PAGE, 1, 1)
    assert [client.dirty_pages(BASE, 32) for _ in range(2)] == [{1}, {1}]
    assert [client.dirty(flag) for flag in (2, 1)] == [0, 0]
    assert client.dirty_pages(BASE, 32) == set()
    guest.close()


def test_iova_space_has_a_hole_for_interrupts(start: Start) -> None:
    """Nothing can be mapped in it."""
    client = start("--iova=pc")
    assert client.try_map(0xFEE0_0000, PAGE) == EINVAL
    assert client.try_map(1 << 48, PAGE) == EINVAL
    assert client.try_map(0xFEF0_0000, PAGE) == 0


def test_refuses_larger_bitmaps_than_announced(start: Start) -> None:
    """--largest-bitmap is the limit."""
    client = start("--largest-bitmap=16")
    guest = Guest(client, True)
    assert client.dirty(1) == 0
    assert [client.bitmap(BASE, SIZE, room)[0] for room in (8, 16, 24)] == [0, 0, EINVAL]
    guest.close()
