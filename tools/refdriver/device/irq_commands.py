# SPDX-License-Identifier: GPL-2.0-only
"""The two commands about interrupts."""

from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL
from typing import NamedTuple

from ..refusal import Refusal
from ..socket import wire
from ..socket.requests import Answer, check_argsz, fields
from .device import Device
from .interrupts import VECTORS, Vector

_KINDS = wire.IRQ_NONE | wire.IRQ_BOOL | wire.IRQ_EVENTFD
_ACTIONS: dict[int, Callable[[Vector], None]] = {
    wire.IRQ_MASK: Vector.mask,
    wire.IRQ_UNMASK: Vector.unmask,
    wire.IRQ_TRIGGER: Vector.fire,
}


class _Request(NamedTuple):
    """A DEVICE_SET_IRQS request."""

    #: One kind of data.
    kind: int
    #: One action.
    action: int
    start: int
    vectors: int
    #: The data after the fixed part, and the descriptors that came with it.
    data: bytes
    fds: tuple[int, ...]


class IrqCommands:
    """Executes the commands."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def get_info(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        """The vectors and flags of this index; EINVAL for one that does not exist."""
        argsz, _, index, _ = fields(wire.IRQ_INFO, body)
        check_argsz(argsz, wire.IRQ_INFO.size)
        count = self._count(index)
        flags = wire.IRQ_BY_EVENTFD | wire.IRQ_MASKABLE if count else 0
        return Answer(wire.IRQ_INFO.pack(wire.IRQ_INFO.size, flags, index, count))

    def set(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        """Attach or detach eventfds, mask, unmask, or raise. EINVAL for a request that makes no sense."""
        argsz, flags, index, start, count = fields(wire.SET_IRQS, body)
        check_argsz(argsz, wire.SET_IRQS.size)
        there = self._count(index)
        kind, action = flags & _KINDS, flags & ~_KINDS
        if kind not in (wire.IRQ_NONE, wire.IRQ_BOOL, wire.IRQ_EVENTFD) or action not in _ACTIONS:
            raise Refusal(EINVAL)
        if fds and kind != wire.IRQ_EVENTFD:
            raise Refusal(EINVAL)
        if not count and (kind, action, start) == (wire.IRQ_NONE, wire.IRQ_TRIGGER, 0):
            start, count, kind = 0, there, wire.IRQ_EVENTFD  # no vector of the index is reported any more
        elif not count or start + count > there:
            raise Refusal(EINVAL)
        request = _Request(kind, action, start, count, body[wire.SET_IRQS.size : argsz], fds)
        if kind == wire.IRQ_EVENTFD:
            self._attach(request)
        else:
            self._act(request)
        return Answer(b"")

    def _count(self, index: int) -> int:
        """How many vectors an index has."""
        layout = self._device.layout
        if index >= layout.interrupts or index in layout.no_interrupts:
            raise Refusal(EINVAL)
        return VECTORS if index == layout.interrupt else 0

    def _attach(self, request: _Request) -> None:
        """A descriptor for each vector, or none to detach those they have."""
        if request.action != wire.IRQ_TRIGGER or len(request.fds) not in (0, request.vectors):
            raise Refusal(EINVAL)
        interrupts = self._device.interrupts
        if request.fds:
            interrupts.attach(request.start, request.fds)
        else:
            for vector in interrupts.vectors[request.start : request.start + request.vectors]:
                vector.detach()
        self._device.machine.attended()

    def _act(self, request: _Request) -> None:
        """Do the same for each vector of the range, or for those whose byte is set."""
        if request.kind == wire.IRQ_BOOL and len(request.data) < request.vectors:
            raise Refusal(EINVAL)
        for position in range(request.vectors):
            if request.kind == wire.IRQ_NONE or request.data[position]:
                _ACTIONS[request.action](self._device.interrupts.vectors[request.start + position])
