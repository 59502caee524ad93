# SPDX-License-Identifier: GPL-2.0-only
"""The vfio-user client against servers that behave."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from peer import COMMAND, ERROR, NO_REPLY, REPLY, Peer, Request
from scripted import AMPLE, Connect, Script

from vfio_compliance.transport import CallTimeout, PeerGone, SetupError, Target, VfioUser, VfioUserSettings
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA
from vfio_compliance.uapi.vfio import (
    VFIO_DEVICE_GET_INFO,
    VFIO_DEVICE_GET_REGION_INFO,
    VFIO_DEVICE_RESET,
    VFIO_DEVICE_SET_IRQS,
    ffi,
)

REGION_SIZE = 4096
SMALL = struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_data_xfer_size":8,"migration":{"pgsize":65536}}}\0'


class Model:
    """A server with one region of bytes; keeps the requests it received."""

    def __init__(self, refuse_from: int = 1 << 64, at_most: int = 1 << 30) -> None:
        self.region = bytearray(REGION_SIZE)
        self.seen: list[Request] = []
        self._refuse_from = refuse_from
        self._at_most = at_most

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.receive()
            self.seen.append(request)
            if request.command not in (9, 10):
                peer.reply(request)
                continue
            offset, region, count = struct.unpack_from("<QII", request.payload)
            if offset >= self._refuse_from:
                peer.reply(request, flags=REPLY | ERROR, error=errno.EINVAL)
                continue
            count = min(count, self._at_most)
            head = struct.pack("<QII", offset, region, count)
            if request.command == 9:
                peer.reply(request, head + self.region[offset : offset + count])
            else:
                self.region[offset : offset + count] = request.payload[16 : 16 + count]
                peer.reply(request, head)

    def accesses(self) -> list[tuple[int, int, int, int]]:
        return [(each.command, *struct.unpack_from("<QII", each.payload)) for each in self.seen]


def test_access_is_one_message(connect: Connect) -> None:
    """Its count is the width of the access, including 0 and odd widths."""
    model = Model()
    client = connect(model)
    assert client.write(9, 0x20, b"abcdefgh") == (8, 0)
    assert client.read(9, 0x21, 3) == ((3, 0), b"bcd")
    assert client.read(9, 0, 0) == ((0, 0), b"")
    assert client.write(9, 0, b"") == (0, 0)
    assert model.accesses() == [(10, 0x20, 9, 8), (9, 0x21, 9, 3), (9, 0, 9, 0), (10, 0, 9, 0)]


def test_any_offset_and_region_is_sent(connect: Connect) -> None:
    """The client does not check them."""
    model = Model(refuse_from=1)
    client = connect(model)
    assert client.read(2**32 - 1, 2**64 - 1, 4) == ((-1, errno.EINVAL), b"")
    assert client.write(0, 1 << 63, b"a") == (-1, errno.EINVAL)
    assert model.accesses() == [(9, 2**64 - 1, 2**32 - 1, 4), (10, 1 << 63, 0, 1)]


def test_short_write_is_returned(connect: Connect) -> None:
    """A count below the length, as a system call would return it."""
    client = connect(Model(at_most=0))
    assert client.write(9, 0, b"abcd") == (0, 0)
    assert client.read(9, 0, 4) == ((0, 0), b"")


def test_accesses_above_the_servers_limit_are_split(connect: Connect) -> None:
    """Into pieces of the largest size allowed, in order."""
    model = Model()
    client = connect(model, SMALL)
    assert client.write(2, 4, bytes(range(20))) == (20, 0)
    assert client.read(2, 4, 20) == ((20, 0), bytes(range(20)))
    assert client.read(2, 0, 8)[0] == (8, 0)
    assert model.accesses() == [
        (10, 4, 2, 8),
        (10, 12, 2, 8),
        (10, 20, 2, 4),
        (9, 4, 2, 8),
        (9, 12, 2, 8),
        (9, 20, 2, 4),
        (9, 0, 2, 8),
    ]


def test_split_access_ends_at_the_first_refusal(connect: Connect) -> None:
    """Bytes transferred before it count; a refused first piece is a failure."""
    client = connect(Model(refuse_from=16), SMALL)
    assert client.write(2, 0, bytes(32)) == (16, 0)
    assert client.read(2, 8, 32) == ((8, 0), bytes(8))
    assert client.read(2, 16, 32) == ((-1, errno.EINVAL), b"")
    assert client.write(2, 16, bytes(32)) == (-1, errno.EINVAL)


def test_split_access_ends_at_the_first_short_piece(connect: Connect) -> None:
    """As a system call would."""
    client = connect(Model(at_most=5), SMALL)
    assert client.write(2, 0, bytes(32)) == (5, 0)
    assert client.read(2, 0, 32) == ((5, 0), bytes(5))


def test_bitmap_has_the_smaller_page_size(connect: Connect) -> None:
    """The smaller of the client's and the server's."""
    client = connect(Model(), SMALL)
    assert client.dirty_page_size == min(mmap.PAGESIZE, 65536)


def test_information_is_copied_to_the_argument(connect: Connect) -> None:
    """The message has the argument's argsz; the argument receives as much as it has room for."""
    answer = struct.pack("<IIIIQQ", 80, 15, 9, 32, 0x5000, 0x9000) + bytes(range(48))

    def script(peer: Peer) -> None:
        for length in (32, 80):
            request = peer.receive()
            asked.append(struct.unpack_from("<II", request.payload, 0))
            peer.reply(request, answer[:length])
        peer.wait_for_end()

    asked: list[tuple[int, int]] = []
    client = connect(script)
    small = ffi.new("struct vfio_region_info *", {"argsz": 32, "flags": 0xDEAD, "index": 9})
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, small) == (0, 0)
    assert ffi.buffer(small)[:] == answer[:32]
    large = bytearray(struct.pack("<IIII", 100, 0, 9, 0).ljust(100, b"\xee"))
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, large) == (0, 0)
    assert large == answer + b"\xee" * 20
    assert asked == [(32, 0xDEAD), (100, 0)]


