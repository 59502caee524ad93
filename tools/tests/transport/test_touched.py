# SPDX-License-Identifier: GPL-2.0-only
"""After which calls a device must be reset, and when a container may be tracking dirty pages."""

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
    """Says the same to each request."""

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


def asked(flags: Iterable[int], errno: int) -> Answering:
    """An open transport after dirty page requests with these flags, all answered alike."""
    transport = Answering(errno)
    transport.open()
    for each in flags:
        Container(transport).try_request(VFIO_IOMMU_DIRTY_PAGES, Container.dirty_request(each))
    return transport


@pytest.mark.parametrize(
    ("flags", "errno", "may"),
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
def test_whether_pages_may_be_tracked(flags: tuple[DirtyPagesFlags, ...], errno: int, may: bool) -> None:
    """After anything but a STOP that succeeded last, where something else than a bitmap was ever asked for."""
    assert asked(flags, errno).may_track == may


#: The region of an interface, and one with the device's own registers.
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
    ids=["a question", "a look", "interrupts", "a reset", "a write", "its own", "through a mapping", "its own mapped"],
)
@pytest.mark.parametrize("errno", [0, 22], ids=["taken", "refused"])
def test_what_a_reset_is_needed_after(touch: Callable[..., Any], touched: bool, lasting: bool, errno: int) -> None:
    """What may have changed the device, whatever it answered, and what may outlive a return to running."""
    with Answering(errno) as transport:
        transport.touched, transport.resting = False, frozenset({MIGRATION})
        touch(transport)
        assert (transport.touched, transport.lasting) == (touched, lasting)


def test_an_open_touches_the_device() -> None:
    """What a case has done by itself, an open or a reset, is judged: what it leaves is not known."""
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
def test_which_requests_to_the_container_leave_a_doubt(flags: tuple[int, ...], errno: int, questioned: bool) -> None:
    """Those that were refused, and those of which the specification does not say what they do."""
    assert asked(flags, errno).questioned == questioned
