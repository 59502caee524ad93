# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts: requests to drivers of several kinds, checks of their answers, counting and waiting."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from descriptors import same_descriptors
from peer import COMMAND, REPLY, Peer
from scripted import ScriptedServer

from vfio_compliance.device import Device, DeviceError, DmaMap, Interrupts, NotEnabled
from vfio_compliance.device.dma import IOVA
from vfio_compliance.transport import (
    KernelGroup,
    KernelGroupSettings,
    Outcome,
    PeerGone,
    SetupError,
    Target,
    VfioUser,
    VfioUserSettings,
)
from vfio_compliance.transport.base import argument_view
from vfio_compliance.uapi.vfio import (
    VFIO_DEVICE_GET_INFO,
    VFIO_DEVICE_GET_IRQ_INFO,
    VFIO_DEVICE_SET_IRQS,
    IrqInfoFlags,
    IrqSetFlags,
)

EVENTFD, NORESIZE = IrqInfoFlags.EVENTFD, IrqInfoFlags.NORESIZE
ATTACH = IrqSetFlags.DATA_EVENTFD | IrqSetFlags.ACTION_TRIGGER
TRIGGER = IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_TRIGGER
UNMASK = IrqSetFlags.DATA_NONE | IrqSetFlags.ACTION_UNMASK

#: Seconds to wait for an event that must come, and for one that must not.
AMPLE, A_WHILE = 30.0, 0.05


class Driver(KernelGroup):
    """A driver with one interrupt index, 1 of 3, that checks its requests as vfio-pci does."""

    def __init__(
        self, flags: int = EVENTFD, vectors: int = 4, *, indexes: int = 3, room: int = 1 << 16, refuses: int = 0
    ) -> None:
        super().__init__(KernelGroupSettings("toy", 1, None))
        self.flags, self.vectors, self.indexes, self.refuses = flags, vectors, indexes, refuses
        #: The number of vectors that the machine can provide.
        self.room = room
        #: Eventfds by vector, -1 for no eventfd; empty while none are allocated.
        self.attached: list[int] = []
        self.requests: list[tuple[int, int, int]] = []

    def _open(self) -> None:
        pass

    def _close(self) -> None:
        self.attached = []

    def _ioctl(self, target: Target, request: int, argument: Any) -> Outcome:
        view = argument_view(argument)
        assert view is not None
        if request == VFIO_DEVICE_GET_INFO:
            view[:16] = struct.pack("<4I", 24, 2, 0, self.indexes)
        elif request == VFIO_DEVICE_GET_IRQ_INFO:
            index = int.from_bytes(view[8:12], "little")
            view[:16] = struct.pack("<4I", 16, self.flags, index, self.vectors if index == 1 else 0)
        else:
            assert (target, request) == (Target.DEVICE, VFIO_DEVICE_SET_IRQS)
            return self._set(bytes(view))
        return Outcome(0, 0)

    def _set(self, argument: bytes) -> Outcome:
        argsz, flags, index, start, count = struct.unpack_from("<5I", argument)
        self.requests.append((flags, start, count))
        assert (argsz, index) == (len(argument), 1)
        if flags == self.refuses:
            return Outcome(-1, errno.EIO)
        if flags == ATTACH:
            return self._attach(start, struct.unpack_from(f"<{count}i", argument, 20))
        assert len(argument) == 20
        if (flags, count) == (TRIGGER, 0):
            self.attached = []
        elif start + count > len(self.attached):
            return Outcome(-1, errno.EINVAL)
        elif flags == TRIGGER:
            self.fire(start)
        return Outcome(0, 0)

    def _attach(self, start: int, eventfds: tuple[int, ...]) -> Outcome:
        assert all(eventfd == -1 or os.fstat(eventfd) for eventfd in eventfds)
        end = start + len(eventfds)
        if self.attached and end > len(self.attached) and self.flags & NORESIZE:
            return Outcome(-1, errno.EINVAL)
        if end > self.room:
            return Outcome(self.room, 0)
        self.attached += [-1] * (end - len(self.attached))
        self.attached[start:end] = eventfds
        return Outcome(0, 0)

    def fire(self, vector: int, times: int = 1) -> None:
        """The device raises an interrupt."""
        if self.attached[vector] >= 0:
            os.eventfd_write(self.attached[vector], times)


def opened(**kind: Any) -> tuple[Interrupts, Driver]:
    """The interrupts of an open device with such a driver, and the driver."""
    driver = Driver(**kind)
    device = Device(driver)
    device.open()
    return device.interrupts, driver


@pytest.fixture(autouse=True)
def _same_descriptors() -> Iterator[None]:
    with same_descriptors():
        yield


# -- requests ---------------------------------------------------------------------------------------------------------


