# SPDX-License-Identifier: GPL-2.0-only
"""The container's requests in the vfio-user client: ours for its information, and those that are wrong on purpose."""

from __future__ import annotations

import errno
import json
import struct

import pytest
from scripted_server import ERROR, REPLY, Connect, Peer, Script

from vfio_compliance.transport import GuardedBuffer, ProtocolViolation, Target, VfioUser
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_GET_INFO, VFIO_IOMMU_UNMAP_DMA
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_REGION_INFO

COMMAND = 0x8001


def _version(offered: object) -> bytes:
    said = {"capabilities": {"container_info": offered, "migration": {"pgsize": 4096}}}
    return struct.pack("<HH", 0, 0) + json.dumps(said).encode() + b"\0"


def _server(answer: bytes | int, seen: list[tuple[int, bytes]]) -> Script:
    """Answers everything with this payload or, for a number, this errno."""

    def script(peer: Peer) -> None:
        while True:
            request = peer.receive()
            seen.append((request.command, request.payload))
            if isinstance(answer, int):
                peer.reply(request, flags=REPLY | ERROR, error=answer)
            else:
                peer.reply(request, answer)

    return script


def _ask(connect: Connect, argument: bytes, answer: bytes | int) -> tuple[tuple[int, int], bytes, list[bytes]]:
    """What VFIO_IOMMU_GET_INFO gives, the argument after it, and what went over."""
    seen: list[tuple[int, bytes]] = []
    client: VfioUser = connect(_server(answer, seen), _version(True))
    view = bytearray(argument)
    outcome = client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, view)
    assert {command for command, _ in seen} == {COMMAND}
    return outcome, bytes(view), [payload for _, payload in seen]


@pytest.mark.parametrize("argsz", [0, 15, 24, 56, 2**32 - 1])
def test_the_argument_goes_over_as_it_is(connect: Connect, argsz: int) -> None:
    """Whatever argsz says, all that the caller filled is sent, and the answer comes into its place."""
    argument = struct.pack("<I", argsz) + b"\xff" * 52
    outcome, after, sent = _ask(connect, argument, b"\x11" * 56)
    assert outcome == (0, 0)
    assert sent == [argument]
    assert after == b"\x11" * 56


@pytest.mark.parametrize(
    ("length", "answer", "after"),
    [(24, 40, 24), (64, 40, 40), (2, 24, 2), (24, 0, 0)],
    ids=["an answer past the argument", "a shorter answer", "no room for argsz", "an empty answer"],
)
def test_the_answer_fills_what_there_is(connect: Connect, length: int, answer: int, after: int) -> None:
    """Past argsz too, so that it can be seen; never past the argument, and what does not come is not touched."""
    outcome, seen, sent = _ask(connect, b"\x10".ljust(length, b"\0"), b"\x22" * answer)
    assert outcome == (0, 0)
    assert seen == b"\x22" * after + b"\x10".ljust(length, b"\0")[after:]
    assert len(sent[0]) == max(length, 4)


def test_other_information_past_argsz_is_seen(connect: Connect) -> None:
    """That of a region too goes into the argument as far as it has room: who looks behind argsz finds it."""
    answer = struct.pack("<IIII", 48, 8, 9, 32) + b"\x55" * 32
    client = connect(_server(answer, []))
    argument = bytearray(struct.pack("<IIII", 32, 0, 9, 0) + b"\xff" * 48)
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, argument) == (0, 0)
    assert argument == answer + b"\xff" * 16


def test_no_more_than_a_page_goes_over(connect: Connect) -> None:
    """Of a larger argument its first 4096 bytes, both ways."""
    outcome, after, sent = _ask(connect, b"\x33" * 5000, b"\x44" * 4096)
    assert outcome == (0, 0)
    assert sent == [b"\x33" * 4096]
    assert after == b"\x44" * 4096 + b"\x33" * 904


def test_a_refusal_is_the_servers(connect: Connect) -> None:
    """Its errno comes back, and the argument is as it was."""
    assert _ask(connect, b"\x08" + bytes(15), errno.EINVAL)[:2] == ((-1, errno.EINVAL), b"\x08" + bytes(15))


def test_an_answer_has_its_bounds(connect: Connect) -> None:
    """More than 4096 bytes were never agreed on."""
    client = connect(_server(bytes(4097), []), _version(True))
    with pytest.raises(ProtocolViolation, match="4113"):
        client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, bytearray(8192))


@pytest.mark.parametrize("version", [_version(False), None], ids=["not offered", "not mentioned"])
def test_without_the_offer_there_is_no_request(connect: Connect, version: bytes | None) -> None:
    """ENOTTY, and no message: a server need not know ours."""
    seen: list[tuple[int, bytes]] = []
    client = connect(_server(bytes(24), seen), version)
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, bytearray(24)) == (-1, errno.ENOTTY)
    assert seen == []


