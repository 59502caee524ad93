# SPDX-License-Identifier: GPL-2.0-only
"""Container requests of the vfio-user client: our extension for its information, and deliberately wrong ones."""

from __future__ import annotations

import errno
import struct

import pytest
from peer import ERROR, REPLY, Peer
from scripted import Connect, Script, version

from vfio_compliance.transport import GuardedBuffer, ProtocolViolation, Target, VfioUser
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_GET_INFO, VFIO_IOMMU_UNMAP_DMA
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_REGION_INFO

COMMAND = 0x8001


def _version(offered: object) -> bytes:
    return version(container_info=offered, migration={"pgsize": 4096})


def _server(answer: bytes | int, seen: list[tuple[int, bytes]]) -> Script:
    """Answers every request with this payload or, for a number, this errno."""

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
    """The outcome of VFIO_IOMMU_GET_INFO, the argument after it, and the payloads sent."""
    seen: list[tuple[int, bytes]] = []
    client: VfioUser = connect(_server(answer, seen), _version(True))
    view = bytearray(argument)
    outcome = client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, view)
    assert {command for command, _ in seen} == {COMMAND}
    return outcome, bytes(view), [payload for _, payload in seen]


@pytest.mark.parametrize("argsz", [0, 15, 24, 56, 2**32 - 1])
def test_argument_is_sent_unchanged(connect: Connect, argsz: int) -> None:
    """Whatever argsz says, the whole argument is sent, and the reply replaces it."""
    argument = struct.pack("<I", argsz) + b"\xff" * 52
    outcome, after, sent = _ask(connect, argument, b"\x11" * 56)
    assert outcome == (0, 0)
    assert sent == [argument]
    assert after == b"\x11" * 56


@pytest.mark.parametrize(
    ("length", "answer", "after"),
    [(24, 40, 24), (64, 40, 40), (2, 24, 2), (24, 0, 0)],
    ids=["longer reply", "shorter reply", "no room for argsz", "empty reply"],
)
def test_reply_fills_the_argument(connect: Connect, length: int, answer: int, after: int) -> None:
    """Also past argsz, so that this can be seen, but never past the argument; the rest is unchanged."""
    outcome, seen, sent = _ask(connect, b"\x10".ljust(length, b"\0"), b"\x22" * answer)
    assert outcome == (0, 0)
    assert seen == b"\x22" * after + b"\x10".ljust(length, b"\0")[after:]
    assert len(sent[0]) == max(length, 4)


def test_region_information_past_argsz_is_copied(connect: Connect) -> None:
    """It fills the argument, so that a check past argsz finds it."""
    answer = struct.pack("<IIII", 48, 8, 9, 32) + b"\x55" * 32
    client = connect(_server(answer, []))
    argument = bytearray(struct.pack("<IIII", 32, 0, 9, 0) + b"\xff" * 48)
    assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, argument) == (0, 0)
    assert argument == answer + b"\xff" * 16


def test_at_most_a_page_is_exchanged(connect: Connect) -> None:
    """The first 4096 bytes of a larger argument, in both directions."""
    outcome, after, sent = _ask(connect, b"\x33" * 5000, b"\x44" * 4096)
    assert outcome == (0, 0)
    assert sent == [b"\x33" * 4096]
    assert after == b"\x44" * 4096 + b"\x33" * 904


def test_servers_errno_is_returned(connect: Connect) -> None:
    """The argument is unchanged."""
    assert _ask(connect, b"\x08" + bytes(15), errno.EINVAL)[:2] == ((-1, errno.EINVAL), b"\x08" + bytes(15))


def test_reply_is_bounded(connect: Connect) -> None:
    """More than 4096 bytes are a violation."""
    client = connect(_server(bytes(4097), []), _version(True))
    with pytest.raises(ProtocolViolation, match="4113"):
        client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, bytearray(8192))


@pytest.mark.parametrize("version", [_version(False), None], ids=["not offered", "not mentioned"])
def test_no_request_without_the_capability(connect: Connect, version: bytes | None) -> None:
    """ENOTTY, and no message: a server need not know the extension."""
    seen: list[tuple[int, bytes]] = []
    client = connect(_server(bytes(24), seen), version)
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, bytearray(24)) == (-1, errno.ENOTTY)
    assert seen == []


