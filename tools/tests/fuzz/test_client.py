# SPDX-License-Identifier: GPL-2.0-only
"""The vfio-user client, with a server that sends anything."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from campaign import Campaign
from hostile_server import Client
from mutation import number

from vfio_compliance.device import Container, Device, DeviceError, DirtyTracker, DmaMap
from vfio_compliance.migration_v1.region import REGION_TYPE, MigrationRegion
from vfio_compliance.transport import GuardedBuffer, Outcome, Target, TransportError
from vfio_compliance.uapi.type1 import (
    VFIO_IOMMU_DIRTY_PAGES,
    VFIO_IOMMU_GET_INFO,
    VFIO_IOMMU_MAP_DMA,
    VFIO_IOMMU_UNMAP_DMA,
)
from vfio_compliance.uapi.vfio import (
    VFIO_DEVICE_GET_INFO,
    VFIO_DEVICE_GET_IRQ_INFO,
    VFIO_DEVICE_GET_REGION_INFO,
    VFIO_DEVICE_RESET,
    VFIO_DEVICE_SET_IRQS,
)

_PAGE = 4096
#: Memory that the server may reach: two pages between two that it may not.
_IOVA, _SIZE = 0x1000, 2 * _PAGE
_MOST = 30
_OPENINGS = 12
_REGION_9 = struct.pack("<III", 32, 0, 9) + bytes(20)

Operation = Callable[["Session", Random], str]


class Session:
    """A client and its memory."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.device = Device(client)
        self.memory = client.memory(4 * _PAGE)
        self.memory.view[:] = b"\x5a" * (4 * _PAGE)

    def check(self) -> None:
        """The memory outside the mapping is unchanged."""
        assert bytes(self.memory.view[:_PAGE]) == bytes(self.memory.view[3 * _PAGE :]) == b"\x5a" * _PAGE


def test_client(campaign: Callable[[str, str], Campaign]) -> None:
    """Whatever a server sends, a call has an outcome or raises one of its errors; a reopened device is good."""
    counted = campaign("client", "hostile_messages")
    client = Client(counted)

    def trial(rng: Random) -> None:
        session = Session(client)
        client.spoil(rng)
        for _ in range(rng.randrange(1, _OPENINGS)):
            _use(session, rng, counted)
            client.close()
        session.check()
        client.spoil(None)
        client.open()
        assert client.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, bytearray(_REGION_9)).ok
        assert client.read(9, 0, 4)[1] == b"\1\0\0\0"
        client.close()
        client.tracer.forget()
        session.memory.release()

    counted.run(10_000, trial)


def _use(session: Session, rng: Random, counted: Campaign) -> None:
    operations: list[Operation] = [_open, *(each for each in (_map, _start) if rng.random() < 0.7)]
    operations += (rng.choice(_OPERATIONS) for _ in range(rng.randrange(1, _MOST)))
    for operation in operations:
        try:
            counted.add_outcome(operation(session, rng))
        except TransportError as error:
            counted.add_outcome(_complete(error, error.message, error.remedy))
            return
        except DeviceError as error:
            counted.add_outcome(_complete(error, error.expected, error.seen))


def _complete(error: Exception, *texts: str) -> str:
    """The name of an error whose message is complete."""
    assert all(texts), repr(error)
    return type(error).__name__


# Calls of a client.


def _words(outcome: Outcome) -> str:
    assert outcome.value < 0 or not outcome.errno, outcome
    assert 0 <= outcome.errno < 4096, outcome
    return "ok" if outcome.ok else "refused"


def _open(session: Session, rng: Random) -> str:
    session.device.open()
    return "ok"


def _start(session: Session, rng: Random) -> str:
    return _words(session.client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, bytearray(struct.pack("<II", 8, 1))))


def _information(session: Session, rng: Random) -> str:
    request, fixed = rng.choice(
        (
            (VFIO_DEVICE_GET_INFO, 16),
            (VFIO_DEVICE_GET_REGION_INFO, 32),
            (VFIO_DEVICE_GET_REGION_INFO, 32),
            (VFIO_DEVICE_GET_IRQ_INFO, 16),
            (VFIO_DEVICE_SET_IRQS, 20),
        )
    )
    argument = bytearray(
        struct.pack("<III", rng.choice((fixed, 128, number(rng, 4))), 0, rng.choice((9, rng.randrange(12))))
    )
    argument += bytes(rng.choice((0, 4, 20, 116, 4096)))
    size = len(argument)
    outcome = session.client.ioctl(Target.DEVICE, request, argument)
    assert len(argument) == size
    return _words(outcome)