def test_a_pointer_cannot_be_followed(connect: Connect) -> None:
    """A number in place of the argument is a bad address, as it is for the other requests."""
    client = connect(_server(bytes(24), []), _version(True))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, 0) == (-1, errno.EFAULT)


@pytest.mark.parametrize("offered", [1, "yes", None, {}], ids=repr)
def test_the_offer_is_true_or_false(connect: Connect, offered: object) -> None:
    """Anything else in its place is not what was agreed on."""
    with pytest.raises(ProtocolViolation, match="container_info"):
        connect(_server(b"", []), _version(offered))


# argsz and flags of the other requests

ARGSZ = [0, 7, 8, 23, 24, 39, 40, 47, 48, 49, 56, 4096, 2**32 - 1]


@pytest.mark.parametrize("argsz", ARGSZ)
@pytest.mark.parametrize("request_number", [VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_UNMAP_DMA], ids=["GET", "UNMAP"])
def test_an_argsz_means_the_same_over_there(connect: Connect, request_number: int, argsz: int) -> None:
    """With a bitmap of 16 bytes: what is short of the kernel's 48 is short of 56, and so is what is too much."""
    seen: list[tuple[int, bytes]] = []
    client = connect(_server(errno.EINVAL, seen))
    flags = 4 if request_number == VFIO_IOMMU_DIRTY_PAGES else 1
    argument = bytearray(struct.pack("<IIQQQQQ", argsz, flags, 0x1000, 65 << 12, 4096, 16, 8))
    assert client.ioctl(Target.CONTAINER, request_number, argument) == (-1, errno.EINVAL)
    [(_, payload)] = seen
    sent = struct.unpack_from("<I", payload)[0]
    assert sent - 56 == argsz - 48 or (argsz < 48 and sent == argsz) or sent == 65536
    assert payload[4:] == struct.pack("<IQQQQ", flags, 0x1000, 65 << 12, 4096, 16)


@pytest.mark.parametrize("argsz", ARGSZ)
@pytest.mark.parametrize("flags", [0, 1, 3, 8, 1 << 31, 2**32 - 5], ids=hex)
def test_flags_without_a_bitmap_go_over(connect: Connect, argsz: int, flags: int) -> None:
    """START, STOP, several, none and unknown ones, with whatever argsz; no flag of them asks for a bitmap."""
    seen: list[tuple[int, bytes]] = []
    client = connect(_server(errno.EINVAL, seen))
    client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, bytearray(struct.pack("<II", argsz, flags) + b"\xff" * 40))
    client.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, bytearray(struct.pack("<IIQQ", argsz, flags & ~1, 4096, 4096)))
    assert seen == [(14, struct.pack("<II", argsz, flags)), (3, struct.pack("<IIQQ", argsz, flags & ~1, 4096, 4096))]


@pytest.mark.parametrize("flags", [5, 6, 7, 12], ids=hex)
def test_a_flag_beside_the_bitmaps_may_win(connect: Connect, flags: int) -> None:
    """A server that starts or stops although a bitmap was asked for too has nothing to send; that is a success."""
    client = connect(_server(b"", []))
    argument = bytearray(struct.pack("<IIQQQQQ", 48, flags, 0x1000, 4096, 4096, 8, 8))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument) == (0, 0)


def test_a_bitmap_alone_has_to_come(connect: Connect) -> None:
    """Who was asked for nothing else cannot do without it."""
    client = connect(_server(b"", []))
    with pytest.raises(ProtocolViolation, match="at least 40 bytes"):
        client.ioctl(
            Target.CONTAINER,
            VFIO_IOMMU_DIRTY_PAGES,
            bytearray(struct.pack("<IIQQQQQ", 48, 4, 0x1000, 4096, 4096, 8, 8)),
        )


def test_the_largest_bitmap_comes_through(connect: Connect) -> None:
    """2^28 bytes, as many as Linux takes; of these the words that are set arrive where they belong."""
    size = 1 << 28
    head = struct.pack("<IIQQQQ", 40 + size, 4, 0, size << 15, 4096, size)
    bitmap = bytearray(size)
    bitmap[0] = bitmap[size // 2] = bitmap[-1] = 0x81

    def script(peer: Peer) -> None:
        request = peer.receive()
        assert request.payload == head
        peer.stream.sendall(struct.pack("<HHIII", request.id, request.command, 16 + len(head) + size, REPLY, 0) + head)
        peer.stream.sendall(bitmap)
        peer.wait_for_end()

    client = connect(script, _version(True))
    with GuardedBuffer(size) as memory:
        argument = bytearray(struct.pack("<IIQQQQQ", 48, 4, 0, size << 15, 4096, size, memory.address))
        assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument) == (0, 0)
        assert [memory.view[at] for at in (0, size // 2, size - 1)] == [0x81] * 3
        assert bytes(memory.view).count(0) == size - 3
