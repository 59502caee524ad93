# SPDX-License-Identifier: GPL-2.0-only
"""Servers that break the protocol in every way we could think of, and the client's error for each."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
from peer import ERROR, NO_REPLY, REPLY, Peer, Request
from scripted import ACCESS, AMPLE, GOOD_VERSION, Connect

from vfio_compliance.transport import (
    CallTimeout,
    PeerGone,
    ProtocolViolation,
    SetupError,
    Target,
    TransportError,
    VfioUser,
    VfioUserSettings,
)
from vfio_compliance.transport.vfio_user.wire import Peer as Proposal
from vfio_compliance.transport.vfio_user.wire import pack_version
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_UNMAP_DMA
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_GET_REGION_INFO

Answer = Callable[[Peer, Request], None]


def _answering(answer: Answer) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        answer(peer, peer.receive())
        peer.wait_for_end()

    return script


def _flood(peer: Peer, request: Request) -> None:
    while True:
        peer.send(7, 12, struct.pack("<QQ", 0, 1) + b"x", NO_REPLY)


def _drip(peer: Peer, request: Request) -> None:
    message = struct.pack("<HHIII", request.id, 9, 36, REPLY, 0) + ACCESS + b"abcd"
    for byte in message[:-1]:
        peer.stream.send(bytes([byte]))


def _hang_up(peer: Peer, request: Request) -> None:
    peer.stream.close()
    raise EOFError


def _hang_up_inside(peer: Peer, request: Request) -> None:
    peer.stream.send(struct.pack("<HHIII", request.id, 9, 36, REPLY, 0) + ACCESS[:3])
    _hang_up(peer, request)


def _hang_up_inside_header(peer: Peer, request: Request) -> None:
    peer.stream.send(b"\1\0")
    _hang_up(peer, request)


def _descriptors(count: int) -> Answer:
    def answer(peer: Peer, request: Request) -> None:
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            peer.send(request.id, 9, ACCESS + b"abcd", descriptors=[null] * count)
        finally:
            os.close(null)

    return answer


def _short_header(size: int) -> Answer:
    return lambda peer, request: peer.send(request.id, 9, size=size)


VIOLATIONS: dict[str, tuple[Answer, str, str]] = {
    "wrong id": (
        lambda peer, request: peer.send(request.id + 1, 9, ACCESS + b"abcd"),
        "id 2",
        "id 3",
    ),
    "wrong command": (
        lambda peer, request: peer.send(request.id, 10, ACCESS),
        "command REGION_READ",
        "REGION_WRITE",
    ),
    "unknown type": (
        lambda peer, request: peer.send(request.id, 9, ACCESS + b"abcd", flags=5),
        "a command (0) or a reply (1)",
        "type 5, flags 0x5",
    ),
    "size 0": (_short_header(0), "a size of 16 to 36 bytes", "0"),
    "size 15": (_short_header(15), "a size of 16 to 36 bytes", "15"),
    "size 2^32 - 1": (_short_header(2**32 - 1), "a size of 16 to 36 bytes", "4294967295"),
    "one byte too many": (
        lambda peer, request: peer.reply(request, ACCESS + b"abcde"),
        "a size of 16 to 36 bytes",
        "37",
    ),
    "payload too short": (
        lambda peer, request: peer.reply(request, ACCESS[:15]),
        "at least 16 bytes",
        "15",
    ),
    "count above the requested one": (
        lambda peer, request: peer.reply(request, struct.pack("<QII", 0x10, 9, 5) + b"abcd"),
        "a count up to 4",
        "5",
    ),
    "less data than counted": (
        lambda peer, request: peer.reply(request, ACCESS + b"abc"),
        "4 bytes of data as its count says",
        "3",
    ),
    "more data than counted": (
        lambda peer, request: peer.reply(request, struct.pack("<QII", 0x10, 9, 2) + b"abcd"),
        "2 bytes of data as its count says",
        "4",
    ),
    "other offset": (
        lambda peer, request: peer.reply(request, struct.pack("<QII", 0x14, 9, 4) + b"abcd"),
        "offset 0x10 of region 9",
        "offset 0x14 of region 9",
    ),
    "other region": (
        lambda peer, request: peer.reply(request, struct.pack("<QII", 0x10, 8, 4) + b"abcd"),
        "offset 0x10 of region 9",
        "offset 0x10 of region 8",
    ),
    "error with a body of absurd size": (
        lambda peer, request: peer.send(request.id, 9, flags=REPLY | ERROR, error=22, size=2**31),
        "an error with a size of 16 to 1052688 bytes",
        "2147483648",
    ),
    "two hundred descriptors": (_descriptors(200), "at most 8 descriptors", "more"),
    "command that servers do not send": (
        lambda peer, request: peer.send(1, 9, ACCESS, flags=0),
        "DMA_READ or DMA_WRITE",
        "REGION_READ",
    ),
    "unknown command": (
        lambda peer, request: peer.send(1, 999, flags=0),
        "DMA_READ or DMA_WRITE",
        "command 999",
    ),
    "DMA_WRITE cut short": (
        lambda peer, request: peer.send(1, 12, struct.pack("<QQ", 0, 8) + b"abcd", flags=0),
        "8 bytes of data",
        "4",
    ),
    "DMA_READ too short": (
        lambda peer, request: peer.send(1, 11, bytes(15), flags=0),
        "a size of 32 to 32",
        "31",
    ),
    "DMA_WRITE of 2 GiB": (
        lambda peer, request: peer.send(1, 12, bytes(16), flags=0, size=2**31),
        "a size of 32 to 1048608",
        "2147483648",
    ),
}


@pytest.mark.parametrize("fault", VIOLATIONS)
def test_violation_names_expected_and_seen(connect: Connect, fault: str) -> None:
    """The error says what was expected and what came; the connection is unusable afterwards."""
    answer, expected, seen = VIOLATIONS[fault]
    client = connect(_answering(answer))
    with pytest.raises(ProtocolViolation) as caught:
        client.read(9, 0x10, 4)
    assert (caught.value.expected, caught.value.seen) == (expected, seen)
    assert caught.value.exchange
    with pytest.raises(PeerGone, match="given up earlier"):
        client.read(9, 0x10, 4)
    assert client.tracer.calls[-2].errno == errno.EPROTO


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(_hang_up, "closed the connection instead of an answer", id="at once"),
        pytest.param(_hang_up_inside, "inside a message, 17 of its 36 bytes missing", id="inside a payload"),
        pytest.param(_hang_up_inside_header, "inside a message, 14 of its 16 bytes missing", id="inside a header"),
    ],
)
def test_hang_up_is_peer_gone(connect: Connect, answer: Answer, reason: str) -> None:
    """PeerGone says which call was under way, and how much of the reply had arrived."""
    client = connect(_answering(answer))
    with pytest.raises(PeerGone) as caught:
        client.read(9, 0x10, 4)
    assert reason in caught.value.message
    assert "REGION_READ of 4 bytes at offset 0x10 of region 9" in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda peer, request: None, id="silent"),
        pytest.param(_drip, id="drips and stops"),
        pytest.param(_flood, id="floods with its own requests"),
    ],
)
def test_call_ends_at_its_deadline(connect: Connect, answer: Answer) -> None:
    """CallTimeout names the call, and is raised in time whatever the server sends."""
    client = connect(_answering(answer), deadline=1)
    began = monotonic()
    with pytest.raises(CallTimeout) as caught:
        client.read(9, 0x10, 4)
    assert 1 <= monotonic() - began < AMPLE
    assert caught.value.call == "REGION_READ of 4 bytes at offset 0x10 of region 9"
    assert client.tracer.calls[-1].errno == errno.ETIMEDOUT


#: Transfers up to 1 MiB in one message.
_LARGE = struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_data_xfer_size":1048576}}\0'


def _half_of_a_large_reply(peer: Peer, request: Request) -> None:
    peer.send(request.id, request.command, request.payload + bytes(1 << 19), size=32 + (1 << 20))


def test_half_of_a_large_reply_meets_the_deadline(connect: Connect) -> None:
    """The reply stops halfway."""
    client = connect(_answering(_half_of_a_large_reply), _LARGE, deadline=1)
    began = monotonic()
    with pytest.raises(CallTimeout, match="REGION_READ of 1048576 bytes"):
        client.read(9, 0x1000, 1 << 20)
    assert 1 <= monotonic() - began < AMPLE


def test_hang_up_inside_a_large_reply(connect: Connect) -> None:
    """PeerGone says how much is missing."""

    def script(peer: Peer) -> None:
        _half_of_a_large_reply(peer, peer.receive())

    client = connect(script, _LARGE)
    with pytest.raises(PeerGone, match="inside a message, 524288 of its 1048608 bytes missing"):
        client.read(9, 0x1000, 1 << 20)


def test_large_reply_may_arrive_in_pieces(connect: Connect) -> None:
    """The data is complete, wherever it was cut."""
    data = bytes(range(256)) * 4096

    def answer(peer: Peer, request: Request) -> None:
        whole = struct.pack("<HHIII", request.id, request.command, 32 + len(data), REPLY, 0) + request.payload + data
        for start, end in ((0, 20), (20, 33), (33, 400_000), (400_000, len(whole))):
            peer.stream.sendall(whole[start:end])

    client = connect(_answering(answer), _LARGE)
    assert client.read(9, 0x1000, 1 << 20)[1] == data


def test_server_that_reads_nothing_meets_the_deadline(connect: Connect) -> None:
    """A command larger than the socket's buffer does not hang if the server does not read it."""

    def script(peer: Peer) -> None:
        peer.stream.recv(1, 2)  # MSG_PEEK
        done.wait(AMPLE)

    done = threading.Event()
    version = struct.pack("<HH", 0, 0) + b'{"capabilities":{"max_data_xfer_size":67108864}}\0'
    client = connect(script, version, deadline=1)
    with pytest.raises(CallTimeout, match=r"REGION_WRITE of 8388608 bytes .* does not take it"):
        client.write(2, 0, bytes(8 << 20))
    done.set()