def test_one_request_for_each_vector() -> None:
    """A vector that is enabled already needs no request."""
    interrupts, driver = opened()
    for vector in (2, 0, 2, 0):
        interrupts.enable(1, vector)
    assert driver.requests == [(ATTACH, 2, 1), (ATTACH, 0, 1)]


@pytest.mark.parametrize(
    ("order", "requests"),
    [
        ((0,), [(ATTACH, 0, 1)]),
        ((2, 0), [(ATTACH, 0, 3), (ATTACH, 0, 1)]),
        ((0, 2), [(ATTACH, 0, 1), (TRIGGER, 0, 0), (ATTACH, 0, 3)]),
        ((3, 1, 2), [(ATTACH, 0, 4), (ATTACH, 1, 1), (ATTACH, 2, 1)]),
    ],
    ids=["first", "within", "beyond", "several within"],
)
def test_vectors_that_are_set_up_together(
    order: tuple[int, ...], requests: Sequence[tuple[IrqSetFlags, int, int]]
) -> None:
    """With NORESIZE, the first request fixes their number: it covers all up to the vector, the others with -1."""
    interrupts, driver = opened(flags=EVENTFD | NORESIZE)
    for vector in order:
        interrupts.enable(1, vector)
    assert driver.requests == requests
    for number, vector in enumerate(order, 1):
        driver.fire(vector, number)
    assert [interrupts.count(1, vector) for vector in order] == [*range(1, len(order) + 1)]
    assert [vector for vector, eventfd in enumerate(driver.attached) if eventfd >= 0] == sorted(order)


def test_counts_survive_a_new_setup_of_the_vectors() -> None:
    """Interrupts before the request for more vectors still count."""
    interrupts, driver = opened(flags=EVENTFD | NORESIZE)
    interrupts.enable(1, 0)
    driver.fire(0, 3)
    interrupts.enable(1, 1)
    driver.fire(0)
    assert interrupts.count(1, 0) == 4


def test_earlier_vectors_stay_enabled_if_there_are_too_few() -> None:
    """A driver that returns the possible number has enabled none; the earlier ones are set up again."""
    interrupts, driver = opened(flags=EVENTFD | NORESIZE, room=2)
    interrupts.enable(1, 1)
    with pytest.raises(DeviceError, match="expected success, seen 2: no more than this many vectors"):
        interrupts.enable(1, 3)
    driver.fire(1)
    assert interrupts.count(1, 1) == 1
    with pytest.raises(NotEnabled):
        interrupts.count(1, 3)


def test_vectors_that_cannot_be_set_up_again_are_not_enabled() -> None:
    """If the driver suddenly refuses, the earlier vector is lost, too."""
    interrupts, driver = opened(flags=EVENTFD | NORESIZE)
    interrupts.enable(1, 0)
    driver.refuses = ATTACH
    with pytest.raises(DeviceError, match="seen EIO"):
        interrupts.enable(1, 1)
    with pytest.raises(NotEnabled):
        interrupts.count(1, 0)


def test_disabled_and_enabled_again() -> None:
    """One request disables all vectors; the next count begins at 0. If none is enabled, there is no request."""
    interrupts, driver = opened()
    interrupts.disable(1)
    interrupts.enable(1, 0)
    interrupts.enable(1, 1)
    driver.fire(0)
    interrupts.disable(1)
    interrupts.disable(1)
    with pytest.raises(NotEnabled):
        interrupts.count(1, 1)
    interrupts.enable(1, 0)
    assert interrupts.count(1, 0) == 0
    assert [flags for flags, *_ in driver.requests] == [ATTACH, ATTACH, TRIGGER, ATTACH]


def test_if_disabling_is_refused_the_interrupt_stays_enabled() -> None:
    """Its count continues."""
    interrupts, driver = opened(refuses=TRIGGER)
    interrupts.enable(1, 0)
    with pytest.raises(DeviceError, match="disabling interrupt 1: expected success, seen EIO"):
        interrupts.disable(1)
    driver.fire(0)
    assert interrupts.count(1, 0) == 1


def test_trigger_and_unmask_name_the_vector() -> None:
    """One request each."""
    interrupts, driver = opened()
    interrupts.enable(1, 2)
    interrupts.trigger(1, 2)
    interrupts.unmask(1, 2)
    assert driver.requests[1:] == [(TRIGGER, 2, 1), (UNMASK, 2, 1)]
    assert interrupts.count(1, 2) == 1


