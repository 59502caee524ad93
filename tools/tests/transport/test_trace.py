# SPDX-License-Identifier: GPL-2.0-only
"""The trace of calls, and its totals."""

from __future__ import annotations

import errno
import mmap
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from vfio_compliance.common.calls import Behind, Call, Span
from vfio_compliance.transport import (
    Argument,
    Memory,
    Misplaced,
    Outcome,
    Pointing,
    SetupError,
    Target,
    Tracer,
    Transport,
)
from vfio_compliance.transport.base import argument_view, failure, success
from vfio_compliance.uapi.vfio import VFIO_DEVICE_RESET, ffi


class Plain(Transport):
    """A device of zeros that refuses offset 13 and fails at 14."""

    takes_pointers = False
    kernel = False

    def identity(self) -> dict[str, str]:
        return {}

    def _open(self) -> None:
        pass

    def _close(self) -> None:
        pass

    def _ioctl(self, target: Target, request: int, argument: Argument) -> Outcome:
        if (view := argument_view(argument)) is not None:
            view[0] = 0xAA
        return success(3)

    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        if offset == 13:
            return failure(errno.EINVAL), b""
        if offset == 14:
            raise SetupError("broken", "mend it")
        return success(length), bytes(length)

    def _write(self, region: int, offset: int, data: bytes) -> Outcome:
        return success(len(data) // 2)

    def _map(self, region: int, offset: int, length: int) -> mmap.mmap:
        raise OSError(errno.EPERM, "no")


def test_call_is_recorded() -> None:
    """Verb, place, data sent and received, result and duration."""
    device = Plain()
    device.open()
    device.read(9, 0x10, 4)
    device.read(9, 13, 4)
    device.write(2, 0x20, bytes(range(100)))
    device.ioctl(Target.CONTAINER, 7, bytearray(b"\1\2"))
    device.ioctl(Target.GROUP, 8, 5)
    device.ioctl(Target.DEVICE, 9)
    with pytest.raises(OSError, match="no"):
        device.map(1, 0, 4096)
    with pytest.raises(SetupError):
        device.read(9, 14, 4)
    device.close()
    calls = device.tracer.calls
    assert [call[:8] for call in calls] == [
        ("open", "device", 0, 0, b"", b"", 0, 0),
        ("read", "region 9", 0x10, 4, b"", bytes(4), 4, 0),
        ("read", "region 9", 13, 4, b"", b"", -1, errno.EINVAL),
        ("write", "region 2", 0x20, 100, bytes(range(64)), b"", 50, 0),
        ("ioctl", "container", 7, 2, b"\1\2", b"\xaa\2", 3, 0),
        ("ioctl", "group", 8, 0, b"\5" + bytes(7), b"", 3, 0),
        ("ioctl", "device", 9, 0, b"", b"", 3, 0),
        ("map", "region 1", 0, 4096, b"", b"", -1, errno.EPERM),
        ("read", "region 9", 14, 4, b"", b"", -1, errno.ENODEV),
        ("close", "device", 0, 0, b"", b"", 0, 0),
    ]
    starts = [call.started_ns for call in calls]
    assert starts == sorted(starts)
    assert all(call.duration_ns >= 0 for call in calls)


def test_totals_survive_the_calls() -> None:
    """Calls of each verb, opens, resets, and bytes transferred; failures transfer none."""
    device = Plain()
    device.open()
    device.read(0, 0, 100)
    assert len(device.tracer.take()) == 2
    assert device.tracer.take() == []
    device.read(0, 13, 100)
    device.write(0, 0, bytes(10))
    device.ioctl(Target.DEVICE, VFIO_DEVICE_RESET)
    device.ioctl(Target.CONTAINER, VFIO_DEVICE_RESET)
    counts = device.tracer.counts
    assert counts is device.tracer.counts
    assert counts.verbs == {"open": 1, "read": 2, "write": 1, "ioctl": 2}
    assert (counts.opens, counts.resets, counts.bytes_read, counts.bytes_written) == (1, 1, 100, 5)
    assert [call.verb for call in device.tracer.take()] == ["read", "write", "ioctl", "ioctl"]


def test_watcher_sees_calls_begin() -> None:
    """Before the call is made, so that one that never returns can be named."""
    begun: list[tuple[str, str, int, int]] = []
    device = Plain()
    device.tracer.on_begin = lambda *call: begun.append(call)
    device.open()
    device.read(9, 16, 4)
    device.write(9, 24, b"ab")
    device.ioctl(Target.DEVICE, 5, bytearray(8))
    with pytest.raises(OSError, match="no"):
        device.map(1, 0, 4096)
    device.close()
    assert begun == [
        ("open", "device", 0, 0),
        ("read", "region 9", 16, 4),
        ("write", "region 9", 24, 2),
        ("ioctl", "device", 5, 8),
        ("map", "region 1", 0, 4096),
        ("close", "device", 0, 0),
    ]


@pytest.mark.parametrize("length", [100, 1 << 20])
def test_digests_cover_all_data(length: int) -> None:
    """If the record holds only a part of it; also of more calls than are digested at once. A keeper gets all data."""
    device = Plain()
    kept: dict[str, bytes] = {}
    device.tracer.keep = kept.__setitem__
    for number in range(20):
        device.write(9, 4096, bytes([number]) * length)
    device.read(9, 4096, length)
    device.read(9, 4096, 64)
    expected = [sha256(bytes([number]) * length).hexdigest() for number in range(20)]
    calls = device.tracer.calls
    assert [call.sent_digest for call in calls] == [*expected, "", ""]
    assert [call.received_digest for call in calls] == [""] * 20 + [sha256(bytes(length)).hexdigest(), ""]
    assert [call.sent_digest for call in device.tracer.take()] == [*expected, "", ""]
    assert kept == {sha256(data).hexdigest(): data for data in kept.values()}
    assert set(kept) == {*expected, sha256(bytes(length)).hexdigest()}


def test_argument_of_4_kib_is_recorded_whole() -> None:
    """Before and after the call, without digests."""
    device = Plain()
    device.ioctl(Target.DEVICE, 7, bytearray(4096))
    (call,) = device.tracer.calls
    assert call[4:6] == (bytes(4096), b"\xaa" + bytes(4095))
    assert call.sent_digest == call.received_digest == ""


def test_start_of_a_larger_argument_is_recorded() -> None:
    """Before and after the call, with both digests."""
    device = Plain()
    device.ioctl(Target.DEVICE, 7, bytearray(4097))
    (call,) = device.tracer.calls
    before, after = bytes(4097), b"\xaa" + bytes(4096)
    assert call[4:6] == (before[:64], after[:64])
    assert (call.sent_digest, call.received_digest) == (sha256(before).hexdigest(), sha256(after).hexdigest())


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (b"\x05\x80", Behind(2, b"\x05\x80", "", 3, (0, 2, 15))),
        (bytes(100) + b"\xff\xff", Behind(102, b"", "digest", 16, tuple(range(800, 808)))),
        (bytes(1023) + b"\x81\x03" + bytes(3000), Behind(4025, b"", "digest", 4, (8184, 8191, 8192, 8193))),
        (bytes(2048) + b"\xff" * 2049, Behind(4097, b"", "digest", 8 * 2049, tuple(range(16384, 16392)))),
        (bytes([1, *bytes(999)]) * 10, Behind(10_000, b"", "digest", 10, tuple(range(0, 64_000, 8000)))),
        (bytes((16 << 20) + 1), Behind((16 << 20) + 1)),
    ],
    ids=["small", "large", "across", "full", "far apart", "too large"],
)
def test_memory_behind_an_argument_is_recorded(memory: bytes, expected: Behind) -> None:
    """The bytes or their digest, the number of bits set, and the first of them; of very large memory, its size."""
    device = Plain()
    device.ioctl(Target.CONTAINER, 7, Pointing(b"argument", memoryview(memory)))
    (call,) = device.tracer.calls
    assert call.behind == expected._replace(digest=expected.digest and sha256(memory).hexdigest())