def test_pointer_as_argument_is_a_bad_address(connect: Connect) -> None:
    """EFAULT, as for the other requests."""
    client = connect(_server(bytes(24), []), _version(True))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, 0) == (-1, errno.EFAULT)


@pytest.mark.parametrize("offered", [1, "yes", None, {}], ids=repr)
def test_capability_must_be_a_boolean(connect: Connect, offered: object) -> None:
    """Any other value is a violation."""
    with pytest.raises(ProtocolViolation, match="container_info"):
        connect(_server(b"", []), _version(offered))


# argsz and flags of the other requests

ARGSZ = [0, 7, 8, 23, 24, 39, 40, 47, 48, 49, 56, 4096, 2**32 - 1]


@pytest.mark.parametrize("argsz", ARGSZ)
@pytest.mark.parametrize(
    ("request_number", "flags"), [(VFIO_IOMMU_DIRTY_PAGES, 4), (VFIO_IOMMU_UNMAP_DMA, 1)], ids=["GET", "UNMAP"]
)
def test_argsz_keeps_its_meaning(connect: Connect, request_number: int, flags: int, argsz: int) -> None:
    """With a bitmap of 16 bytes: too small or too large for the kernel's 48 bytes is so for the message's 56, too."""
    seen: list[tuple[int, bytes]] = []
    client = connect(_server(errno.EINVAL, seen))
    argument = bytearray(struct.pack("<IIQQQQQ", argsz, flags, 0x1000, 65 << 12, 4096, 16, 8))
    assert client.ioctl(Target.CONTAINER, request_number, argument) == (-1, errno.EINVAL)
    [(_, payload)] = seen
    sent = struct.unpack_from("<I", payload)[0]
    assert sent - 56 == argsz - 48 or (argsz < 48 and sent == argsz) or sent == 65536
    assert payload[4:] == struct.pack("<IQQQQ", flags, 0x1000, 65 << 12, 4096, 16)


@pytest.mark.parametrize("argsz", ARGSZ)
@pytest.mark.parametrize("flags", [0, 1, 3, 8, 1 << 31, 2**32 - 5], ids=hex)
def test_flags_without_a_bitmap_are_sent_unchanged(connect: Connect, argsz: int, flags: int) -> None:
    """START, STOP, several, none and unknown flags, with any argsz; none of them requests a bitmap."""
    seen: list[tuple[int, bytes]] = []
    client = connect(_server(errno.EINVAL, seen))
    client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, bytearray(struct.pack("<II", argsz, flags) + b"\xff" * 40))
    client.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, bytearray(struct.pack("<IIQQ", argsz, flags & ~1, 4096, 4096)))
    assert seen == [(14, struct.pack("<II", argsz, flags)), (3, struct.pack("<IIQQ", argsz, flags & ~1, 4096, 4096))]


@pytest.mark.parametrize("flags", [5, 6, 7, 12], ids=hex)
def test_reply_without_bitmap_is_accepted_if_another_flag_is_set(connect: Connect, flags: int) -> None:
    """A server that starts or stops instead of returning the bitmap has nothing to send; that is a success."""
    client = connect(_server(b"", []))
    argument = bytearray(struct.pack("<IIQQQQQ", 48, flags, 0x1000, 4096, 4096, 8, 8))
    assert client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument) == (0, 0)


def test_bitmap_must_be_returned_if_only_it_was_requested(connect: Connect) -> None:
    """A reply without it is a violation."""
    client = connect(_server(b"", []))
    with pytest.raises(ProtocolViolation, match="at least 40 bytes"):
        client.ioctl(
            Target.CONTAINER,
            VFIO_IOMMU_DIRTY_PAGES,
            bytearray(struct.pack("<IIQQQQQ", 48, 4, 0x1000, 4096, 4096, 8, 8)),
        )


def test_largest_bitmap_is_received(connect: Connect) -> None:
    """2^28 bytes, the maximum of Linux; the bytes that are set arrive at their places."""
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