def test_late_reply_reaches_no_other_call(connect: Connect) -> None:
    """A reply after the deadline is not used for the next call; a reopened device can be used."""

    def script(peer: Peer) -> None:
        request = peer.receive()
        if not first:
            peer.reply(request, ACCESS + b"good")
            peer.wait_for_end()
            return
        first.clear()
        try:
            peer.receive()
        except EOFError:
            peer.reply(request, ACCESS + b"late")

    first = [True]
    client = connect(script, deadline=2)
    with pytest.raises(CallTimeout):
        client.read(9, 0x10, 4)
    client.close()
    client.open()
    assert client.read(9, 0x10, 4)[1] == b"good"


def test_unexpected_reply_is_a_violation(connect: Connect) -> None:
    """While the client only listens, only requests may come."""
    client = connect(lambda peer: peer.send(1, 9, ACCESS))
    with pytest.raises(ProtocolViolation, match="nothing, or a command"):
        client.pause(1)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(b"", "at least 4 bytes", id="empty"),
        pytest.param(struct.pack("<HH", 1, 0) + GOOD_VERSION, "version 0, at most .0", id="other major"),
        pytest.param(struct.pack("<HH", 0, 1) + GOOD_VERSION, "version 0, at most .0", id="later minor"),
        pytest.param(bytes(4) + b"{}", "JSON that ends with its only NUL", id="no NUL"),
        pytest.param(bytes(4) + b"{}\0{}\0", "JSON that ends with its only NUL", id="two NULs"),
        pytest.param(bytes(4) + b"garbage\0", "JSON", id="not JSON"),
        pytest.param(bytes(4) + b"\xff\xfe{}\0", "JSON", id="not text"),
        pytest.param(bytes(4) + b"[" * 30000 + b"\0", "JSON", id="deeply nested"),
        pytest.param(bytes(4) + b"[]\0", "a JSON object that may hold 'capabilities'", id="list"),
        pytest.param(bytes(4) + b'{"capabilities":3}\0', "an object as capabilities", id="number as capabilities"),
        pytest.param(
            bytes(4) + b'{"capabilities":{"max_data_xfer_size":0}}\0',
            "a number from 1 to 18446744073709551616 as max_data_xfer_size",
            id="no data size",
        ),
        pytest.param(
            bytes(4) + b'{"capabilities":{"max_msg_fds":"many"}}\0',
            "a number from 0 to 4294967296 as max_msg_fds",
            id="word as number",
        ),
        pytest.param(
            bytes(4) + b'{"capabilities":{"max_data_xfer_size":' + b"9" * 5000 + b"}}\0",
            "",
            id="number of 5000 digits",
        ),
        pytest.param(
            bytes(4) + b'{"capabilities":{"migration":{"pgsize":4097}}}\0',
            "a power of two as migration.pgsize",
            id="page size not a power of two",
        ),
    ],
)
def test_bad_version_is_refused(connect: Connect, payload: bytes, expected: str) -> None:
    """Every part of a VERSION reply is checked, and the device is not open after a bad one."""
    with pytest.raises(ProtocolViolation) as caught:
        connect(lambda peer: peer.wait_for_end(), payload)
    assert expected in caught.value.expected
    assert caught.value.exchange == "reply to VERSION"


