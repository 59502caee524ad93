# SPDX-License-Identifier: GPL-2.0-only
"""Servers with deviations that a client can tolerate: the call ends as it should, and the connection stays usable."""

from __future__ import annotations

import errno
import os
import resource
import struct
from collections.abc import Callable

import pytest
from peer import COMMAND, ERROR, REPLY, Peer, Request
from scripted import ACCESS, Connect, version

from vfio_compliance.common.words import counted
from vfio_compliance.device import Container, Device, DeviceError
from vfio_compliance.transport import CallTimeout, Outcome, ProtocolViolation, Target, VfioUser
from vfio_compliance.transport.vfio_user.wire import describe
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_REGION_INFO, VFIO_DEVICE_RESET

REFUSED = REPLY | ERROR


def _answering(*answers: Callable[[Peer, Request], None]) -> Callable[[Peer], None]:
    """An answer for each request; the last one is for all that follow."""

    def script(peer: Peer) -> None:
        for answer in answers:
            answer(peer, peer.receive())
        while True:
            answers[-1](peer, peer.receive())

    return script


def _good(peer: Peer, request: Request) -> None:
    peer.reply(request, ACCESS + b"good" if request.command == 9 else b"")


def _read(client: VfioUser) -> tuple[Outcome, bytes]:
    return client.read(9, 0x10, 4)


@pytest.mark.parametrize("body", [1, 4, 20, 4096, 65537, 1 << 20], ids=str)
def test_body_after_an_error_is_skipped(connect: Connect, body: int) -> None:
    """The refusal is returned, the next call succeeds, and there is one remark, however often it happens."""
    refuse = lambda peer, request: peer.reply(request, bytes(body), flags=REFUSED, error=errno.EBUSY)  # noqa: E731
    client = connect(_answering(refuse, refuse, _good))
    for _ in range(2):
        assert _read(client) == ((-1, errno.EBUSY), b"")
    assert _read(client) == ((4, 0), b"good")
    (remark,) = client.remarks
    size = counted(body, "byte")
    assert remark.startswith(f"the server sends a body after an error: {size} with the reply to REGION_READ of")


def test_skipped_body_takes_no_memory(connect: Connect) -> None:
    """1 MiB, two hundred times."""
    refuse = lambda peer, request: peer.reply(request, bytes(1 << 20), flags=REFUSED, error=22)  # noqa: E731
    client = connect(_answering(refuse))
    _read(client)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        assert _read(client)[0] == (-1, 22)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_missing_body_is_a_timeout(connect: Connect) -> None:
    """A body that the header announces has the deadline of the reply."""
    promise = lambda peer, request: peer.send(request.id, 9, flags=REFUSED, error=22, size=100)  # noqa: E731
    client = connect(_answering(promise), deadline=1)
    with pytest.raises(CallTimeout):
        _read(client)


@pytest.mark.parametrize("code", [0, 4096, 2**32 - 22], ids=["0", "not an errno", "negative"])
def test_refusal_without_an_errno_is_a_refusal(connect: Connect, code: int) -> None:
    """Its errno is 0, which shows that there was none."""
    client = connect(_answering(lambda peer, request: peer.reply(request, flags=REFUSED, error=code)))
    outcome, data = _read(client)
    assert (outcome, data, outcome.ok) == ((-1, 0), b"", False)
    assert client.write(9, 0, b"abcd") == (-1, 0)
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_RESET) == (-1, 0)
    assert [remark.partition(":")[0] for remark in client.remarks] == ["the server refuses without an errno"]
    assert client.tracer.calls[-1][6:8] == (-1, 0)


def _echo(peer: Peer, request: Request) -> None:
    peer.reply(request, request.payload or b"echo")


def test_undefined_payload_is_dropped(connect: Connect) -> None:
    """Such as the request echoed, for a mapping, a reset, START, and a write to a region."""
    client = connect(_answering(*[_echo] * 5, _good))
    memory = client.memory(4096)
    mapping = bytearray(struct.pack("<IIQQQ", 32, 3, memory.address, 0x1000, 4096))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_MAP_DMA, mapping) == (0, 0)
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_RESET) == (0, 0)
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, bytearray(struct.pack("<II", 8, 1))) == (0, 0)
    unmapping = bytearray(struct.pack("<IIQQ", 24, 0, 0x1000, 4096))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, unmapping) == (0, 0)
    assert client.write(9, 0x10, b"abcdefgh") == (8, 0)
    assert _read(client)[1] == b"good"
    assert [remark.partition(":")[0] for remark in client.remarks] == ["the server sends more payload than a reply has"]
    memory.release()