def test_wrong_arguments_are_sent_unchanged(connect: Connect) -> None:
    """The server must refuse a small argsz and unknown flags; a short argument is padded with zeros."""

    def script(peer: Peer) -> None:
        for _ in range(2):
            request = peer.receive()
            seen.append(request.payload)
            peer.reply(request, flags=REPLY | ERROR, error=errno.EINVAL)
        peer.wait_for_end()

    seen: list[bytes] = []
    client = connect(script)
    argument = bytearray(struct.pack("<II", 3, 0xFFFFFFFF))
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_INFO, argument) == (-1, errno.EINVAL)
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument) == (-1, errno.EINVAL)
    assert seen[0] == struct.pack("<IIII", 3, 0xFFFFFFFF, 0, 0)
    assert seen[1] == struct.pack("<II", 3, 0xFFFFFFFF) + bytes(32)
    assert argument == struct.pack("<II", 3, 0xFFFFFFFF)


def test_requests_without_a_message_are_refused(connect: Connect) -> None:
    """ENOTTY for unknown requests and wrong targets, EFAULT for pointers; nothing is sent."""
    client = connect(lambda peer: peer.wait_for_end())
    assert client.ioctl(Target.DEVICE, 0x1234, bytearray(8)) == (-1, errno.ENOTTY)
    assert client.ioctl(Target.GROUP, VFIO_DEVICE_RESET) == (-1, errno.ENOTTY)
    assert client.ioctl(Target.DEVICE, VFIO_IOMMU_MAP_DMA, bytearray(32)) == (-1, errno.ENOTTY)
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_INFO, 0) == (-1, errno.EFAULT)
    assert not client.takes_pointers


def test_reset_is_a_message_without_payload(connect: Connect) -> None:
    """And it is counted."""
    model = Model()
    client = connect(model)
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_RESET) == (0, 0)
    assert [(each.command, each.payload) for each in model.seen] == [(13, b"")]
    assert client.tracer.counts.resets == 1


