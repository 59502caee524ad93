# SPDX-License-Identifier: GPL-2.0-only
"""Which pages of guest memory are reported dirty."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from errno import EFAULT, EINVAL, ENOSPC
from pathlib import Path

import pytest
from guest_memory import BASE, PAGE, SIZE, Guest, bits
from raw_client import CONTROL, DMA_ADDRESS, DOORBELL, PIN, PIN_ADDRESS, PIN_LENGTH, Client, Server, eventually


def test_reports_each_page_written_once(guest: Guest) -> None:
    """Bit i is the i-th page of the range; fetching clears the bits."""
    client = guest.client
    guest.ring(0, 1, 1)
    assert client.dirty(1) == 0
    guest.ring(PAGE - 1, 2, 1)
    guest.ring(17 * PAGE, PAGE, 1)
    errno, reply = client.bitmap(BASE, SIZE)
    assert errno == 0
    assert struct.unpack_from("<IIQQQQ", reply) == (48, 4, BASE, SIZE, PAGE, 8)
    assert bits(reply) == {0, 1, 17}
    assert bits(client.bitmap(BASE, SIZE)[1]) == set()


def test_tracks_from_start_to_stop(guest: Guest) -> None:
    """A second START changes nothing; STOP forgets the pages."""
    client = guest.client
    assert client.dirty(1) == 0
    guest.ring(PAGE, 1, 1)
    assert client.dirty(1) == 0
    assert bits(client.bitmap(BASE, SIZE)[1]) == {1}
    guest.ring(PAGE, 1, 1)
    assert client.dirty(2) == 0
    assert client.dirty(2) == 0
    assert client.bitmap(BASE, SIZE)[0] == EINVAL
    assert client.dirty(1) == 0
    assert bits(client.bitmap(BASE, SIZE)[1]) == set()


@pytest.mark.parametrize("flags", [0, 3, 5, 6, 7, 8, 1 << 31])
def test_refuses_all_but_exactly_one_flag(client: Client, flags: int) -> None:
    """Several flags, unknown flags, or none: EINVAL."""
    assert client.dirty(flags) == EINVAL
    assert client.call(14, struct.pack("<II", 7, 1))[0] == EINVAL


@pytest.mark.parametrize(
    ("address", "size", "room", "page", "argsz"),
    [
        (BASE, SIZE, 8, 2 * PAGE, 48),
        (BASE, SIZE, 8, 0, 48),
        (BASE, SIZE, 7, PAGE, 48),
        (BASE, SIZE, 0, PAGE, 48),
        (BASE, 65 * PAGE, 8, PAGE, 48),
        (BASE, SIZE, 1 << 63, PAGE, 48),
        (BASE + 1, SIZE, 8, PAGE, 48),
        (BASE, SIZE - 1, 8, PAGE, 48),
        (BASE, 0, 8, PAGE, 48),
        (BASE, SIZE, (1 << 24) + 8, PAGE, 1 << 29),
        ((1 << 64) - PAGE, 2 * PAGE, 8, PAGE, 48),
        (BASE, SIZE, 8, PAGE, 39),
    ],
)
def test_refuses_invalid_bitmap_requests(
    client: Client, address: int, size: int, room: int, page: int, argsz: int
) -> None:
    """EINVAL, and no dirty page is lost."""
    guest = Guest(client, False)
    client.dirty(1)
    guest.ring(0, 1, 1)
    assert client.bitmap(address, size, room, page, argsz)[0] == EINVAL
    assert bits(client.bitmap(BASE, SIZE)[1]) == {0}


def test_argsz_is_the_size_needed_if_the_bitmap_does_not_fit(client: Client) -> None:
    """Only the fixed part is returned; the pages stay dirty."""
    guest = Guest(client, False)
    client.dirty(1)
    guest.ring(0, 1, 1)
    fixed = struct.pack("<IIQQQQ", 48, 4, BASE, SIZE, PAGE, 8)
    assert client.bitmap(BASE, SIZE, argsz=40) == (0, fixed)
    assert bits(client.bitmap(BASE, SIZE)[1]) == {0}


def test_one_bitmap_covers_holes_and_several_mappings(client: Client) -> None:
    """Pages that are not mapped are clean."""
    guest = Guest(client, False)
    assert client.try_map(BASE + 2 * SIZE, SIZE) == 0
    client.dirty(1)
    guest.ring(3 * PAGE, 1, 1)
    errno, reply = client.bitmap(BASE - 32 * PAGE, 5 * SIZE, 64)
    assert (errno, len(reply)) == (0, 104)
    assert bits(reply) == {35}


@pytest.mark.parametrize("mine", [512, 8192])
def test_uses_the_smaller_page_size(server: Server, mine: int) -> None:
    """The smaller of the two proposals counts."""
    with server.client(text=f'{{"capabilities": {{"migration": {{"pgsize": {mine}}}}}}}') as client:
        guest = Guest(client, False)
        client.dirty(1)
        guest.ring(PAGE, 1, 1)
        errno, reply = client.bitmap(BASE, SIZE, 32, min(mine, PAGE))
        assert errno == 0
        assert bits(reply) == {PAGE // min(mine, PAGE)}
        assert client.bitmap(BASE, SIZE, 32, max(mine, PAGE))[0] == EINVAL


def test_unmap_returns_the_bitmap(guest: Guest) -> None:
    """The bitmap is returned, then the mapping and its dirty pages are gone."""
    client = guest.client
    request = struct.pack("<IIQQQQ", 48, 1, BASE, SIZE, PAGE, 8)
    assert client.call(3, request)[0] == EINVAL
    client.dirty(1)
    guest.ring(2 * PAGE, 1, 1)
    assert client.call(3, struct.pack("<IIQQQQ", 39, 1, BASE, SIZE, PAGE, 8))[0] == EINVAL
    assert client.call(3, struct.pack("<IIQQQQ", 48, 3, BASE, SIZE, PAGE, 8))[0] == EINVAL
    short = struct.pack("<IIQQQQ", 40, 1, BASE, SIZE, PAGE, 8)
    assert client.call(3, short) == (0, struct.pack("<IIQQQQ", 48, 1, BASE, 0, PAGE, 8))
    errno, reply = client.call(3, request)
    assert errno == 0
    assert reply[:40] == request
    assert bits(reply) == {2}
    assert guest.ring(0, 1, 1) == 2
    assert client.try_map(BASE, SIZE, guest.fd) == 0
    assert bits(client.bitmap(BASE, SIZE)[1]) == set()
    assert guest.ring(0, 1, 1) == 1
    assert client.unmap(BASE, SIZE)[0] == 0


def test_forgets_pages_with_their_mapping(guest: Guest) -> None:
    """A mapping made while tracking starts clean."""
    client = guest.client
    client.dirty(1)
    guest.ring(0, 1, 1)
    assert client.unmap(BASE, SIZE)[0] == 0
    assert client.try_map(BASE, SIZE, guest.fd) == 0
    assert bits(client.bitmap(BASE, SIZE)[1]) == set()


def pin_then_start(guest: Guest) -> list[int]:
    """Errnos of pinning three pages, and START."""
    return [guest.try_pin(2 * PAGE, 3 * PAGE), guest.client.dirty(1)]


def start_then_pin(guest: Guest) -> list[int]:
    """The same in the other order."""
    return [guest.client.dirty(1), guest.try_pin(2 * PAGE, 3 * PAGE)]


@pytest.mark.parametrize("begin", [pin_then_start, start_then_pin])
def test_reports_pinned_pages_every_time(guest: Guest, begin: Callable[[Guest], list[int]]) -> None:
    """Whether they were pinned before START or after it; once more after they were unpinned."""
    client = guest.client
    assert begin(guest) == [0, 0]
    guest.ring(3 * PAGE, 1, 1)
    guest.ring(9 * PAGE, 1, 1)
    assert client.dirty_pages(BASE, 32) == {2, 3, 4, 9}
    assert client.dirty_pages(BASE, 32) == {2, 3, 4}
    assert client.dirty_pages(BASE + 3 * PAGE, 1) == {0}
    assert guest.try_pin(2 * PAGE, 3 * PAGE, 2) == 0
    assert client.dirty_pages(BASE, 32) == {2, 3, 4}
    assert client.dirty_pages(BASE, 32) == set()


def test_reports_pages_pinned_between_two_bitmaps(guest: Guest) -> None:
    """Pages pinned and unpinned since the last bitmap are reported once; before START, not at all."""
    client = guest.client
    assert [guest.try_pin(0, PAGE), guest.try_pin(0, PAGE, 2)] == [0, 0]
    assert client.dirty(1) == 0
    assert [guest.try_pin(PAGE, PAGE), guest.try_pin(PAGE, PAGE, 2)] == [0, 0]
    assert client.dirty_pages(BASE, 32) == {1}
    assert client.dirty_pages(BASE, 32) == set()


def test_reports_pinned_pages_after_a_new_start(guest: Guest) -> None:
    """STOP forgets written pages, not pinned ones."""
    client = guest.client
    assert client.dirty(1) == 0
    guest.try_pin(PAGE, PAGE)
    guest.ring(0, 1, 1)
    assert [client.dirty(2), client.dirty(1)] == [0, 0]
    assert client.dirty_pages(BASE, 32) == {1}


@pytest.mark.parametrize(
    ("at", "length", "what", "errno"),
    [
        (0, PAGE, 0, EINVAL),
        (0, PAGE, 3, EINVAL),
        (0, 0, 1, EINVAL),
        (1, PAGE, 1, EINVAL),
        (0, PAGE + 1, 1, EINVAL),
        (0, PAGE, 2, EINVAL),
        (-PAGE, 2 * PAGE, 1, EFAULT),
        (SIZE - PAGE, 2 * PAGE, 1, EFAULT),
        (SIZE, PAGE, 1, EFAULT),
        (4 * PAGE, PAGE, 2, EINVAL),
        (4 * PAGE, 2 * PAGE, 1, 0),
        ((1 << 64) - BASE - PAGE, 2 * PAGE, 1, EINVAL),
    ],
)
def test_refuses_invalid_pins(guest: Guest, at: int, length: int, what: int, errno: int) -> None:
    """Only whole, mapped pages can be pinned, and only a range that was pinned can be unpinned."""
    guest.client.dirty(1)
    assert guest.try_pin(4 * PAGE, 2 * PAGE) == 0
    assert guest.try_pin(at, length, what) == errno
    assert guest.client.dirty_pages(BASE, 32) == {4, 5}
    assert guest.client.get(0, PIN, 4) == 0
    assert guest.client.get(0, PIN_LENGTH, 4) == length
    assert guest.client.get(0, PIN_ADDRESS, 8) == BASE + at


def test_does_not_pin_read_only_memory(client: Client) -> None:
    """EFAULT, also if only a part is read-only."""
    assert [client.try_map(BASE, PAGE), client.try_map(BASE + PAGE, PAGE, flags=1)] == [0, 0]
    client.put(0, PIN_ADDRESS, 8, BASE)
    client.put(0, PIN_LENGTH, 4, 2 * PAGE)
    assert client.try_write(0, PIN, b"\1\0\0\0")[0] == EFAULT


def test_limits_pinned_ranges_and_pages(client: Client) -> None:
    """1024 ranges, 4096 pages; unpinning makes room."""
    guest = Guest(client, False, size=4097 * PAGE)
    assert {guest.try_pin(index * PAGE, PAGE) for index in range(1024)} == {0}
    assert guest.try_pin(0, PAGE) == ENOSPC
    client.reset()
    assert guest.try_pin(0, 4097 * PAGE) == ENOSPC
    assert guest.try_pin(0, 4096 * PAGE) == 0
    assert guest.try_pin(0, PAGE) == ENOSPC
    assert guest.try_pin(0, 4096 * PAGE, 2) == 0
    assert guest.try_pin(0, PAGE) == 0


def test_counts_overlapping_pins(guest: Guest) -> None:
    """Each is unpinned on its own."""
    client = guest.client
    client.dirty(1)
    assert [guest.try_pin(0, 2 * PAGE), guest.try_pin(PAGE, 2 * PAGE), guest.try_pin(PAGE, 2 * PAGE)] == [0] * 3
    assert guest.try_pin(PAGE, 2 * PAGE, 2) == 0
    for _ in range(2):
        assert client.dirty_pages(BASE, 32) == {0, 1, 2}
    assert guest.try_pin(PAGE, 2 * PAGE, 2) == 0
    assert client.dirty_pages(BASE, 32) == {0, 1, 2}
    assert client.dirty_pages(BASE, 32) == {0, 1}
    assert guest.try_pin(PAGE, 2 * PAGE, 2) == EINVAL


def test_unmapping_unpins(client: Client) -> None:
    """A range in two mappings is unpinned as a whole; its pages in the other mapping are reported once more."""
    guest = Guest(client, False)
    other = Guest(client, False, BASE + SIZE)
    client.dirty(1)
    assert guest.try_pin(SIZE - PAGE, 2 * PAGE) == 0
    assert client.dirty_pages(BASE, 64) == {31, 32}
    assert client.unmap(other.address, SIZE)[0] == 0
    assert client.dirty_pages(BASE, 64) == {31}
    assert client.dirty_pages(BASE, 64) == set()
    assert guest.try_pin(SIZE - PAGE, 2 * PAGE, 2) == EINVAL
    assert client.try_map(other.address, SIZE) == 0
    assert client.dirty_pages(BASE, 64) == set()


def test_unpins_on_reset_and_on_close(server: Server, client: Client) -> None:
    """The next user finds nothing pinned."""
    guest = Guest(client, False)
    client.dirty(1)
    guest.try_pin(0, PAGE)
    client.reset()
    assert client.dirty_pages(BASE, 32) == {0}
    assert guest.try_pin(0, PAGE, 2) == EINVAL
    assert guest.try_pin(0, PAGE) == 0
    client.close()
    with server.client() as next_client:
        guest = Guest(next_client, False)
        next_client.dirty(1)
        assert next_client.dirty_pages(BASE, 32) == set()
        assert guest.try_pin(0, PAGE, 2) == EINVAL


def test_unmap_reports_pinned_pages(guest: Guest) -> None:
    """They are dirty, and afterwards neither mapped nor pinned."""
    client = guest.client
    client.dirty(1)
    guest.try_pin(5 * PAGE, PAGE)
    errno, reply = client.call(3, struct.pack("<IIQQQQ", 48, 1, BASE, SIZE, PAGE, 8))
    assert (errno, bits(reply)) == (0, {5})
    assert guest.try_pin(5 * PAGE, PAGE, 2) == EINVAL


def test_tracks_writes_of_the_stream(guest: Guest) -> None:
    """Each beat makes its page dirty again."""
    client = guest.client
    client.dirty(1)
    client.put(0, DMA_ADDRESS, 8, BASE + 7 * PAGE)
    client.put(0, CONTROL, 4, 1)
    for _ in range(3):
        assert eventually(lambda: client.dirty_pages(BASE, 32)) == {7}


def test_clears_only_pages_of_the_range(guest: Guest) -> None:
    """A range may begin and end inside a mapping."""
    client = guest.client
    client.dirty(1)
    guest.ring(0, 16 * PAGE, 1)
    assert client.dirty_pages(BASE + 3 * PAGE, 4) == {0, 1, 2, 3}
    assert client.dirty_pages(BASE + 2 * PAGE, 6) == {0, 5}
    assert client.dirty_pages(BASE, 32) == {0, 1, *range(8, 16)}


def test_reports_pages_that_a_failed_write_may_have_written(client: Client) -> None:
    """The pages before one that is not mapped, and those that the client refused."""
    guest = Guest(client, False)
    client.dirty(1)
    assert guest.ring(SIZE - 2 * PAGE, 3 * PAGE, 1) == 2
    assert client.dirty_pages(BASE, 64) == {30, 31}
    client.dma_errno = EINVAL
    assert guest.ring(0, PAGE, 1) == 2
    assert client.dirty_pages(BASE, 64) == {0}


def test_returns_the_largest_bitmap(client: Client) -> None:
    """2^24 bytes: for one page, a bit and zeros; for 2^27 pages, a bit at each end."""
    size, room = 1 << 39, 1 << 24
    assert client.try_map(0, size) == 0
    client.memory[0], client.memory[size - PAGE] = bytearray(PAGE), bytearray(PAGE)
    client.dirty(1)
    for address, pages, expected in ((0, 1, {0: 1}), (0, 1 << 27, {0: 1, room - 1: 0x80})):
        for at in (0, size - PAGE):
            client.put(0, DMA_ADDRESS, 8, at)
            client.put(0, 0x18, 4, 1)
            client.put(0, DOORBELL, 4, 1)
        errno, reply = client.bitmap(address, pages * PAGE, room)
        assert errno == 0
        bitmap = reply[40:]
        assert len(bitmap) == room
        assert {at: bitmap[at] for at in expected} == expected
        assert bitmap.count(0) == room - len(expected)


def test_random_history_follows_a_model(client: Client) -> None:
    """Writes, pins, maps, unmaps, and bitmaps of all kinds of ranges."""
    chance = random.Random(4)
    pages = 500
    client.memory[BASE] = bytearray(pages * PAGE)
    mapped: dict[int, int] = {}
    owner: dict[int, int] = {}
    pinned: list[tuple[int, int]] = []
    dirty: set[int] = set()
    client.dirty(1)

    def held() -> set[int]:
        return {page for start, count in pinned for page in range(start, start + count)}

    for _ in range(1500):
        first = chance.randrange(pages)
        count = chance.choice((1, 2, 3, 16, 63, 64, 65, 130))
        span = range(first, min(first + count, pages))
        what = chance.choice(("write", "write", "write", "get", "get", "map", "unmap", "pin", "unpin"))
        if what == "map":
            good = not any(page in owner for page in span)
            assert (client.try_map(BASE + first * PAGE, len(span) * PAGE) == 0) == good
            if good:
                mapped[first] = len(span)
                owner.update(dict.fromkeys(span, first))
        elif what == "unmap" and len(mapped) > 5:
            start = chance.choice(list(mapped))
            span = range(start, start + mapped.pop(start))
            gone = [pin for pin in pinned if pin[0] < span.stop and span.start < pin[0] + pin[1]]
            pinned = [pin for pin in pinned if pin not in gone]
            room = -(-len(span) // 64) * 8
            body = struct.pack("<IIQQQQ", 40 + room, 1, BASE + start * PAGE, len(span) * PAGE, PAGE, room)
            dirty |= {page for at, length in gone for page in range(at, at + length)}
            assert bits(client.good(3, body)) == {page - start for page in dirty if page in span}
            dirty -= set(span)
            for page in span:
                del owner[page]
        elif what == "write":
            count = min(count, 16)
            client.put(0, DMA_ADDRESS, 8, BASE + first * PAGE)
            client.put(0, 0x18, 4, count * PAGE)
            client.put(0, DOORBELL, 4, 1)
            for page in range(first, first + count):
                if page not in owner:
                    break
                dirty.add(page)
        elif what == "pin":
            client.put(0, PIN_ADDRESS, 8, BASE + first * PAGE)
            client.put(0, PIN_LENGTH, 4, len(span) * PAGE)
            if client.try_write(0, PIN, b"\1\0\0\0")[0] == 0:
                assert all(page in owner for page in span)
                pinned.append((first, len(span)))
        elif what == "unpin" and pinned:
            start, length = pinned.pop(chance.randrange(len(pinned)))
            client.put(0, PIN_ADDRESS, 8, BASE + start * PAGE)
            client.put(0, PIN_LENGTH, 4, length * PAGE)
            assert client.try_write(0, PIN, b"\2\0\0\0")[0] == 0
            dirty |= set(range(start, start + length))
        elif what == "get":
            found = {page + first for page in client.dirty_pages(BASE + first * PAGE, count)}
            assert found == {page for page in dirty | held() if first <= page < first + count}
            dirty -= set(range(first, first + count))


def test_scope_everything_reports_every_page(tmp_path: Path) -> None:
    """Each mapped page is in every bitmap while tracking is on."""
    with Server(tmp_path, "--dirty-scope=everything") as server, server.client() as client:
        assert [client.try_map(BASE, 3 * PAGE), client.try_map(BASE + 70 * PAGE, PAGE)] == [0, 0]
        client.dirty(1)
        for _ in range(2):
            assert client.dirty_pages(BASE - PAGE, 100) == {1, 2, 3, 71}
            assert client.dirty_pages(BASE + PAGE, 1) == {0}
        assert client.try_map(BASE + 80 * PAGE, PAGE) == 0
        assert client.dirty_pages(BASE - PAGE, 100) == {1, 2, 3, 71, 81}
        reply = client.good(3, struct.pack("<IIQQQQ", 48, 1, BASE, 3 * PAGE, PAGE, 8))
        assert bits(reply) == {0, 1, 2}
        assert client.dirty_pages(BASE - PAGE, 100) == {71, 81}