@pytest.mark.parametrize(
    ("kind", "index", "vector", "words"),
    [
        ({}, 3, 0, "expected more than 3 irq indexes, seen the device has 3"),
        ({"indexes": 0}, 0, 0, "expected more than 0 irq indexes, seen the device has 0"),
        ({}, 2, 0, "expected more than 0 vectors, seen irq index 2 has 0 vectors"),
        ({}, 1, 4, "expected more than 4 vectors, seen irq index 1 has 4 vectors"),
        ({}, -1, 0, "seen the device has 3"),
        ({}, 1, -1, "seen irq index 1 has 4 vectors"),
        ({"flags": 0xFFFFFFFE}, 1, 0, "expected the flag EVENTFD .*, seen flags 0xfffffffe"),
        ({"refuses": ATTACH}, 1, 0, "expected success, seen EIO"),
        ({"indexes": 2**32 - 1, "vectors": 2**16, "refuses": ATTACH}, 1, 2**16 - 1, "seen EIO"),
        ({"vectors": 2**32 - 1}, 1, 0, "expected at most 65536 vectors at irq index 1, seen 4294967295"),
        ({"flags": 0xFFFFFFFF, "room": 3}, 1, 3, "seen 3: no more than this many vectors"),
    ],
)
def test_vectors_that_cannot_be_enabled(kind: Mapping[str, int], index: int, vector: int, words: str) -> None:
    """The error shows what the device has; absurd numbers do no harm, and no descriptor is leaked."""
    interrupts, _ = opened(**kind)
    with (
        same_descriptors(),
        pytest.raises(DeviceError, match=f"enabling interrupt {index}, vector {vector}: .*{words}"),
    ):
        interrupts.enable(index, vector)


def test_a_refusal_names_the_other_interrupts() -> None:
    """A PCI device can use one kind of interrupt at a time, and refuses the next without a reason."""
    interrupts, _ = opened()
    interrupts.enable(1, 0)
    with pytest.raises(DeviceError, match="enabling interrupt 2, vector 0, with interrupt 1 enabled: "):
        interrupts.enable(2, 0)


@pytest.mark.parametrize(
    ("verb", "more", "what"),
    [
        ("count", (), "counting"),
        ("trigger", (), "triggering"),
        ("unmask", (), "unmasking"),
        ("wait", (1.0,), "waiting for"),
    ],
)
def test_a_vector_that_was_not_enabled(verb: str, more: tuple[float, ...], what: str) -> None:
    """The error names the remedy, and the driver is not called."""
    interrupts, driver = opened()
    interrupts.enable(1, 0)
    with pytest.raises(NotEnabled) as raised:
        getattr(interrupts, verb)(1, 1, *more)
    assert str(raised.value) == (
        f"{what} interrupt 1, vector 1: expected one that is enabled, as by `enable_irq: {{index: 1, vector: 1}}` in "
        "setup.after_open, seen it is not enabled"
    )
    assert len(driver.requests) == 1


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_each_interrupt_ends_one_wait() -> None:
    """Also one that came before the wait, or together with others; the count has all."""
    interrupts, driver = opened()
    interrupts.enable(1, 0)
    driver.fire(0, 2)
    assert [interrupts.wait(1, 0, A_WHILE) for _ in range(3)] == [True, True, False]
    driver.fire(0)
    assert interrupts.count(1, 0) == 3
    assert interrupts.wait(1, 0, 0)
    assert not interrupts.wait(1, 0, 0)


def test_waiting_ends_at_the_interrupt_or_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the meantime, it pauses and leaves the processor idle."""
    interrupts, driver = opened()
    interrupts.enable(1, 0)
    pauses: list[float] = []
    monkeypatch.setattr(driver, "pause", lambda seconds: (pauses.append(seconds), time.sleep(seconds)))
    began = time.monotonic()
    assert not interrupts.wait(1, 0, A_WHILE)
    assert time.monotonic() - began >= A_WHILE
    assert min(pauses[:-1]) >= 0.0005
    pauses.clear()

    def fire_third(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            driver.fire(0)

    monkeypatch.setattr(driver, "pause", fire_third)
    assert interrupts.wait(1, 0, AMPLE)
    assert len(pauses) == 3
    assert max(pauses) <= AMPLE / 1024
    pauses.clear()
    assert interrupts.wait(1, 0, 1000 * AMPLE)
    assert max(pauses) <= 0.05


# -- closing the device -----------------------------------------------------------------------------------------------


def test_a_driver_cannot_make_reads_block() -> None:
    """The driver shares the open file: if it makes the file blocking, counting does not hang."""
    interrupts, driver = opened()
    interrupts.enable(1, 0)
    os.set_blocking(driver.attached[0], True)
    assert interrupts.count(1, 0) == 0
    driver.fire(0)
    assert interrupts.count(1, 0) == 1


def test_closing_disables_all_interrupts() -> None:
    """None is enabled after the next open, and the counts begin again."""
    interrupts, driver = opened()
    interrupts.enable(1, 0)
    driver.fire(0)
    driver.close()
    with pytest.raises(NotEnabled):
        interrupts.count(1, 0)
    with pytest.raises(SetupError):
        interrupts.enable(1, 0)
    driver.open()
    with pytest.raises(NotEnabled):
        interrupts.count(1, 0)
    interrupts.enable(1, 0)
    assert interrupts.count(1, 0) == 0


def test_descriptors_can_run_out() -> None:
    """The device is not blamed, and the next attempt succeeds."""
    interrupts, _ = opened()
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(SetupError, match="cannot create an eventfd: Too many open files"):
            interrupts.enable(1, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    interrupts.enable(1, 0)


# -- a server ---------------------------------------------------------------------------------------------------------

CONTROL, DOORBELL = 0x04, 0x1C


def served(*options: str) -> Device:
    """The reference server's device. A message passes one descriptor to it."""
    command = ("{python}", "-m", "refdriver", "--socket-path={socket}", *options)
    return Device(VfioUser(VfioUserSettings(None, command, AMPLE, AMPLE)))