class Irqs:
    """A server that refuses vectors from a number on; keeps the requests it received."""

    def __init__(self, refuse_from: int = 1 << 32) -> None:
        self.seen: list[tuple[tuple[int, ...], bytes, int]] = []
        self._refuse_from = refuse_from

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.receive()
            assert request.command == 8
            fields = struct.unpack_from("<IIIII", request.payload)
            self.seen.append((fields, request.payload[20:], len(request.descriptors)))
            refused = fields[3] >= self._refuse_from
            peer.reply(request, flags=REPLY | ERROR * refused, error=errno.EINVAL * refused)


def set_irqs(client: VfioUser, *eventfds: int, count: int | None = None, argsz: int | None = None) -> tuple[int, int]:
    """VFIO_DEVICE_SET_IRQS with eventfds for the vectors of index 1 from 3 on."""
    count = len(eventfds) if count is None else count
    header = struct.pack("<IIIII", 20 + 4 * count if argsz is None else argsz, 36, 1, 3, count)
    argument = bytearray(header + struct.pack(f"<{len(eventfds)}i", *eventfds))
    return client.ioctl(Target.DEVICE, VFIO_DEVICE_SET_IRQS, argument)


@pytest.fixture
def eventfd() -> Iterator[int]:
    """One for all vectors."""
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def test_eventfds_are_sent_as_descriptors(connect: Connect, eventfd: int) -> None:
    """The message has only the header. A bad descriptor is EBADF, and the connection stays usable."""
    irqs = Irqs()
    client = connect(irqs)
    assert set_irqs(client, eventfd, 9999) == (-1, errno.EBADF)
    assert set_irqs(client, eventfd) == (0, 0)
    assert irqs.seen == [((20, 36, 1, 3, 1), b"", 1)]


def test_other_data_of_interrupts_is_in_the_message(connect: Connect) -> None:
    """As it is in the argument."""
    irqs = Irqs()
    client = connect(irqs)
    triggers = bytearray(struct.pack("<IIIII", 22, 34, 0, 0, 2) + b"\1\0")
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_SET_IRQS, triggers) == (0, 0)
    nothing = bytearray(struct.pack("<IIIII", 20, 33, 0, 0, 0))
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_SET_IRQS, nothing) == (0, 0)
    assert irqs.seen == [((22, 34, 0, 0, 2), b"\1\0", 0), ((20, 33, 0, 0, 0), b"", 0)]


def test_more_eventfds_than_a_message_carries_are_split(connect: Connect, eventfd: int) -> None:
    """Four per message, the server's limit; each message names the vectors of its descriptors."""
    irqs = Irqs()
    client = connect(irqs)
    assert set_irqs(client, *[eventfd] * 9) == (0, 0)
    assert irqs.seen == [((20, 36, 1, start, n), b"", n) for start, n in ((3, 4), (7, 4), (11, 1))]