def test_second_reply_is_dropped(connect: Connect) -> None:
    """It is not used for the next command, and is accepted while the client only listens."""

    def twice(peer: Peer, request: Request) -> None:
        peer.reply(request, ACCESS + b"once")
        peer.reply(request, ACCESS + b"more")

    client = connect(_answering(twice, _good, twice, _good))
    assert [_read(client)[1] for _ in range(3)] == [b"once", b"good", b"once"]
    client.pause(0.01)
    assert _read(client)[1] == b"good"
    assert client.remarks == ["the server answers a command twice: a second reply to REGION_READ, with id 2"]


def test_reply_with_an_old_id_is_a_violation(connect: Connect) -> None:
    """A server that answers with the id of an earlier command is not just slow."""
    stale = lambda peer, request: peer.send(2, 9, ACCESS + b"late")  # noqa: E731
    client = connect(_answering(_good, stale), deadline=1)
    _read(client)
    with pytest.raises(ProtocolViolation) as caught:
        _read(client)
    assert (caught.value.expected, caught.value.seen) == ("id 3", "id 2")


@pytest.mark.parametrize("flags", [REPLY | 16, REPLY | 64, REPLY | 1 << 31])
def test_undefined_flags_are_ignored(connect: Connect, flags: int) -> None:
    """Only the type and the error flag count."""
    client = connect(_answering(lambda peer, request: peer.reply(request, ACCESS + b"good", flags=flags)))
    assert _read(client)[1] == b"good"
    assert "sets flags that a reply does not have: 0x" in client.remarks[0]


def test_errno_without_the_error_flag_is_ignored(connect: Connect) -> None:
    """There is a remark, as the flag was probably forgotten."""
    client = connect(_answering(lambda peer, request: peer.reply(request, ACCESS + b"good", error=5)))
    assert _read(client)[1] == b"good"
    assert "gives an errno without the error flag: 5" in client.remarks[0]


@pytest.mark.parametrize("count", [1, 8])
def test_unexpected_descriptors_are_closed(connect: Connect, count: int) -> None:
    """A fixture of all these tests checks that none is leaked."""

    def answer(peer: Peer, request: Request) -> None:
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            peer.send(request.id, 9, ACCESS + b"good", descriptors=[null] * count)
        finally:
            os.close(null)

    client = connect(_answering(answer))
    assert _read(client)[1] == b"good"
    assert f"descriptors that were not asked for: {count} with the reply" in client.remarks[0]


def test_partial_information_keeps_the_descriptor(connect: Connect) -> None:
    """A region's descriptor comes with the whole information; a later request for a part does not discard it."""
    whole = struct.pack("<IIIIQQ", 48, 15, 0, 0, 4096, 0) + bytes(16)
    backing = os.memfd_create("region")
    os.truncate(backing, 4096)
    asked: list[int] = []

    def answer(peer: Peer, request: Request) -> None:
        asked.append(int.from_bytes(request.payload[:4], "little"))
        enough = asked[-1] >= 48
        peer.send(request.id, 5, whole if enough else whole[:32], descriptors=[backing] if enough else [])

    client = connect(_answering(answer))
    for size in (48, 32):
        client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, bytearray(struct.pack("<I", size).ljust(size, b"\0")))
    client.map(0, 0, 4096).close()
    assert asked == [48, 32]
    client.close()
    os.close(backing)


# Information on the device


def _device(refusing: set[int], asked: list[int]) -> Callable[[Peer], None]:
    """A device of two regions; refuses these commands after the first that does not ask for information."""

    def script(peer: Peer) -> None:
        busy = False
        while True:
            request = peer.receive()
            asked.append(request.command)
            if request.command in (4, 5) and (busy or 0 in refusing) and request.command in refusing:
                peer.reply(request, flags=REFUSED, error=errno.EBUSY)
            elif request.command == 4:
                peer.reply(request, struct.pack("<IIII", 16, 1, 2, 0))
            elif request.command == 5:
                peer.reply(request, struct.pack("<III", 32, 3, request.payload[8]) + struct.pack("<IQQ", 0, 4096, 0))
            else:
                busy = True
                _good(peer, request)

    return script


def test_information_is_requested_after_each_open(connect: Connect) -> None:
    """And never later, when a device may refuse; the next open requests it again."""
    asked: list[int] = []
    client = connect(_device({4, 5}, asked))
    client.close()
    device = Device(client)
    for _ in range(2):
        device.open()
        assert asked == [4, 5, 5]
        _read(client)
        assert [region.size for region in device.regions] == [4096, 4096]
        assert device.announces_reset
        assert device.info()[1] == 2
        assert asked == [4, 5, 5, 9]
        with pytest.raises(DeviceError, match=r"device's information: expected success, seen EBUSY"):
            device.regions_now()
        device.close()
        asked.clear()