@pytest.fixture
def device() -> Iterator[Device]:
    """A good device, open."""
    device = served()
    device.open()
    yield device
    device.transport.shutdown()


def test_interrupts_of_a_server(device: Device) -> None:
    """Interrupts of the device, and those triggered by request, by vector."""
    interrupts, registers = device.interrupts, device.region(0)
    interrupts.enable(1, 1)
    interrupts.enable(1, 0)
    registers.write(DOORBELL, 4, 1)
    assert (interrupts.count(1, 0), interrupts.count(1, 1)) == (1, 0)
    interrupts.trigger(1, 0)
    assert interrupts.count(1, 0) == 2
    registers.write(CONTROL, 4, 1)
    assert interrupts.wait(1, 1, AMPLE)
    interrupts.unmask(1, 1)
    interrupts.disable(1)
    registers.write(DOORBELL, 4, 1)
    with pytest.raises(NotEnabled):
        interrupts.count(1, 0)


def test_a_reset_keeps_vectors_enabled(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enabling one again makes no request."""
    device.interrupts.enable(1, 0)
    device.interrupts.trigger(1, 0)
    device.reset()
    with monkeypatch.context() as patched:
        patched.setattr(device.transport, "ioctl", None)
        device.interrupts.enable(1, 0)
    device.interrupts.trigger(1, 0)
    assert device.interrupts.count(1, 0) == 2


def test_requests_of_a_server_are_served_while_waiting(tmp_path: Path) -> None:
    """This one writes memory by a message, and raises its interrupt after the reply."""

    def script(peer: Peer) -> None:
        while head := (taken := socket.recv_fds(peer.stream, 16, 1))[0]:
            number, command, size, _, _ = struct.unpack("<HHIII", head)
            request = peer.stream.recv(size - 16) if size > 16 else b""
            answers = {4: struct.pack("<4I", 16, 2, 0, 1), 7: struct.pack("<4I", 16, 1, 0, 1), 3: request}
            peer.send(number, command, answers.get(command, b""))
            if command == 8:
                peer.send(1, 12, struct.pack("<QQ", IOVA, 4) + b"done", flags=COMMAND)
                assert peer.receive().flags == REPLY
                (eventfd,) = taken[1]
                os.eventfd_write(eventfd, 1)
            for descriptor in taken[1]:
                os.close(descriptor)

    server = ScriptedServer(tmp_path / "s", script)
    device = Device(VfioUser(VfioUserSettings(str(tmp_path / "s"), None, AMPLE, AMPLE)))
    device.open()
    with DmaMap(device.transport, IOVA, 4096) as memory:
        device.interrupts.enable(0, 0)
        assert device.interrupts.wait(0, 0, AMPLE)
        assert bytes(memory.view[:4]) == b"done"
    device.close()
    server.stop()


def test_many_opens_leak_no_descriptor(device: Device) -> None:
    """Fifty opens, each with both vectors enabled."""
    device.close()
    with same_descriptors():
        for _ in range(50):
            device.open()
            device.interrupts.enable(1, 0)
            device.interrupts.enable(1, 1)
            device.reopen()
            device.interrupts.enable(1, 0)
            device.close()


def test_servers_that_die_leak_no_descriptor() -> None:
    """The vectors end with the connection; the next server gets new requests."""
    device = served()
    for _ in range(10):
        with same_descriptors():
            device.open()
            device.interrupts.enable(1, 0)
            os.kill(device.transport.incarnation, 9)
            with pytest.raises(PeerGone):
                device.interrupts.trigger(1, 0)
            assert device.interrupts.count(1, 0) == 0
            device.close()
    device.transport.shutdown()