def test_no_message_has_more_eventfds_than_linux_passes(connect: Connect, eventfd: int) -> None:
    """Whatever limit the server names."""
    irqs = Irqs()
    client = connect(irqs, struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_msg_fds":4000000000}}\0')
    assert set_irqs(client, *[eventfd] * 300) == (0, 0)
    assert [(fields[3], sent) for fields, _, sent in irqs.seen] == [(3, 253), (256, 47)]


def test_no_eventfd_is_sent_for_minus_one(connect: Connect, eventfd: int) -> None:
    """Vectors without one have their own message: one without descriptors disconnects all of its vectors."""
    irqs = Irqs()
    client = connect(irqs)
    assert set_irqs(client, -1, -1, eventfd, -1) == (0, 0)
    assert irqs.seen == [((20, 36, 1, 3, 2), b"", 0), ((20, 36, 1, 5, 1), b"", 1), ((20, 36, 1, 6, 1), b"", 0)]


def test_setting_interrupts_ends_at_the_first_refusal(connect: Connect, eventfd: int) -> None:
    """Its errno is that of the whole request."""
    irqs = Irqs(refuse_from=7)
    client = connect(irqs)
    assert set_irqs(client, *[eventfd] * 12) == (-1, errno.EINVAL)
    assert [fields[3:] for fields, _, _ in irqs.seen] == [(3, 4), (7, 4)]


def test_too_few_eventfds_are_refused_by_the_client(connect: Connect, eventfd: int) -> None:
    """Fewer, or none, would have another meaning."""
    irqs = Irqs()
    client = connect(irqs)
    assert set_irqs(client, eventfd, count=2) == (-1, errno.EINVAL)
    assert set_irqs(client, eventfd, eventfd, argsz=24) == (-1, errno.EINVAL)
    assert set_irqs(client, count=2**32 - 1, argsz=2**32 - 1) == (-1, errno.EINVAL)
    assert irqs.seen == []


def test_wrong_eventfd_requests_reach_the_server(connect: Connect) -> None:
    """A count of 0, or an argsz below the size of the header."""
    irqs = Irqs()
    client = connect(irqs)
    assert set_irqs(client, count=0) == (0, 0)
    assert set_irqs(client, count=0, argsz=8) == (0, 0)
    assert irqs.seen == [((20, 36, 1, 3, 0), b"", 0), ((8, 36, 1, 3, 0), b"", 0)]


def test_server_may_accept_no_descriptor(connect: Connect, eventfd: int) -> None:
    """No eventfd can be connected; a message to disconnect them is still sent."""
    irqs = Irqs()
    client = connect(irqs, struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_msg_fds":0}}\0')
    assert set_irqs(client, -1, eventfd) == (-1, errno.EINVAL)
    assert set_irqs(client, -1, -1) == (0, 0)
    assert irqs.seen == [((20, 36, 1, 3, 2), b"", 0)]


# Memory


def _map(client: VfioUser, address: int, iova: int, size: int, flags: int = 3) -> tuple[int, int]:
    argument = bytearray(struct.pack("<IIQQQ", 32, flags, address, iova, size))
    return client.ioctl(Target.CONTAINER, VFIO_IOMMU_MAP_DMA, argument)


class DmaServer:
    """Accepts mappings, and sends the given messages before it answers the next read."""

    def __init__(self, *messages: tuple[int, int, int, bytes, int]) -> None:
        self._messages = messages
        self.mapped: list[tuple[bytes, int]] = []
        self.answers: list[tuple[int, int, int, bytes]] = []

    def __call__(self, peer: Peer) -> None:
        while True:
            request = peer.receive()
            if request.command == 2:
                self.mapped.append((request.payload, len(request.descriptors)))
                peer.reply(request)
                continue
            for number, (command, address, count, data, flags) in enumerate(self._messages):
                peer.send(number, command, struct.pack("<QQ", address, count) + data, flags)
                if not flags & NO_REPLY:
                    answer = peer.receive()
                    assert (answer.id, answer.command) == (number, command)
                    self.answers.append((answer.command, answer.flags, answer.error, answer.payload))
            peer.reply(request, request.payload + bytes(struct.unpack_from("<I", request.payload, 12)[0]))


def test_dma_is_served_during_a_call(connect: Connect) -> None:
    """Reads and writes reach the memory at their address, across adjacent mappings, and are traced."""
    server = DmaServer(
        (12, 0x1FFE, 4, b"WXYZ", COMMAND),
        (11, 0x1FFC, 8, b"", COMMAND),
        (12, 0x1000, 2, b"qq", NO_REPLY),
    )
    client = connect(server)
    with client.memory(8192) as memory, client.memory(4096) as other:
        assert memory.address % mmap.PAGESIZE == 0
        assert _map(client, memory.address + 4096, 0x1000, 4096) == (0, 0)
        assert _map(client, other.address, 0x2000, 4096) == (0, 0)
        assert client.read(9, 0, 4)[0] == (4, 0)
        assert bytes(memory.view[8190:]) == b"WX"
        assert bytes(other.view[:2]) == b"YZ"
        assert bytes(memory.view[4096:4098]) == b"qq"
    head = struct.pack("<QQ", 0x1FFE, 4)
    assert server.answers == [
        (12, REPLY, 0, head),
        (11, REPLY, 0, struct.pack("<QQ", 0x1FFC, 8) + b"\0\0WXYZ\0\0"),
    ]
    assert server.mapped[0] == (struct.pack("<IIQQQ", 32, 3, 4096, 0x1000, 4096), 1)
    verbs = [(call.verb, call.target, call.number, call.length, call.value) for call in client.tracer.calls]
    assert ("dma-write", "memory", 0x1FFE, 4, 4) in verbs
    assert ("dma-read", "memory", 0x1FFC, 8, 8) in verbs


@pytest.mark.parametrize(
    ("command", "address", "count", "data", "error"),
    [
        pytest.param(12, 0x1FFF, 2, b"ab", errno.EFAULT, id="write past the end"),
        pytest.param(11, 0xFFF, 2, b"", errno.EFAULT, id="read before the start"),
        pytest.param(11, 2**64 - 1, 8, b"", errno.EFAULT, id="read that wraps"),
        pytest.param(12, 0x3000, 1, b"a", errno.EACCES, id="write to memory mapped for reading"),
        pytest.param(11, 0x1000, (1 << 20) + 1, b"", errno.EINVAL, id="more than agreed on"),
        pytest.param(11, 0x1000, 2**64 - 1, b"", errno.EINVAL, id="read of 2^64 - 1 bytes"),
    ],
)
def test_dma_outside_the_mappings_is_refused(
    connect: Connect, command: int, address: int, count: int, data: bytes, error: int
) -> None:
    """The server gets an error reply, no byte is transferred, and the call continues."""
    server = DmaServer((command, address, count, data, COMMAND))
    client = connect(server)
    with client.memory(4096) as memory:
        _map(client, memory.address, 0x1000, 4096)
        _map(client, memory.address, 0x3000, 4096, flags=1)
        assert client.read(9, 0, 4)[0] == (4, 0)
        assert bytes(memory.view) == bytes(4096)
    assert server.answers == [(command, REPLY | ERROR, error, b"")]


def test_server_cannot_reach_released_memory(connect: Connect) -> None:
    """Even while the mapping exists."""
    server = DmaServer((12, 0x1000, 1, b"a", COMMAND))
    client = connect(server)
    memory = client.memory(4096)
    _map(client, memory.address, 0x1000, 4096)
    memory.release()
    memory.release()
    client.read(9, 0, 4)
    assert server.answers == [(12, REPLY | ERROR, errno.EFAULT, b"")]


def test_dma_is_served_during_a_pause(connect: Connect) -> None:
    """For the whole time, not only until the first request."""

    def script(peer: Peer) -> None:
        peer.reply(peer.receive())
        for number in range(3):
            peer.send(number, 12, struct.pack("<QQ", 0x1000 + number, 1) + b"x", COMMAND)
        sent.set()
        peer.wait_for_end()

    sent = threading.Event()
    client = connect(script)
    with client.memory(4096) as memory:
        _map(client, memory.address, 0x1000, 4096)
        assert sent.wait(AMPLE)
        client.pause(0.05)
        assert bytes(memory.view[:4]) == b"xxx\0"


def test_only_memory_of_the_transport_can_be_mapped(connect: Connect) -> None:
    """Any other address has no file to pass."""
    client = connect(Model())
    with client.memory(4096) as memory:
        assert _map(client, memory.address + 4096, 0, 4096) == (-1, errno.EFAULT)
        assert _map(client, memory.address, 0, 8192) == (-1, errno.EFAULT)
        assert _map(client, 0, 0, 4096) == (-1, errno.EFAULT)
    with pytest.raises(ValueError, match="0 bytes"):
        client.memory(0)


def test_client_reads_while_the_server_is_busy_writing(connect: Connect) -> None:
    """If both sides send more than the socket holds, the client reads before it continues."""

    def script(peer: Peer) -> None:
        peer.reply(peer.receive())
        for number in range(16):
            data = bytes([number]) * 65536
            peer.send(number, 12, struct.pack("<QQ", 0x10000 * number, 65536) + data, NO_REPLY)
        request = peer.receive()
        peer.reply(request, request.payload[:16])
        peer.wait_for_end()

    version = struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_data_xfer_size":67108864}}\0'
    client = connect(script, version)
    with client.memory(1 << 20) as memory:
        _map(client, memory.address, 0, 1 << 20)
        assert client.write(2, 0, bytes(4 << 20)) == (4 << 20, 0)
        assert bytes(memory.view[::65536]) == bytes(range(16))


def _get_bitmap(address: int, size: int = 8) -> bytearray:
    return bytearray(struct.pack("<IIQQQQQ", 48, 4, 0x1000, 3 * 4096, 4096, size, address))


def test_bitmap_is_written_where_the_argument_points(connect: Connect) -> None:
    """The address is not sent; argsz grows by the bitmap, which is a part of the reply."""
    wire = struct.pack("<IIQQQQ", 48, 4, 0x1000, 3 * 4096, 4096, 8)

    def script(peer: Peer) -> None:
        for _ in range(2):
            request = peer.receive()
            seen.append(request.payload)
            peer.reply(request, wire + b"\5" + bytes(7))
        peer.wait_for_end()

    seen: list[bytes] = []
    client = connect(script)
    bitmap = ffi.new("uint64_t[1]")
    argument = _get_bitmap(int(ffi.cast("uintptr_t", bitmap)))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument) == (0, 0)
    assert bitmap[0] == 5
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, _get_bitmap(8)) == (-1, errno.EFAULT)
    assert seen == [wire, wire]


