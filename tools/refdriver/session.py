# SPDX-License-Identifier: GPL-2.0-only
"""One client from the first message to the last: each command, checked and carried out."""

from __future__ import annotations

from errno import EINVAL, EOPNOTSUPP

from . import wire
from .connection import Breach, Connection, Message, close_all
from .container_faults import make_container
from .description import region_info
from .device import IRQ_COUNT, Device
from .negotiation import answer as greeting
from .negotiation import negotiate
from .refusal import Refusal
from .requests import Answer, Handler, check_argsz, fields


class Session:
    """Serves one client on the device. Commands are carried out in the order in which they come.

    All happens on one thread: the device does what is due by itself between commands or while the client is silent,
    never while a command is being carried out. So a device that a command stops has stopped when the reply
    leaves.
    """

    def __init__(self, device: Device, connection: Connection) -> None:
        self._device = device
        self._connection = connection
        self._handlers: dict[int, Handler] = {
            wire.DEVICE_GET_INFO: self._get_info,
            wire.DEVICE_GET_REGION_INFO: self._get_region_info,
            wire.DEVICE_GET_IRQ_INFO: self._get_irq_info,
            wire.DEVICE_SET_IRQS: self._set_irqs,
            wire.REGION_READ: self._region_read,
            wire.REGION_WRITE: self._region_write,
            wire.DEVICE_RESET: self._reset,
            **make_container(device.guest, device.defects).handlers,
        }

    def run(self) -> None:
        """Serve until the client leaves. Always ends by raising Gone or Breach."""
        self._greet()
        device, connection = self._device, self._connection
        while True:
            if device.restless:
                device.tick()
                if not connection.ready(1):
                    continue
            self._carry_out(connection.receive())

    def _greet(self) -> None:
        """The client's first command has to be VERSION; without an agreement there is nothing to serve."""
        message = self._connection.receive()
        close_all(message.fds)
        try:
            if message.command != wire.VERSION:
                raise Refusal(EINVAL)
            agreement = negotiate(message.body)
        except Refusal as refusal:
            self._connection.refuse(message, refusal.errno)
            raise Breach("no agreement on a version and capabilities") from refusal
        self._connection.peer_max_data = agreement.peer_max_data
        self._device.guest.dirty.page_size = agreement.page_size
        self._connection.reply(message, greeting(agreement.minor))

    def _carry_out(self, message: Message) -> None:
        wanted = not message.flags & wire.NO_REPLY
        try:
            handler = self._handlers.get(message.command)
            if handler is None:
                raise Refusal(EINVAL if message.command == wire.VERSION else EOPNOTSUPP)
            answer = handler(message.body, message.fds)
        except Refusal as refusal:
            if wanted:
                self._connection.refuse(message, refusal.errno)
        else:
            if wanted:
                self._connection.reply(message, *answer)
        finally:
            if message.fds:
                close_all(message.fds)

    # The device and its regions.

    def _get_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz = fields(wire.DEVICE_INFO, body)[0]
        check_argsz(argsz, wire.DEVICE_INFO.size)
        flags = wire.DEVICE_RESETTABLE | wire.DEVICE_PCI
        return Answer(wire.DEVICE_INFO.pack(wire.DEVICE_INFO.size, flags, self._device.region_count, IRQ_COUNT))

    def _get_region_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, _, index, _, _, _ = fields(wire.REGION_INFO, body)
        check_argsz(argsz, wire.REGION_INFO.size)
        if index >= self._device.region_count:
            raise Refusal(EINVAL)
        info, whole = region_info(self._device, index, argsz)
        migration = self._device.migration
        mappable = whole and self._device.regions.get(index) is migration and bool(migration.section.areas)
        return Answer(info, migration.section.fd if mappable else None)

    def _region_read(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        if len(body) < 16:
            raise Refusal(EINVAL)
        request = body[:16]
        offset, index, count = wire.REGION_ACCESS.unpack(request)
        region = self._device.regions.get(index)
        if region is None or count > self._connection.peer_max_data or count > wire.MAX_DATA:
            raise Refusal(EINVAL)
        data = region.read(offset, count)
        return Answer(request if len(data) == count else wire.REGION_ACCESS.pack(offset, index, len(data)), data=data)

    def _region_write(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        offset, index, count = fields(wire.REGION_ACCESS, body)
        data = memoryview(body)[16:]
        region = self._device.regions.get(index)
        if region is None or count != len(data) or count > wire.MAX_DATA:
            raise Refusal(EINVAL)
        written = region.write(offset, data)
        return Answer(wire.REGION_ACCESS.pack(offset, index, written))

    def _reset(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        self._device.reset()
        return Answer(b"")

    # Interrupts: the device has none.

    def _get_irq_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, _, index, _ = fields(wire.IRQ_INFO, body)
        check_argsz(argsz, wire.IRQ_INFO.size)
        if index >= IRQ_COUNT:
            raise Refusal(EINVAL)
        return Answer(wire.IRQ_INFO.pack(wire.IRQ_INFO.size, 0, index, 0))

    def _set_irqs(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, _, index, _, count = fields(wire.SET_IRQS, body)
        check_argsz(argsz, wire.SET_IRQS.size)
        if index >= IRQ_COUNT or count:
            raise Refusal(EINVAL)
        return Answer(b"")