def test_refused_information_is_reported_when_it_is_needed(connect: Connect) -> None:
    """Opening continues; an access to the regions names the refused request, which is made once."""
    asked: list[int] = []
    client = connect(_device({0, 5}, asked))
    client.close()
    device = Device(client)
    device.open()
    for _ in range(2):
        with pytest.raises(DeviceError, match="information of region 0: expected success, seen EBUSY") as caught:
            _ = device.regions
        assert caught.value.errno == errno.EBUSY
    assert device.announces_reset
    assert asked == [4, 5]


# What was agreed on


def test_no_descriptor_is_sent_to_a_server_that_accepts_none(connect: Connect) -> None:
    """A mapping has none, and the server's messages reach the memory."""
    seen: list[int] = []

    def answer(peer: Peer, request: Request) -> None:
        seen.append(len(request.descriptors))
        peer.send(77, 12, struct.pack("<QQ", 0x1004, 4) + b"abcd", flags=COMMAND)
        peer.receive()
        peer.reply(request)

    def first(peer: Peer, request: Request) -> None:
        seen.append(len(request.descriptors))
        _good(peer, request)

    client = connect(_answering(first, answer), version(max_msg_fds=0))
    memory = client.memory(8192)
    argument = bytearray(struct.pack("<IIQQQ", 32, 3, memory.address, 0x1000, 8192))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_MAP_DMA, argument) == (0, 0)
    client.ioctl(Target.DEVICE, VFIO_DEVICE_RESET)
    assert seen == [0, 0]
    assert bytes(memory.view[:8]) == b"\0\0\0\0abcd"
    assert client.take_message_writes() == [0x1000]
    assert client.take_message_writes() == []
    memory.release()


def test_data_beyond_the_agreed_size_is_split(connect: Connect) -> None:
    """1 MiB for a server that transfers at most 4096 bytes, in both directions."""
    counts: list[int] = []

    def answer(peer: Peer, request: Request) -> None:
        count = struct.unpack_from("<QII", request.payload)[2]
        counts.append(count)
        peer.reply(request, request.payload[:16] + (b"x" * count if request.command == 9 else b""))

    client = connect(_answering(answer), version(max_data_xfer_size=4096))
    assert client.read(9, 0x1000, 1 << 20) == ((1 << 20, 0), b"x" * (1 << 20))
    assert client.write(9, 0x1000, bytes(1 << 20)) == (1 << 20, 0)
    assert set(counts) == {4096}


@pytest.mark.parametrize(("most", "largest"), [(4096, 4096), (1 << 16, 1 << 16), (1 << 30, 1 << 20)])
def test_argsz_never_exceeds_a_message(connect: Connect, most: int, largest: int) -> None:
    """Neither one set on purpose nor one that a bitmap needs."""
    seen: list[int] = []

    def answer(peer: Peer, request: Request) -> None:
        seen.append(int.from_bytes(request.payload[:4], "little"))
        peer.reply(request, flags=REFUSED, error=errno.EINVAL)

    client = connect(_answering(answer), version(max_data_xfer_size=most, migration={"pgsize": 4096}))
    assert client.largest_argsz == largest
    assert client.largest_bitmap == largest - 40
    assert Container(client).largest_argsz == largest
    assert Container(client).largest_bitmap() == largest - 40
    for size in (8, 1 << 63, (1 << 63) + 8):
        argument = bytearray(struct.pack("<IIQQQQQ", 48, 4, 0, 4096, 4096, size, 8))
        assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument) == (-1, errno.EINVAL)
    assert seen == [48, largest, largest]


def test_server_without_migration_is_reported(connect: Connect) -> None:
    """Instead of an errno made up by the client; no request is sent."""
    client = connect(lambda peer: peer.wait_for_end(), version())
    container = Container(client)
    assert container.page_sizes() == 0
    assert not container.offers_tracking
    assert container.no_tracking == (
        "the server's VERSION reply has no `migration` capability: it offers no dirty page tracking"
    )


def test_requests_are_described() -> None:
    """Unmapping with and without the bitmap, and each request of dirty page tracking."""
    unmap = struct.pack("<IIQQ", 24, 0, 0x1000, 4096)
    assert describe(3, unmap) == "DMA_UNMAP of 0x1000 bytes at 0x1000"
    assert describe(3, unmap[:4] + b"\1" + unmap[5:]) == "DMA_UNMAP of 0x1000 bytes at 0x1000, with its dirty bitmap"
    assert describe(14, struct.pack("<II", 8, 1)) == "DIRTY_PAGES to start tracking"
    assert describe(14, struct.pack("<IIQQQQ", 48, 4, 0x1000, 4096, 4096, 8)) == (
        "DIRTY_PAGES to get the bitmap of 0x1000 bytes at 0x1000"
    )
    assert describe(14, struct.pack("<II", 8, 7)) == "DIRTY_PAGES with flags 0x7"