def test_larger_argsz_in_a_reply_is_a_refusal(connect: Connect) -> None:
    """Only the fixed part, with a larger argsz, means the same as EINVAL from the kernel."""
    wire = struct.pack("<IIQQQQ", 4096, 4, 0x1000, 3 * 4096, 4096, 8)

    def script(peer: Peer) -> None:
        peer.reply(peer.receive(), wire)
        peer.wait_for_end()

    client = connect(script)
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, _get_bitmap(1)) == (-1, errno.EINVAL)


def _unmap(connect: Connect, argument: bytearray, bitmap: bytes = b"") -> bytes:
    """Unmap, and check that the server cannot reach the memory any longer; returns the payload that it received."""

    def script(peer: Peer) -> None:
        peer.reply(peer.receive())
        request = peer.receive()
        seen.append(request.payload)
        peer.reply(request, request.payload + bitmap)
        peer.send(1, 12, struct.pack("<QQ", 0x1000, 1) + b"x", COMMAND)
        sent.set()
        refused.append(peer.receive().error)
        done.set()
        peer.wait_for_end()

    seen: list[bytes] = []
    refused: list[int] = []
    sent, done = threading.Event(), threading.Event()
    client = connect(script)
    with client.memory(4096) as memory:
        _map(client, memory.address, 0x1000, 4096)
        assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, argument) == (0, 0)
        assert sent.wait(AMPLE)
        client.pause(0.02)
        assert done.wait(AMPLE)
    assert refused == [errno.EFAULT]
    (payload,) = seen
    return payload