@pytest.mark.parametrize("text", [b"", b"{}\0", b'{"capabilities":{}}\0'])
def test_everything_in_a_version_is_optional(connect: Connect, text: bytes) -> None:
    """The defaults are one descriptor, 1 MiB and no migration."""
    client = connect(lambda peer: peer.wait_for_end(), bytes(4) + text)
    assert (client.server.max_msg_fds, client.server.max_data_xfer_size) == (1, 1 << 20)
    assert client.dirty_page_size is None


def test_proposal_has_the_clients_capabilities() -> None:
    """Version 0.0 with three capabilities, NUL-terminated."""
    packed = pack_version(Proposal(0, 0, 8, 1 << 20, 4096))
    assert packed[:4] == bytes(4)
    assert packed[-1] == 0
    assert json.loads(packed[4:-1]) == {
        "capabilities": {"max_msg_fds": 8, "max_data_xfer_size": 1 << 20, "migration": {"pgsize": 4096}}
    }


def _info(argsz: int, length: int, index: int = 0) -> bytes:
    return struct.pack("<IIII", argsz, 0, index, 0)[:length].ljust(length, b"\0")


INFO_FAULTS = {
    "empty": (VFIO_DEVICE_GET_REGION_INFO, b"", "at least 32 bytes"),
    "fixed part cut": (VFIO_DEVICE_GET_REGION_INFO, _info(32, 31), "at least 32 bytes"),
    "argsz 0": (VFIO_DEVICE_GET_REGION_INFO, _info(0, 32), "an argsz from 32"),
    "argsz below the size": (VFIO_DEVICE_GET_REGION_INFO, _info(32, 64), "an argsz from 64"),
    "argsz 2^32 - 1": (VFIO_DEVICE_GET_REGION_INFO, _info(2**32 - 1, 32), "an argsz from 32"),
    "other index": (VFIO_DEVICE_GET_REGION_INFO, _info(32, 32, 5), "index 0"),
    "larger than a page": (VFIO_DEVICE_GET_REGION_INFO, _info(4097, 4097), "a size of 16 to 4112 bytes"),
    "device information cut": (VFIO_DEVICE_GET_INFO, _info(16, 12), "at least 16 bytes"),
    "interrupt information cut": (VFIO_DEVICE_GET_IRQ_INFO, _info(16, 8), "at least 16 bytes"),
    "other interrupt": (VFIO_DEVICE_GET_IRQ_INFO, _info(16, 16, 1), "index 0"),
}


