# SPDX-License-Identifier: GPL-2.0-only
"""Which calls require a reset of the device, and when a container may be tracking dirty pages."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from vfio_compliance.device import Container
from vfio_compliance.transport import Argument, Outcome, Target, Transport
from vfio_compliance.uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, DirtyPagesFlags
from vfio_compliance.uapi.vfio import VFIO_DEVICE_GET_INFO, VFIO_DEVICE_RESET, VFIO_DEVICE_SET_IRQS

START, STOP, GET = DirtyPagesFlags.START, DirtyPagesFlags.STOP, DirtyPagesFlags.GET_BITMAP


class Answering(Transport):
    """Answers each request alike."""

    takes_pointers = True
    kernel = True

    def __init__(self, errno: int = 0) -> None:
        super().__init__()
        self._said = Outcome(-1 if errno else 0, errno)

    def identity(self) -> dict[str, str]:
        return {}

    def _open(self) -> None:
        pass

    def _close(self) -> None:
        pass

    def _ioctl(self, target: Target, request: int, argument: Argument) -> Outcome:
        return self._said

    def _write(self, region: int, offset: int, data: bytes) -> Outcome:
        return self._said

    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        raise NotImplementedError

    def _map(self, region: int, offset: int, length: int) -> mmap.mmap:
        raise NotImplementedError


def after_requests(flags: Iterable[int], errno: int) -> Answering:
    """An open transport after dirty page requests with these flags, all answered alike."""
    transport = Answering(errno)
    transport.open()
    for each in flags:
        Container(transport).try_request(VFIO_IOMMU_DIRTY_PAGES, Container.dirty_request(each))
    return transport


@pytest.mark.parametrize(
    ("flags", "errno", "possible"),
    [
        ((), 0, False),
        ((GET,), 0, False),
        ((START,), 0, True),
        ((START,), 22, True),
        ((START | STOP,), 0, True),
        ((START, STOP), 0, False),
        ((START, STOP), 22, True),
        ((STOP, START), 0, True),
    ],
    ids=str,
)
def test_pages_may_be_tracked(flags: tuple[DirtyPagesFlags, ...], errno: int, possible: bool) -> None:
    """Unless the last request other than for a bitmap was a STOP that succeeded, or there was none."""
    assert after_requests(flags, errno).may_track == possible


#: The region of the migration interface, and one with the device's own registers.
MIGRATION, OWN = 9, 0


@pytest.mark.parametrize(
    ("touch", "touched", "lasting"),
    [
        (lambda device: device.ioctl(Target.DEVICE, VFIO_DEVICE_GET_INFO, bytearray(24)), False, False),
        (lambda device: device.seen("mapped-read", OWN, 0, b"\1"), False, False),
        (lambda device: device.ioctl(Target.DEVICE, VFIO_DEVICE_SET_IRQS, bytearray(20)), True, True),
        (lambda device: device.ioctl(Target.DEVICE, VFIO_DEVICE_RESET), True, False),
        (lambda device: device.write(OWN, 0, b"\1"), True, True),
        (lambda device: device.write(MIGRATION, 0, b"\1"), True, False),
        (lambda device: device.seen("mapped-write", OWN, 0, b"", b"\1"), True, True),
        (lambda device: device.seen("mapped-write", MIGRATION, 0, b"", b"\1"), True, False),
    ],
    ids=[
        "info",
        "mapped read",
        "interrupts",
        "reset",
        "write",
        "interface write",
        "mapped write",
        "mapped interface write",
    ],
)
@pytest.mark.parametrize("errno", [0, 22], ids=["accepted", "refused"])
def test_calls_that_need_a_reset(touch: Callable[..., Any], touched: bool, lasting: bool, errno: int) -> None:
    """Those that may have changed the device, whatever it answered, and those that may outlive a return to RUNNING."""
    with Answering(errno) as transport:
        transport.touched, transport.resting = False, frozenset({MIGRATION})
        touch(transport)
        assert (transport.touched, transport.lasting) == (touched, lasting)


def test_open_touches_the_device() -> None:
    """The result of an open or a reset by a case is being judged, and so unknown."""
    with Answering() as transport:
        assert transport.touched


@pytest.mark.parametrize(
    ("flags", "errno", "questioned"),
    [
        ((START, GET, STOP), 0, False),
        ((START, GET, STOP, START), 0, False),
        ((START,), 22, True),
        ((GET,), 22, True),
        ((START | STOP,), 0, True),
        ((0,), 0, True),
        ((START, START), 0, True),
        ((STOP,), 0, True),
    ],
    ids=str,
)
def test_container_requests_that_leave_doubt(flags: tuple[int, ...], errno: int, questioned: bool) -> None:
    """Those that were refused, and those whose effect the specification leaves open."""
    assert after_requests(flags, errno).questioned == questioned