def test_memory_at_a_bad_address() -> None:
    """An argument passed by address is recorded if the memory is known."""
    device = Plain()
    device.ioctl(Target.CONTAINER, 7, Misplaced(0x7000, memoryview(b"argumen")))
    device.ioctl(Target.CONTAINER, 7, 0x7000)
    known, unknown = device.tracer.calls
    assert known[:6] == unknown[:6]
    assert known.sent == (0x7000).to_bytes(8, "little")
    assert (known.behind and known.behind.data, unknown.behind) == (b"argumen", None)


def test_calls_have_numbers_and_parts() -> None:
    """Numbers continue over all cases; a part without calls is in no record. An error has the number of its call."""
    device = Plain()
    device.tracer.enter("opening")
    device.open()
    assert [(call.serial, call.part) for call in device.tracer.take()] == [(1, "opening")]
    device.tracer.enter("set-up")
    device.read(9, 0, 4)
    device.tracer.enter("body")
    assert device.tracer.part_began == 3
    device.tracer.enter("clean-up")
    device.read(9, 0, 4)
    with pytest.raises(SetupError) as raised:
        device.read(9, 14, 4)
    assert raised.value.after == device.tracer.last == 4
    calls = device.tracer.calls
    assert [(call.serial, call.part) for call in calls] == [(2, "set-up"), (3, "clean-up"), (4, "clean-up")]