@pytest.mark.parametrize("fault", INFO_FAULTS)
def test_bad_information_is_refused(connect: Connect, fault: str) -> None:
    """Sizes and indexes of a reply are checked before it is used."""
    request, payload, expected = INFO_FAULTS[fault]
    client = connect(_answering(lambda peer, message: peer.reply(message, payload)))
    with pytest.raises(ProtocolViolation) as caught:
        client.ioctl(Target.DEVICE, request, bytearray(struct.pack("<I", 64).ljust(64, b"\0")))
    assert expected in caught.value.expected


@pytest.mark.parametrize("count", [2, 8])
def test_region_has_at_most_one_descriptor(connect: Connect, count: int) -> None:
    """More than one are a violation."""

    def answer(peer: Peer, request: Request) -> None:
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            peer.send(request.id, 5, _info(32, 32), descriptors=[null] * count)
        finally:
            os.close(null)

    client = connect(_answering(answer))
    with pytest.raises(ProtocolViolation, match="at most 1 descriptor"):
        client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, bytearray(struct.pack("<I28x", 32)))


@pytest.mark.parametrize(
    ("request_number", "argument", "answer", "expected"),
    [
        pytest.param(
            VFIO_IOMMU_UNMAP_DMA,
            struct.pack("<IIQQ", 24, 0, 0, 4096),
            b"",
            "24 bytes",
            id="unmap without its structure",
        ),
        pytest.param(
            VFIO_IOMMU_DIRTY_PAGES,
            struct.pack("<IIQQQQQ", 48, 4, 0, 65 * 4096, 4096, 16, 1),
            struct.pack("<IIQQQQ", 56, 4, 0, 65 * 4096, 4096, 16) + bytes(8),
            "a bitmap of 9 bytes",
            id="bitmap cut",
        ),
        pytest.param(
            VFIO_IOMMU_DIRTY_PAGES,
            struct.pack("<IIQQQQQ", 48, 4, 0, 4096, 4096, 8, 1),
            struct.pack("<IIQQQQ", 56, 4, 0, 4096, 4096, 8) + bytes(9),
            "a size of 16 to 64 bytes",
            id="bitmap too long",
        ),
    ],
)
def test_bad_replies_to_requests_are_refused(
    connect: Connect, request_number: int, argument: bytes, answer: bytes, expected: str
) -> None:
    """Each request has bounds for the size of its reply."""
    client = connect(_answering(lambda peer, message: peer.reply(message, answer)))
    with pytest.raises(ProtocolViolation) as caught:
        client.ioctl(Target.CONTAINER, request_number, bytearray(argument))
    assert expected in caught.value.expected


def test_refused_version_is_a_setup_error(tmp_path: Path) -> None:
    """The server runs, but cannot be judged."""

    path = tmp_path / "refusing.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        stream, _ = listener.accept()
        with stream:
            peer = Peer(stream)
            peer.reply(peer.receive(), flags=REPLY | ERROR, error=errno.EPROTONOSUPPORT)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(SetupError, match=r"refused version 0\.0"):
        VfioUser(VfioUserSettings(str(path), None, 5, 5)).open()
    thread.join()
    listener.close()


def test_every_error_has_a_message_and_a_remedy() -> None:
    """A report says what is wrong and what to do."""
    for error in (
        SetupError("a", "b"),
        PeerGone("a", "b"),
        ProtocolViolation("a", "b", "c"),
        CallTimeout("a", 1.0),
    ):
        assert isinstance(error, TransportError)
        assert error.message
        assert error.remedy
        assert error.message in str(error)
