# SPDX-License-Identifier: GPL-2.0-only
"""The commands about the device: information on it, its regions, and reset."""

from __future__ import annotations

from errno import EINVAL

from ..options import Options
from ..refusal import Refusal
from ..socket import wire
from ..socket.requests import Answer, Handler, check_argsz, fields
from .description import Description, describe
from .device import Device
from .irq_commands import IrqCommands


class Commands:
    """Executes the commands."""

    def __init__(self, options: Options, device: Device) -> None:
        self._device = device
        self._arrangement = options.capabilities
        self._most = options.largest_transfer
        # The most bytes that one read returns, as agreed with the client.
        self._most_read = options.largest_transfer
        interrupts = IrqCommands(device)
        #: By command.
        self.handlers: dict[int, Handler] = {
            wire.DEVICE_GET_INFO: self._get_info,
            wire.DEVICE_GET_REGION_INFO: self._get_region_info,
            wire.DEVICE_GET_IRQ_INFO: interrupts.get_info,
            wire.DEVICE_SET_IRQS: interrupts.set,
            wire.REGION_READ: self._region_read,
            wire.REGION_WRITE: self._region_write,
            wire.DEVICE_RESET: self._reset,
        }

    def agree(self, peer_max_data: int) -> None:
        """The client accepts at most this number of bytes of data in one message."""
        self._most_read = min(self._most, peer_max_data)

    # The device and its regions.

    def _get_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz = fields(wire.DEVICE_INFO, body)[0]
        check_argsz(argsz, wire.DEVICE_INFO.size)
        device = self._device
        flags = wire.DEVICE_RESETTABLE | (wire.DEVICE_PCI if device.layout.pci else 0)
        counts = device.region_count, device.layout.interrupts
        return Answer(wire.DEVICE_INFO.pack(wire.DEVICE_INFO.size, flags, *counts))

    def _get_region_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, _, index, _, _, _ = fields(wire.REGION_INFO, body)
        check_argsz(argsz, wire.REGION_INFO.size)
        device = self._device
        if index >= device.region_count or index in device.layout.refused:
            raise Refusal(EINVAL)
        description = describe(device, index, self._arrangement)
        info, whole = self.fit(description, argsz)
        mappable = whole and description.flags & wire.REGION_MAPPABLE
        return Answer(info, device.special[index].fd if mappable else None)

    def fit(self, description: Description, room: int) -> tuple[bytes, bool]:
        """The description of a region in at most ``room`` bytes, and whether it is complete.

        If the chain does not fit, only the fixed part is given; it says how much room is needed.
        """
        if description.needed <= room:
            return description.fixed(description.needed, description.first) + description.chain, True
        return description.fixed(description.needed, 0), False

    def _region_read(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        if len(body) < 16:
            raise Refusal(EINVAL)
        request = body[:16]
        offset, index, count = wire.REGION_ACCESS.unpack(request)
        region = self._device.regions.get(index)
        if region is None or count > self._most_read:
            raise Refusal(EINVAL)
        data = region.read(offset, count)
        return Answer(request if len(data) == count else wire.REGION_ACCESS.pack(offset, index, len(data)), data=data)

    def _region_write(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        offset, index, count = fields(wire.REGION_ACCESS, body)
        data = memoryview(body)[16:]
        region = self._device.regions.get(index)
        if region is None or count != len(data) or count > self._most:
            raise Refusal(EINVAL)
        written = region.write(offset, data)
        return Answer(wire.REGION_ACCESS.pack(offset, index, written))

    def _reset(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        self._device.reset()
        return Answer(b"")