def _container_information(session: Session, rng: Random) -> str:
    argument = bytearray(struct.pack("<I", rng.choice((24, 88, number(rng, 4)))) + bytes(rng.choice((0, 20, 84, 8000))))
    return _words(session.client.ioctl(Target.CONTAINER, VFIO_IOMMU_GET_INFO, argument))


def _read(session: Session, rng: Random) -> str:
    region, offset = rng.choice(((9, rng.choice((0, 4, 8, 16, 24))), (9, 4096), (2, 0), (0, number(rng, 8))))
    length = rng.choice((1, 4, 8, 64, 4096, 65536, number(rng, 2)))
    outcome, data = session.client.read(region, offset, length)
    assert len(data) == max(outcome.value, 0)
    assert len(data) <= length
    return _words(outcome)


def _write(session: Session, rng: Random) -> str:
    region, offset = rng.choice(((9, rng.choice((0, 4, 8, 16, 24))), (9, 4096), (2, 0), (0, number(rng, 8))))
    data = rng.randbytes(rng.choice((1, 4, 8, 64, 65536)))
    outcome = session.client.write(region, offset, data)
    assert outcome.value <= len(data)
    return _words(outcome)


def _map(session: Session, rng: Random) -> str:
    argument = bytearray(
        struct.pack("<IIQQQ", 32, rng.choice((1, 2, 3, 3)), session.memory.address + _PAGE, _IOVA, _SIZE)
    )
    return _words(session.client.ioctl(Target.CONTAINER, VFIO_IOMMU_MAP_DMA, argument))


@contextmanager
def _room(rng: Random) -> Iterator[tuple[int, int]]:
    """Size and address of memory for a bitmap, in the middle of memory that must not be written."""
    bitmap = rng.choice((8, 16, 512))
    with GuardedBuffer(3 * 1024) as whole:
        yield bitmap, whole.address + 1024
        assert not any(whole.view[:1024])
        assert not any(whole.view[1024 + bitmap :])


def _unmap(session: Session, rng: Random) -> str:
    with _room(rng) as (room, address):
        flags = rng.choice((0, 1, 1, 2))
        argument = bytearray(struct.pack("<IIQQQQQ", 48, flags, _IOVA, _SIZE, _PAGE, room, address))
        return _words(session.client.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, argument))


def _dirty(session: Session, rng: Random) -> str:
    with _room(rng) as (room, address):
        flags = rng.choice((1, 4, 4, 4, 2, 5))
        size = rng.choice((_SIZE, room * 8 * _PAGE, number(rng, 8)))
        argument = bytearray(struct.pack("<IIQQQQQ", 48, flags, _IOVA, size, _PAGE, room, address))
        return _words(session.client.ioctl(Target.CONTAINER, VFIO_IOMMU_DIRTY_PAGES, argument))


def _bitmap(session: Session, rng: Random) -> str:
    tracker = DirtyTracker(session.client)
    tracker.try_start()
    with DmaMap(session.client, 0x8000, 64 * _PAGE):
        outcome, bitmap = tracker.try_bitmap(0x8000, 64 * _PAGE, tracker.page_sizes() or _PAGE)
        assert bitmap
    return _words(outcome)


def _reset(session: Session, rng: Random) -> str:
    return _words(session.client.ioctl(Target.DEVICE, VFIO_DEVICE_RESET))


def _attend(session: Session, rng: Random) -> str:
    session.client.pause(0)
    return "ok"


def _mapping(session: Session, rng: Random) -> str:
    length = rng.choice((_PAGE, 4 * _PAGE, 16 * _PAGE))
    try:
        mapping = session.client.map(9, rng.choice((0, _PAGE)), length)
    except OSError as error:
        return f"no mapping: {error.strerror}"
    assert len(mapping) == length
    mapping.close()
    return "ok"


def _regions(session: Session, rng: Random) -> str:
    device = Device(session.client)
    for region in device.regions:
        assert all(area.offset >= 0 for area in region.areas)
    device.regions_of_type(REGION_TYPE)
    return "ok"


def _container(session: Session, rng: Random) -> str:
    info = Container(session.client).info()
    assert info.migration is None or info.migration.version < 1 << 16
    assert info.iova_ranges is None or info.chain
    return "ok"


def _save(session: Session, rng: Random) -> str:
    for region in Device(session.client).regions_of_type(REGION_TYPE):
        migration = MigrationRegion(region, largest=1 << 22)
        migration.set_state(rng.choice((2, 3)))
        assert migration.save().total <= 1 << 22
    return "ok"


_OPERATIONS: tuple[Operation, ...] = (
    *(_information, _information, _container_information, _read, _read, _write, _map, _map, _unmap, _dirty, _dirty),
    *(_bitmap, _reset, _attend, _mapping, _regions, _container, _save),
)