def test_shared_value_names_its_calls() -> None:
    """To another case that asks for it, with those of values it was made from, but not while it is made."""
    device = Plain()
    tracer = device.tracer
    first = tracer.shared(lambda name: device.read(9, 0, 4)[0].value)
    second = tracer.shared(lambda: first("x") + device.read(9, 0, 4)[0].value)
    seen: dict[str, list[Span]] = {}
    asks: dict[str, Callable[[], int]] = {
        "one": lambda: first("x"),
        "two": second,
        "three": second,
        "four": lambda: first("y"),
    }
    for case, ask in asks.items():
        tracer.begin(case)
        ask()
        seen[case] = list(tracer.spans)
    one, two = Span(1, 1, "one"), Span(2, 2, "two")
    assert seen == {"one": [], "two": [one], "three": [one, two], "four": []}
    assert tracer.last == 3


def test_shared_value_that_failed_is_made_again() -> None:
    """An error is not shared."""
    device = Plain()
    broken = device.tracer.shared(lambda: device.read(9, 14, 4))
    for _ in range(2):
        with pytest.raises(SetupError):
            broken()
    assert device.tracer.last == 2


def test_long_trace_keeps_its_ends() -> None:
    """One record in the middle says how many calls are missing; the totals are complete."""
    tracer = Tracer(limit=100)
    for number in range(1000):
        tracer.add(("read", "region 0", number, 4, b"", b"", 4, 0, number, 1))
        assert len(tracer._records) < 100
    calls = tracer.calls
    assert [call.number for call in calls[:25]] == list(range(25))
    assert calls[-1].number == 999
    gap = calls[25]
    assert gap.verb == "omitted"
    assert [call.serial for call in calls[:26]] == list(range(1, 27))
    assert (gap.last + 1, calls[-1].serial, tracer.last) == (calls[26].serial, 1000, 1000)
    assert gap.number + len(calls) - 1 == 1000
    assert tracer.counts.verbs["read"] == 1000
    assert tracer.counts.bytes_read == 4000
    assert isinstance(gap, Call)


def test_arguments_that_are_memory() -> None:
    """Structures, arrays and byte arrays are; numbers, NULL and None are not."""
    pointer: Any = ffi.new("struct vfio_device_info *")
    for argument in (pointer, pointer[0]):
        view = argument_view(argument)
        assert view is not None
        assert len(view) == 24
        view[0] = 7
        assert pointer.argsz == 7
    array = argument_view(ffi.new("uint64_t[3]"))
    assert array is not None
    assert len(array) == 24
    for number in (None, 5, ffi.NULL, ffi.cast("struct vfio_device_info *", 0)):
        assert argument_view(number) is None


def test_memory_is_at_its_address() -> None:
    """Zeroed, page-aligned, and released once."""
    with Memory(5000) as memory:
        assert memory.address % mmap.PAGESIZE == 0
        assert bytes(memory.view) == bytes(5000)
        ffi.cast("uint8_t *", memory.address)[4999] = 7
        assert memory.view[4999] == 7
        part = memory.view[:8]
        with pytest.raises(BufferError):
            memory.release()
        part.release()
    assert memory.released
    memory.release()
    with pytest.raises(ValueError, match="-1 bytes"):
        Memory(-1)


def test_pause_without_requests_ends() -> None:
    """Other threads run in the meantime."""
    device = Plain()
    threads = [threading.Thread(target=device.pause, args=(0.01,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