def test_unmap_returns_the_size(connect: Connect) -> None:
    """The kernel writes it to the argument, too."""
    argument = bytearray(struct.pack("<IIQQ", 24, 0, 0x1000, 4096))
    assert _unmap(connect, argument) == struct.pack("<IIQQ", 24, 0, 0x1000, 4096)
    assert struct.unpack_from("<Q", argument, 16) == (4096,)


def test_unmap_returns_the_size_and_the_bitmap(connect: Connect) -> None:
    """The bitmap is written where the argument points."""
    bitmap = ffi.new("uint64_t[1]")
    address = int(ffi.cast("uintptr_t", bitmap))
    argument = bytearray(struct.pack("<IIQQQQQ", 48, 1, 0x1000, 4096, 4096, 8, address))
    payload = _unmap(connect, argument, b"\1" + bytes(7))
    assert payload == struct.pack("<IIQQQQ", 48, 1, 0x1000, 4096, 4096, 8)
    assert struct.unpack_from("<Q", argument, 16) == (4096,)
    assert bitmap[0] == 1


# Mappings of regions


def _region_server(*descriptors: int) -> Script:
    def script(peer: Peer) -> None:
        while True:
            request = peer.receive()
            answer = struct.pack("<IIIIQQ", 32, 7, 9, 0, 8192, 4096)
            peer.send(request.id, request.command, answer, descriptors=descriptors)

    return script


