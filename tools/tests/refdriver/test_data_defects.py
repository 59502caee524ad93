# SPDX-License-Identifier: GPL-2.0-only
"""Defects of saving and resuming, as a client sees them: on the broken device, and not on the good one."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from errno import EINVAL, EIO
from pathlib import Path
from typing import Any

import pytest
from raw_client import (
    LOAD_FAULT,
    MIGRATION,
    OFFSET,
    PENDING,
    PRE_COPY,
    RESUMING,
    RUNNING,
    SAVE_FAULT,
    SCRATCH0,
    SIZE,
    STOP,
    STOP_AND_COPY,
    Client,
    Server,
    eventually,
)

SECTION, HALF, END = 4096, 12288, 20480
CONTENT = bytes(range(1, 251)) * 263


def filled(client: Client, *states: int) -> Client:
    """Fill the device with content without zeros, then enter these states."""
    assert client.try_write(2, 0, CONTENT[:65536])[0] == 0
    client.put(0, SCRATCH0, 8, 77)
    client.go(*states)
    return client


def begun(client: Client) -> Client:
    """In stop-and-copy, with bytes pending."""
    filled(client, STOP_AND_COPY)
    assert client.get(MIGRATION, PENDING, 8)
    return client


def second(client: Client) -> Client:
    """As ``begun``, one buffer later."""
    begun(client).save_one()
    assert client.get(MIGRATION, PENDING, 8)
    return client


def early(client: Client) -> Client:
    """As ``begun``, in pre-copy."""
    filled(client, PRE_COPY)
    assert client.get(MIGRATION, PENDING, 8)
    return client


def data(client: Client, offset: int, count: int) -> bytes:
    """Part of the migration region."""
    errno, found = client.try_read(MIGRATION, offset, count)
    assert errno == 0
    return found


def registers(client: Client, *offsets: int) -> list[int]:
    """Registers of the migration region; refusals as negative errnos."""
    found = []
    for offset in offsets:
        errno, value = client.try_read(MIGRATION, offset, 8)
        found.append(-errno if errno else int.from_bytes(value, "little"))
    return found


def outcome(client: Client, buffers: list[bytes]) -> str:
    """Whether a saved state is refused, arrives whole, or arrives different."""
    client.reset()
    client.go(RESUMING)
    if any(client.try_restore_one(buffer) for buffer in buffers) or client.try_go(RUNNING):
        return "refused"
    whole = client.try_read(2, 0, 65536)[1] == CONTENT[:65536] and client.get(0, SCRATCH0, 8) == 77
    return "whole" if whole else "different"


def carried(client: Client) -> str:
    """The plain migration flow."""
    return outcome(client, filled(client, STOP_AND_COPY).save())


def asked_twice(client: Client) -> str:
    """Each pending_bytes is read twice."""
    filled(client, STOP_AND_COPY)
    buffers = []
    while client.get(MIGRATION, PENDING, 8) and client.get(MIGRATION, PENDING, 8):
        buffers.append(client.save_one())
    return outcome(client, buffers)


def asked(client: Client, times: int) -> str:
    """The outcome if pending_bytes is read this many more times before the second buffer."""
    buffers = [begun(client).save_one()]
    for _ in range(times):
        client.get(MIGRATION, PENDING, 8)
    while client.get(MIGRATION, PENDING, 8):
        buffers.append(client.save_one())
    return outcome(client, buffers)


def endings(client: Client) -> tuple[bool, str]:
    """Whether bytes are pending after pending_bytes was 0, and the outcome of the data before that."""
    buffers = filled(client, STOP_AND_COPY).save()
    return client.get(MIGRATION, PENDING, 8) > 0, outcome(client, buffers)


def drained(client: Client) -> bool:
    """Whether a state of 64 KiB ends within forty buffers."""
    begun(client)
    for _ in range(40):
        client.save_one()
        if not client.get(MIGRATION, PENDING, 8):
            return True
    return False


def last_byte(client: Client, pending: Callable[[Client], Client] = begun) -> tuple[int, bool]:
    """The last byte right after data_offset is read (1 if it is there), and whether it arrives in the end."""
    place, size = registers(pending(client), OFFSET, SIZE)
    at_once = data(client, place + size - 1, 1)[0]
    return min(at_once, 1), eventually(lambda: data(client, place + size - 1, 1) != b"\0")


def data_before_size(client: Client, pending: Callable[[Client], Client] = begun, start: int = 0) -> tuple[bool, bool]:
    """Whether there is data from ``start`` on, before and after data_size is read."""
    (place,) = registers(pending(client), OFFSET)
    before = data(client, place + start, 16384 - start)
    registers(client, SIZE)
    return any(before), any(data(client, place + start, 16384 - start))


def reads_again(client: Client, *offsets: int, pending: Callable[[Client], Client] = begun) -> bool:
    """Whether a second read of registers and data returns the same as the first."""
    place, _ = registers(pending(client), OFFSET, SIZE)
    first = registers(client, *offsets), data(client, place, 64)
    return (registers(client, *offsets), data(client, place, 64)) == first


def second_differs(client: Client) -> bool:
    """Whether the second buffer differs from the first."""
    begun(client)
    first = client.save_one()
    client.get(MIGRATION, PENDING, 8)
    return client.save_one() != first


def pieces_read(client: Client) -> tuple[int, int]:
    """Errnos of reading the whole buffer, and half of it."""
    place, size = registers(begun(client), OFFSET, SIZE)
    return client.try_read(MIGRATION, place, size)[0], client.try_read(MIGRATION, place, size // 2)[0]


def mapped(client: Client) -> mmap.mmap:
    """The data section, mapped."""
    client.good(5, struct.pack("<IIIIQQ", 4096, 0, MIGRATION, 0, 0, 0))
    return mmap.mmap(client.fds[0], END - SECTION, offset=SECTION)


def views_agree(client: Client) -> list[bool]:
    """Whether the mapped data equals the data read, for two buffers."""
    with mapped(client) as view:
        agreements = []
        for _ in begun(client), client.get(MIGRATION, PENDING, 8):
            place, size = registers(client, OFFSET, SIZE)
            agreements.append(view[place - SECTION : place - SECTION + size] == data(client, place, size))
            client.get(MIGRATION, PENDING, 8)
        return agreements


def restored_through_the_view(client: Client) -> str:
    """The outcome of a state that is written through mapped memory."""
    buffers = filled(client, STOP_AND_COPY).save()
    client.reset()
    with mapped(client) as view:
        client.go(RESUMING)
        for buffer in buffers:
            place = client.get(MIGRATION, OFFSET, 8) - SECTION
            view[place : place + len(buffer)] = buffer
            client.put(MIGRATION, SIZE, 8, len(buffer))
    client.go(RUNNING)
    return "whole" if client.try_read(2, 0, 65536)[1] == CONTENT[:65536] else "different"


def halves_agree(client: Client) -> tuple[bool, bool]:
    """Whether each half of the section reads the same as it is mapped."""
    begun(client)
    client.get(MIGRATION, OFFSET, 8)
    with mapped(client) as view:
        border = HALF - SECTION
        return view[:border] == data(client, SECTION, border), view[border:] == data(client, HALF, END - HALF)


def buffers_inside(client: Client) -> list[bool]:
    """Whether each buffer is inside the region."""
    filled(client, STOP_AND_COPY)
    inside = []
    while client.get(MIGRATION, PENDING, 8):
        inside.append(sum(registers(client, OFFSET, SIZE)) <= END)
    return inside


def faulted(client: Client) -> tuple[int, str]:
    """Errno of the third buffer, which fails, and the outcome of the state."""
    filled(client, STOP_AND_COPY)
    client.put(0, SAVE_FAULT, 4, 3)
    buffers: list[bytes] = []
    errno = 0
    while client.get(MIGRATION, PENDING, 8):
        if not errno and len(buffers) == 2:
            errno = client.try_read(MIGRATION, OFFSET, 8)[0]
        buffers.append(client.save_one())
    return errno, outcome(client, buffers)


def resumed_with_fault(client: Client, number: int = 0) -> tuple[int, str]:
    """Errno of this buffer, which fails once, and the outcome of the state if the buffer is written again."""
    buffers = restoring(client, number)
    client.put(0, LOAD_FAULT, 4, 1)
    errno = client.try_restore_one(buffers[number])
    for buffer in buffers[number + (not errno) :]:
        assert client.try_restore_one(buffer) == 0
    client.go(RUNNING)
    whole = client.try_read(2, 0, 65536)[1] == CONTENT[:65536] and client.get(0, SCRATCH0, 8) == 77
    return errno, "whole" if whole else "different"


def size_at_fault(client: Client) -> tuple[int, int]:
    """Errno and count of the write of data_size that fails."""
    restoring(client, 1)
    client.put(0, LOAD_FAULT, 4, 1)
    return client.try_write(MIGRATION, SIZE, bytes(8))


def resumed_after_fault(client: Client) -> tuple[int, str]:
    """Errno of the first buffer, which fails, and the outcome of the state after a reset."""
    buffers = restoring(client, 0)
    client.put(0, LOAD_FAULT, 4, 1)
    return client.try_restore_one(buffers[0]), outcome(client, buffers)


def written_in_halves(client: Client) -> list[int]:
    """Errnos of writing a buffer in two pieces, and then its size."""
    buffer = filled(client, STOP_AND_COPY).save()[0]
    client.reset()
    client.go(RESUMING)
    place, middle = client.get(MIGRATION, OFFSET, 8), len(buffer) // 2
    return [
        client.try_write(MIGRATION, place, buffer[:middle])[0],
        client.try_write(MIGRATION, place + middle, buffer[middle:])[0],
        client.try_write(MIGRATION, SIZE, struct.pack("<Q", len(buffer)))[0],
    ]


def offset_while_resuming(client: Client) -> list[int]:
    """data_offset, read twice."""
    client.go(RESUMING)
    return registers(client, OFFSET, OFFSET)


def left_early(client: Client) -> tuple[int, int]:
    """Errno of leaving RESUMING without data, and the state after it."""
    client.go(RESUMING)
    return client.try_go(RUNNING), client.state()


def pending_of(client: Client, *states: int) -> list[bool]:
    """Whether bytes are pending in each of these states, entered in turn."""
    return [bool(filled(client, state).get(MIGRATION, PENDING, 8)) for state in states]


def faulted_at_once(client: Client, state: int) -> list[int]:
    """data_offset, where the first buffer fails, and then data_size."""
    client.put(0, SAVE_FAULT, 4, 1)
    client.go(state)
    return registers(client, PENDING, OFFSET, SIZE)[1:]


def restoring(client: Client, count: int | None = None) -> list[bytes]:
    """Write ``count`` buffers of a saved state in RESUMING, by default all; returns the whole state."""
    buffers = filled(client, STOP_AND_COPY).save()
    client.reset()
    client.go(RESUMING)
    for buffer in buffers[:count]:
        assert client.try_restore_one(buffer) == 0
    return buffers


def saved_and_stopped(client: Client) -> int:
    """A byte of memory, after a transition from stop-and-copy to STOP."""
    filled(client, STOP_AND_COPY, STOP)
    return client.get(2, 0, 1)


def room_for_second(client: Client) -> int:
    """data_offset after the first buffer was written."""
    restoring(client, 1)
    return client.get(MIGRATION, OFFSET, 8)


def restored_again(client: Client) -> str:
    """The outcome of a state that is restored a second time."""
    buffers = restoring(client)
    client.go(RUNNING)
    client.put(2, 0, 8, 0)
    client.restore(buffers)
    return "whole" if client.try_read(2, 0, 65536)[1] == CONTENT[:65536] else "different"


def size_taken_again(client: Client) -> int:
    """Errno of writing data_size in a second RESUMING."""
    restoring(client)
    client.go(RUNNING, RESUMING)
    return client.try_write(MIGRATION, SIZE, bytes(8))[0]


def high_half(client: Client) -> int:
    """A large number in a register, after it was restored."""
    client.put(0, SCRATCH0, 8, 0x5_0000_0001)
    client.go(STOP_AND_COPY)
    buffers = client.save()
    client.reset()
    client.restore(buffers)
    return client.get(0, SCRATCH0, 8)


def written_narrowly(client: Client) -> tuple[int, bytes]:
    """Errno of writing two bytes at an offset that is not a multiple of four, and the data after it."""
    client.go(RESUMING)
    return client.try_write(MIGRATION, SECTION + 2, b"ab")[0], data(client, SECTION, 4)


def read_narrowly(client: Client) -> tuple[int, bool]:
    """Errno of reading two bytes at such an offset, and whether they equal those of a read of four."""
    place, _ = registers(begun(client), OFFSET, SIZE)
    errno, found = client.try_read(MIGRATION, place + 2, 2)
    return errno, found == data(client, place, 4)[2:]


def past_the_page(client: Client) -> tuple[int, int]:
    """Errnos of reading the first page of a buffer, and the eight bytes after it."""
    place, _ = registers(begun(client), OFFSET, SIZE)
    return client.try_read(MIGRATION, place, 4096)[0], client.try_read(MIGRATION, place + 4096, 8)[0]


def given_nonsense(client: Client) -> tuple[int, int]:
    """Errnos of writing a damaged buffer, and of leaving RESUMING after it."""
    client.go(RESUMING)
    return client.try_restore_one(b"nonsense" * 4), client.try_go(RUNNING)


def late_changes(client: Client, again: bool = False) -> tuple[bool, bool]:
    """Whether changes in the two halves of memory arrive that were made once pre-copy had offered everything."""
    filled(client, PRE_COPY)
    if again:
        client.get(MIGRATION, PENDING, 8)
    buffers = client.save()
    client.put(2, 8, 8, 5)
    client.put(2, 65528, 8, 6)
    client.go(STOP_AND_COPY)
    buffers += client.save()
    client.reset()
    client.restore(buffers)
    return client.get(2, 8, 8) == 5, client.get(2, 65528, 8) == 6


#: Defect, observation, its result on the good device, its result on the broken one.
TABLE: list[tuple[str, Callable[[Client], Any], Any, Any]] = [
    ("pending-read-changes-buffer", asked_twice, "whole", "refused"),
    ("pending-read-changes-buffer", carried, "whole", "whole"),
    ("pending-returns", endings, (False, "whole"), (True, "refused")),
    ("pending-zero-early", endings, (False, "whole"), (False, "refused")),
    ("offset-returns-early", last_byte, (1, True), (0, True)),
    ("data-lazy-on-size", data_before_size, (True, True), (False, True)),
    ("size-off-by-one", lambda c: registers(begun(c), SIZE), [16384], [16383]),
    ("size-off-by-one", carried, "whole", "refused"),
    ("buffer-never-advances", drained, True, False),
    ("buffer-resent", second_differs, True, False),
    ("buffer-resent", carried, "whole", "refused"),
    ("fault-truncates", faulted, (EIO, "whole"), (0, "refused")),
    ("fault-bad-data", faulted, (EIO, "whole"), (0, "refused")),
    ("resume-drops-a-buffer", carried, "whole", "different"),
    ("second-offset-refused", offset_while_resuming, [SECTION] * 2, [SECTION, -EINVAL]),
    ("data-write-whole-only", written_in_halves, [0, 0, 0], [0, EINVAL, EINVAL]),
    ("data-write-whole-only", carried, "whole", "whole"),
    ("data-write-whole-only", restored_through_the_view, "whole", "whole"),
    ("data-consumed-late", carried, "whole", "refused"),
    ("early-leave-wedges", left_early, (0, RUNNING), (0, 5)),
    ("early-leave-wedges", carried, "whole", "whole"),
    ("pre-copy-drops-late-change", late_changes, (True, True), (True, False)),
    ("pre-copy-drops-late-change", carried, "whole", "whole"),
    ("offset-outside-section", buffers_inside, [True] * 5, [True] * 4 + [False]),
    ("data-write-refused", lambda c: c.try_write(MIGRATION, SECTION, b"nonsense")[0], 0, EINVAL),
    ("data-read-refused", lambda c: pieces_read(c)[0], 0, EINVAL),
    ("data-read-whole-only", pieces_read, (0, 0), (0, EINVAL)),
    ("data-read-whole-only", carried, "whole", "whole"),
    ("data-read-once", reads_again, True, False),
    ("data-read-once", carried, "whole", "whole"),
    ("mapped-view-stale", views_agree, [True, True], [False, False]),
    ("mapped-view-stale", restored_through_the_view, "whole", "whole"),
    ("partition-torn", halves_agree, (True, True), (True, False)),
    ("partition-torn", carried, "whole", "refused"),
    ("stop-saves-nothing", lambda c: pending_of(c, STOP, STOP_AND_COPY), [False, True], [False, False]),
    ("stop-saves-nothing", carried, "whole", "whole"),
    ("save-first-page-only", carried, "whole", "different"),
    ("saved-state-dropped", saved_and_stopped, 1, 0),
    ("pending-read-forgets-changes", lambda c: late_changes(c, again=True), (True, True), (False, False)),
    ("pending-read-forgets-changes", late_changes, (True, True), (True, True)),
    ("offset-rereads-drift", lambda c: registers(second(c), OFFSET, OFFSET), [SECTION] * 2, [SECTION, SECTION + 8]),
    ("offset-returns-early-later", lambda c: last_byte(c, second), (1, True), (0, True)),
    ("offset-returns-early-later", last_byte, (1, True), (1, True)),
    ("data-lazy-later", lambda c: data_before_size(c, second), (True, True), (False, True)),
    ("data-lazy-later", data_before_size, (True, True), (True, True)),
    ("data-lazy-past-page", lambda c: data_before_size(c, start=4096), (True, True), (False, True)),
    ("data-lazy-past-page", carried, "whole", "whole"),
    ("fault-empties-buffer", lambda c: faulted_at_once(c, STOP_AND_COPY), [-EIO, 16384], [SECTION, 0]),
    ("fault-in-pre-copy-silent", lambda c: faulted_at_once(c, PRE_COPY), [-EIO, 16384], [SECTION, 16384]),
    ("fault-in-pre-copy-silent", lambda c: faulted_at_once(c, STOP_AND_COPY), [-EIO, 16384], [-EIO, 16384]),
    ("resume-fault-loses-buffer", resumed_with_fault, (EIO, "whole"), (0, "different")),
    ("resume-fault-loses-later-buffer", resumed_with_fault, (EIO, "whole"), (EIO, "whole")),
    ("resume-fault-loses-later-buffer", lambda c: resumed_with_fault(c, 1), (EIO, "whole"), (0, "different")),
    ("resume-fault-keeps-old", lambda c: resumed_with_fault(c, 1), (EIO, "whole"), (0, "different")),
    ("resume-fault-short", size_at_fault, (EIO, 0), (0, 0)),
    ("resume-fault-outlives-reset", resumed_after_fault, (EIO, "whole"), (EIO, "refused")),
    ("resume-odd-size-refused", carried, "whole", "refused"),
    ("resume-size-short", lambda c: (c.go(RESUMING), c.try_write(MIGRATION, SIZE, bytes(8)))[1], (0, 8), (0, 4)),
    ("resume-again-refused", size_taken_again, 0, EINVAL),
    ("resume-again-refused", carried, "whole", "whole"),
    ("resume-offset-marches", room_for_second, SECTION, SECTION + 16384),
    ("resume-again-ignored", restored_again, "whole", "different"),
    ("resume-again-ignored", carried, "whole", "whole"),
    ("resume-high-half-lost", high_half, 0x5_0000_0001, 1),
    ("resume-first-page-only", carried, "whole", "different"),
    ("data-write-narrow-refused", written_narrowly, (0, b"\0\0ab"), (EINVAL, bytes(4))),
    ("bad-data-swallowed", given_nonsense, (EINVAL, EINVAL), (0, 0)),
    ("offset-in-registers", lambda c: registers(second(c), OFFSET), [SECTION], [16]),
    ("offset-high-half", lambda c: registers(second(c), OFFSET), [SECTION], [SECTION | 1 << 32]),
    ("data-read-refused-past-page", past_the_page, (0, 0), (0, EINVAL)),
    ("data-read-narrow-refused", read_narrowly, (0, True), (EINVAL, False)),
    ("data-read-narrow-misplaced", read_narrowly, (0, True), (0, False)),
    ("mapped-view-first-page", views_agree, [True, True], [False, False]),
    ("mapped-view-first-page", carried, "whole", "whole"),
]


@pytest.mark.parametrize(("name", "observe", "good", "broken"), TABLE, ids=[row[0] for row in TABLE])
def test_defect_breaks_its_observation(
    client: Client, tmp_path: Path, name: str, observe: Callable[[Client], Any], good: Any, broken: Any
) -> None:
    """The same observation of a good device and of one with the defect."""
    assert observe(client) == good
    with Server(tmp_path, f"--defect={name}") as server:
        with server.client() as other:
            assert observe(other) == broken
        assert server.serves()
