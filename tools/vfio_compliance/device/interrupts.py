# SPDX-License-Identifier: GPL-2.0-only
"""A device's interrupts, reported by eventfds (VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

from ..common.calls import COUNT
from ..common.words import counted, enumerated
from ..transport import Event, Target, Transport
from ..uapi.vfio import VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_SET_IRQS, IrqInfoFlags, IrqSetFlags, ffi
from .errors import DeviceError, accepted

#: argsz, flags, index, start, count.
_SET: Final = Struct("<IIIII")

#: The fewest and the most seconds between two checks for an interrupt.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05

#: A device that claims more vectors at an index is not believed; PCI devices have at most 2048.
_MOST_VECTORS: Final = 1 << 16

_NONE, _EVENTFD = IrqSetFlags.DATA_NONE, IrqSetFlags.DATA_EVENTFD
_TRIGGER, _UNMASK = IrqSetFlags.ACTION_TRIGGER, IrqSetFlags.ACTION_UNMASK


class NotEnabled(DeviceError):
    """A vector that was not enabled since the device was opened: the caller's mistake, not the driver's."""

    def __init__(self, what: str, index: int, vector: int) -> None:
        step = f"enable_irq: {{index: {index}, vector: {vector}}}"
        super().__init__(what, f"one that is enabled, as by `{step}` in setup.after_open", "it is not enabled")


class _Vector:
    """One vector that is reported."""

    def __init__(self, event: Event) -> None:
        self.event = event
        #: How often it came, and how many of these have been waited for.
        self._came = self._waited = 0

    def count(self) -> int:
        self._came += self.event.take()
        return self._came

    def taken(self) -> bool:
        """Whether there is one that has not been waited for; from now on, it counts as waited for."""
        if self._waited == self.count():
            return False
        self._waited += 1
        return True


class Interrupts:
    """The interrupts of one device: each has an index, and vectors that count from 0.

    What is enabled stays so until the device is closed; a reset does not change it. All verbs raise DeviceError if the
    driver refuses, or has no such interrupt.
    """

    def __init__(self, transport: Transport, indexes: Callable[[], int]) -> None:
        """``indexes`` gives how many interrupt indexes the device says it has."""
        self._transport = transport
        self._indexes = indexes
        self._vectors: dict[tuple[int, int], _Vector] = {}

    def enable(self, index: int, vector: int) -> None:
        """Have the interrupt reported from now on; a repeated call changes nothing.

        If all vectors of the index have to be set up together, those enabled before are set up again: interrupts in
        between are lost. Raises SetupError if this process can have no more descriptors.
        """
        if (index, vector) in self._enabled():
            return
        what = f"enabling interrupt {_both(index, vector)}{self._beside(index)}"
        flags = self._look(what, index, vector)
        added = _Vector(self._transport.event())
        try:
            self._add(what, flags, index, vector, added.event)
        except BaseException:
            added.event.close()
            raise
        self._vectors[index, vector] = added

    def disable(self, index: int) -> None:
        """Stop the reports of all vectors of the index; does nothing if it has none."""
        if self._of(index):
            self._set(f"disabling interrupt {index}", _NONE | _TRIGGER, index, 0, 0)
            self._forget(index)

    def trigger(self, index: int, vector: int) -> None:
        """Have the driver report the interrupt as if the device had raised it. Raises NotEnabled."""
        what = f"triggering interrupt {_both(index, vector)}"
        self._find(what, index, vector)
        self._set(what, _NONE | _TRIGGER, index, vector, 1)

    def unmask(self, index: int, vector: int) -> None:
        """Let it come again, if the driver masks a level-triggered interrupt when it fires. Raises NotEnabled."""
        what = f"unmasking interrupt {_both(index, vector)}"
        self._find(what, index, vector)
        self._set(what, _NONE | _UNMASK, index, vector, 1)

    def count(self, index: int, vector: int) -> int:
        """How often it has come since it was enabled. Raises NotEnabled."""
        came = self._find(f"counting interrupt {_both(index, vector)}", index, vector).count()
        self._transport.tracer.seen(COUNT, f"interrupt {index}", vector, came.to_bytes(8, "little"))
        return came

    def wait(self, index: int, vector: int, seconds: float) -> bool:
        """Whether one comes in time that no earlier wait has used up; earlier ones count, each for one wait.

        The device's requests are served in the meantime. Raises NotEnabled, TransportError.
        """
        awaited = self._find(f"waiting for interrupt {_both(index, vector)}", index, vector)
        end = time.monotonic() + seconds
        pause = min(max(seconds / 1024, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        while not awaited.taken():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._transport.pause(min(left, pause))
        return True

    # -- what is enabled --------------------------------------------------------------------------------------------

    def _enabled(self) -> dict[tuple[int, int], _Vector]:
        """By index and vector. Closing the device closes the events."""
        self._vectors = {key: each for key, each in self._vectors.items() if not each.event.closed}
        return self._vectors

    def _of(self, index: int) -> dict[int, Event]:
        """Those of an index, by vector."""
        return {vector: each.event for (of, vector), each in self._enabled().items() if of == index}

    def _find(self, what: str, index: int, vector: int) -> _Vector:
        found = self._enabled().get((index, vector))
        if found is None:
            raise NotEnabled(what, index, vector)
        return found

    def _beside(self, index: int) -> str:
        """Which others are enabled, in words: a PCI device can use one kind of interrupt at a time."""
        others = sorted({str(of) for of, _ in self._enabled() if of != index})
        return f", with interrupt {enumerated(others, 'and')} enabled" if others else ""

    def _forget(self, index: int) -> None:
        for event in self._of(index).values():
            event.close()

    # -- requests ---------------------------------------------------------------------------------------------------

    def _look(self, what: str, index: int, vector: int) -> IrqInfoFlags:
        """Flags of the index. Raises DeviceError unless the device can report this vector by an eventfd."""
        indexes = self._indexes()
        if not 0 <= index < indexes:
            raise DeviceError(what, f"more than {counted(index, 'irq index')}", f"the device has {indexes}")
        info: Any = ffi.new("struct vfio_irq_info *", {"argsz": ffi.sizeof("struct vfio_irq_info"), "index": index})
        outcome = self._transport.ioctl(Target.DEVICE, VFIO_DEVICE_GET_IRQ_INFO, info)
        accepted(f"asking about interrupt {index}", outcome)
        if info.count > _MOST_VECTORS:
            raise DeviceError(what, f"at most {counted(_MOST_VECTORS, 'vector')} at irq index {index}", f"{info.count}")
        if not 0 <= vector < info.count:
            seen = f"irq index {index} has {counted(info.count, 'vector')}"
            raise DeviceError(what, f"more than {counted(vector, 'vector')}", seen)
        flags = IrqInfoFlags(info.flags)
        if IrqInfoFlags.EVENTFD not in flags:
            raise DeviceError(what, "the flag EVENTFD in the information of the index", f"flags 0x{info.flags:x}")
        return flags

    def _add(self, what: str, flags: IrqInfoFlags, index: int, vector: int, event: Event) -> None:
        """Have the driver report one more vector."""
        before = self._of(index)
        if IrqInfoFlags.NORESIZE not in flags or (before and vector < max(before)):
            self._attach(what, index, vector, [event])
            return
        # The first request fixes their number, until the last is given up.
        if before:
            self._set(what, _NONE | _TRIGGER, index, 0, 0)
        try:
            self._attach_all(what, index, {**before, vector: event})
        except DeviceError:
            self._restore(what, index, before)
            raise

    def _restore(self, what: str, index: int, before: dict[int, Event]) -> None:
        """Restore the earlier reports; if even that is refused, nothing is enabled any more."""
        try:
            if before:
                self._attach_all(what, index, before)
        except DeviceError:
            self._forget(index)

    def _attach_all(self, what: str, index: int, events: dict[int, Event]) -> None:
        """All vectors of an index at once, from the first to the last that has an event."""
        self._attach(what, index, 0, [events.get(vector) for vector in range(max(events) + 1)])

    def _attach(self, what: str, index: int, start: int, events: Sequence[Event | None]) -> None:
        numbers = [-1 if event is None else event.descriptor for event in events]
        self._set(what, _EVENTFD | _TRIGGER, index, start, len(numbers), Struct(f"<{len(numbers)}i").pack(*numbers))

    def _set(self, what: str, flags: IrqSetFlags, index: int, start: int, count: int, data: bytes = b"") -> None:
        argument = bytearray(_SET.pack(_SET.size + len(data), flags, index, start, count) + data)
        outcome = self._transport.ioctl(Target.DEVICE, VFIO_DEVICE_SET_IRQS, argument)
        accepted(what, outcome)
        if outcome.value:  # vfio-pci's answer if the machine has too few interrupts left
            raise DeviceError(what, "success", f"{outcome.value}: no more than this many vectors are available")


def _both(index: int, vector: int) -> str:
    return f"{index}, vector {vector}"