def _errno_of_map(client: VfioUser, offset: int, length: int) -> int | None:
    """The errno of a mapping that must fail; the trace has the same."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number is checked
        client.map(9, offset, length)
    assert client.tracer.calls[-1].errno == caught.value.errno
    return caught.value.errno


def test_region_is_mapped_by_the_servers_file(connect: Connect) -> None:
    """At the region's offset plus the area's; information is requested once, and close() unmaps."""
    descriptor = os.memfd_create("region")
    os.truncate(descriptor, 4096 + 8192)
    client = connect(_region_server(descriptor))
    mapping = client.map(9, 4096, 4096)
    mapping[:4] = b"abcd"
    again = client.map(9, 4096, 4096)
    assert again[:4] == b"abcd"
    assert os.pread(descriptor, 4, 8192) == b"abcd"
    assert [call.verb for call in client.tracer.calls] == ["version", "open", "ioctl", "map", "map"]
    client.close()
    assert mapping.closed
    assert again.closed
    os.close(descriptor)


def _capable_region(descriptor: int) -> Script:
    """A region with capabilities, whose descriptor comes with the whole information."""

    def script(peer: Peer) -> None:
        while True:
            request = peer.receive()
            whole = int.from_bytes(request.payload[:4], "little") >= 56
            fixed = struct.pack("<IIIIQQ", 56, 15, 9, 32 if whole else 0, 4096, 0)
            chain = struct.pack("<HHIIIQQ", 1, 1, 0, 0, 0, 0, 0)[:24] if whole else b""
            peer.send(request.id, request.command, fixed + chain, descriptors=[descriptor] if whole else [])

    return script


def _ask_for_the_fixed_part(client: VfioUser) -> None:
    argument = bytearray(struct.pack("<IIIIQQ", 32, 0, 9, 0, 0, 0))
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, argument) == (0, 0)


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda client: None, id="no request before"),
        pytest.param(_ask_for_the_fixed_part, id="request without room before"),
    ],
)
def test_map_requests_the_whole_information(connect: Connect, prepare: Callable[[VfioUser], None]) -> None:
    """Only then does the region's descriptor come."""
    descriptor = os.memfd_create("region")
    os.truncate(descriptor, 4096)
    client = connect(_capable_region(descriptor))
    prepare(client)
    client.map(9, 0, 4096)[:4] = b"abcd"
    assert os.pread(descriptor, 4, 0) == b"abcd"
    client.close()
    os.close(descriptor)


@pytest.mark.parametrize(
    ("size", "offset", "length", "code"),
    [
        pytest.param(8192, 4096, 4096, errno.ENXIO, id="file ends before the area"),
        pytest.param(8192, 0, 8192, errno.ENXIO, id="file ends inside the area"),
        pytest.param(8192, 0, 0, errno.EINVAL, id="no bytes"),
        pytest.param(16384, 1, 4096, errno.EINVAL, id="not at a page"),
        pytest.param(8192, -4096, 4096, errno.EINVAL, id="before the region"),
        pytest.param(8192, 0, 1 << 63, errno.EINVAL, id="2^63 bytes"),
        pytest.param(8192, 1 << 63, 4096, errno.EINVAL, id="at 2^63"),
    ],
)
def test_impossible_mapping_is_an_oserror(connect: Connect, size: int, offset: int, length: int, code: int) -> None:
    """A mapping whose access would kill the process is never made."""
    descriptor = os.memfd_create("region")
    os.truncate(descriptor, size)
    assert _errno_of_map(connect(_region_server(descriptor)), offset, length) == code
    os.close(descriptor)


def test_region_without_a_descriptor_cannot_be_mapped(connect: Connect) -> None:
    """ENODEV."""
    assert _errno_of_map(connect(_region_server()), 0, 4096) == errno.ENODEV


def test_mapping_in_use_is_reported_at_close(connect: Connect) -> None:
    """It would keep the device open unnoticed."""
    descriptor = os.memfd_create("region")
    os.truncate(descriptor, 16384)
    client = connect(_region_server(descriptor))
    mapping = client.map(9, 0, 4096)
    view = memoryview(mapping)
    with pytest.raises(RuntimeError, match=r"1 mapping"):
        client.close()
    assert not client.is_open
    view.release()
    mapping.close()
    os.close(descriptor)


# Reaching the server


def test_missing_socket_is_a_setup_error(tmp_path: object) -> None:
    """With the path and a remedy."""
    client = VfioUser(VfioUserSettings(f"{tmp_path}/none.sock", None, 1, 1))
    with pytest.raises(SetupError, match=r"none\.sock: No such file"):
        client.open()
    assert client.tracer.calls[-1].errno == errno.ENODEV
    assert client.tracer.counts.opens == 0


def test_neither_socket_nor_command_is_a_setup_error() -> None:
    """There is nothing to connect to."""
    with pytest.raises(SetupError, match="neither socket nor command"):
        VfioUser(VfioUserSettings(None, None, 1, 1))


def test_path_too_long_for_a_socket_is_reported(tmp_path: object) -> None:
    """With the limit."""
    client = VfioUser(VfioUserSettings("/tmp/" + "x" * 120, None, 1, 1))
    with pytest.raises(SetupError, match="125 bytes, and a UNIX socket takes at most 107"):
        client.open()


def test_calls_need_an_open_device(connect: Connect) -> None:
    """And it can be opened only once."""
    client = connect(Model())
    with pytest.raises(RuntimeError, match="open already"):
        client.open()
    client.close()
    client.close()
    with pytest.raises(SetupError, match="not open"):
        client.read(9, 0, 4)
    with pytest.raises(SetupError, match="not open"):
        client.ioctl(Target.DEVICE, VFIO_DEVICE_RESET)
    with client as opened:
        assert opened.read(9, 0, 4)[0].ok
    assert client.tracer.counts.opens == 2


def test_interrupted_call_ends_the_connection(connect: Connect) -> None:
    """After an exception in a call, such as a test's timeout, a reply would arrive that fits no other call."""

    class Interruption(Exception):
        pass

    def script(peer: Peer) -> None:
        peer.receive()
        peer.wait_for_end()

    client = connect(script, deadline=5)

    def interrupt(number: int, frame: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Interruption):
            client.read(9, 0, 4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(PeerGone, match="given up"):
        client.read(9, 0, 4)


def test_identity_names_the_server(connect: Connect) -> None:
    """Version and capabilities as the server sent them."""
    identity = connect(Model(), SMALL).identity()
    assert identity["transport"] == "vfio-user"
    assert identity["protocol version"] == "0.0"
    assert '"pgsize":65536' in identity["capabilities"]
    assert identity["socket"].endswith(".sock")


def test_threads_take_turns(connect: Connect) -> None:
    """Every thread gets the replies to its own calls."""
    model = Model()
    model.region[:] = bytes(range(256)) * 16
    client = connect(model)
    wrong: list[object] = []

    def work(start: int) -> None:
        try:
            for offset in range(start, start + 100):
                if client.read(9, offset, 1)[1] != model.region[offset : offset + 1]:
                    wrong.append(offset)
        except CallTimeout as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
