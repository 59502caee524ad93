# SPDX-License-Identifier: GPL-2.0-only
"""The part of the device that does its work: registers, device memory, the clock and the DMA stream.

All that it knows of migration is whether it is running or stopped.
"""

from __future__ import annotations

from errno import EINVAL
from struct import Struct
from time import monotonic_ns

from ..container.memory import GuestMemory
from ..options import Options
from ..refusal import Refusal
from .interrupts import DONE, STREAMED, Interrupts
from .regions import Memory, check_range

#: Region 0, offsets.
ID = 0x00
CONTROL = 0x04
COUNTER = 0x08
DMA_ADDRESS = 0x10
DMA_LENGTH = 0x18
DOORBELL = 0x1C
STATUS = 0x20
SCRATCH = (0x28, 0x30, 0x38)
FAULT = 0x40
SAVE_FAULT = 0x44
LOAD_FAULT = 0x48
PIN_ADDRESS = 0x50
PIN_LENGTH = 0x58
PIN = 0x5C

REGISTERS_SIZE = 4096

_WIDTHS = {
    ID: 4,
    CONTROL: 4,
    COUNTER: 8,
    DMA_ADDRESS: 8,
    DMA_LENGTH: 4,
    DOORBELL: 4,
    STATUS: 4,
    SCRATCH[0]: 8,
    SCRATCH[1]: 8,
    SCRATCH[2]: 8,
    FAULT: 4,
    SAVE_FAULT: 4,
    LOAD_FAULT: 4,
    PIN_ADDRESS: 8,
    PIN_LENGTH: 4,
    PIN: 4,
}
_READ_ONLY = frozenset({ID, COUNTER, STATUS})
_IDENTITY = 0x314D4656
_STREAM_ON = 1
_DMA_DONE = 1
_DMA_FAILED = 2
_MOST_DMA = 64 << 10
_LAST_FAULT = 2
_PIN = 1
_UNPIN = 2

_MASK_64 = (1 << 64) - 1

_STREAM_PERIOD_NS = 1_000_000

#: The registers that migrate, in the order of IMAGE.
_MIGRATED = (CONTROL, COUNTER, DMA_ADDRESS, DMA_LENGTH, STATUS, *SCRATCH)
IMAGE = Struct("<IQQIIQQQ")
#: Bytes of the registers as they are saved.
SAVED_REGISTERS_SIZE = IMAGE.size


class Machine:
    """Region 0 and the device memory; ``run`` and ``halt`` start and stop all work."""

    size = REGISTERS_SIZE

    def __init__(self, options: Options, guest: GuestMemory, interrupts: Interrupts) -> None:
        self.memory = Memory(options.memory)
        self.guest = guest
        self.interrupts = interrupts
        self._quiet = options.quiet == "yes"
        self._reset_keeps = options.reset == "keep"
        self._refuse_read_only = options.read_only == "refuse"
        self._values: dict[int, int] = {}
        #: When the device last began to run, on the monotonic clock; None while stopped.
        self._since: int | None = None
        self._stream_count = 0
        self._stream_due = 0
        self.reset()

    def reset(self) -> None:
        """Give everything its initial value. A running device continues to run."""
        kept = {offset: self._values[offset] for offset in SCRATCH if self._reset_keeps and self._values}
        self._values = dict.fromkeys(_WIDTHS, 0) | kept
        self._values[ID] = _IDENTITY
        if not self._reset_keeps:
            self.memory.clear()
        self.guest.reset()
        self.interrupts.reset()
        self._stream_count = 0
        if self._since is not None:
            self._since = monotonic_ns()

    # Running and stopped.

    def run(self) -> None:
        """Run from now on."""
        if self._since is None:
            self._since = monotonic_ns()

    def halt(self) -> None:
        """Stop: nothing changes and nothing is written once this has returned."""
        if self._since is not None:
            self._end_work(self._since, monotonic_ns())

    def _end_work(self, since: int, until: int) -> None:
        """Account for a finished stretch of running."""
        self._values[COUNTER] += (until - since) // 1000
        self._since = None

    def attended(self) -> None:
        """The user takes interrupts, or others than before; it makes no difference to this device."""

    @property
    def working(self) -> bool:
        """Whether the device runs at this moment."""
        return self._since is not None

    @property
    def stream_is_on(self) -> bool:
        """Whether the user has switched the DMA stream on."""
        return bool(self._values[CONTROL] & _STREAM_ON)

    @property
    def streaming(self) -> bool:
        """Whether ``tick`` has to be called from time to time."""
        return self.stream_is_on and self.working

    def tick(self) -> None:
        """Make the next write of the DMA stream when it is due."""
        now = monotonic_ns()
        if self.streaming and now >= self._stream_due:
            self._stream_due = now + _STREAM_PERIOD_NS
            self._write_stream()

    def _write_stream(self) -> None:
        self._stream_count += 1
        self._dma(self._stream_count.to_bytes(8, "little"))
        self.interrupts.fire(STREAMED)

    def end_dma(self) -> None:
        """Switch the DMA stream off, as closing the device does."""
        self._values[CONTROL] = 0

    # Region 0.

    def read(self, offset: int, count: int) -> bytes:
        """Read one register."""
        if _WIDTHS.get(offset) == count:
            value = self._counter() if offset == COUNTER else self._values[offset]
            return value.to_bytes(count, "little")
        self._check_unnamed(offset, count)
        return bytes(count)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        """Write one register; returns the number of bytes written."""
        count = len(data)
        if _WIDTHS.get(offset) != count:
            self._check_unnamed(offset, count)
        elif offset in _READ_ONLY:
            if self._refuse_read_only:
                raise Refusal(EINVAL)
        else:
            self._set(offset, int.from_bytes(data, "little"))
        return count

    def _check_unnamed(self, offset: int, count: int) -> None:
        check_range(offset, count, REGISTERS_SIZE)
        meets = any(start < offset + count and offset < start + width for start, width in _WIDTHS.items())
        if meets or count not in (1, 2, 4, 8):
            raise Refusal(EINVAL)

    def _set(self, offset: int, value: int) -> None:
        if offset == DOORBELL:
            if self.working:
                self._dma(bytes([value & 0xFF]) * self._values[DMA_LENGTH])
                self.interrupts.fire(DONE)
            return
        if offset == PIN:
            self._pin(value)
            return
        if offset == CONTROL:
            value &= _STREAM_ON
        if (offset == DMA_LENGTH and value > _MOST_DMA) or (offset == FAULT and value > _LAST_FAULT):
            raise Refusal(EINVAL)
        self._values[offset] = value

    def _pin(self, what: int) -> None:
        address, length = self._values[PIN_ADDRESS], self._values[PIN_LENGTH]
        if what == _PIN:
            self.guest.pin(address, length)
        elif what == _UNPIN:
            self.guest.unpin(address, length)
        else:
            raise Refusal(EINVAL)

    def take_fault(self) -> int:
        """The value of FAULT, which this clears."""
        value = self._values[FAULT]
        self._values[FAULT] = 0
        return value

    def count_down(self, fault: int) -> bool:
        """Count SAVE_FAULT or LOAD_FAULT down by one; true if the device is to fail now."""
        value = self._values[fault]
        self._values[fault] = max(value - 1, 0)
        return value == 1

    def _dma(self, data: bytes) -> None:
        try:
            self.guest.write(self._values[DMA_ADDRESS], data)
            self._values[STATUS] = _DMA_DONE
        except Refusal:
            self._values[STATUS] = _DMA_FAILED

    # The clock.

    def _counter(self) -> int:
        """Microseconds spent running since reset."""
        running = 0 if self._since is None else (monotonic_ns() - self._since) // 1000
        return self._values[COUNTER] + running & _MASK_64

    # The registers' part of the state.

    def save(self) -> bytes:
        """The registers that migrate, at this moment."""
        values = {offset: self._values[offset] for offset in _MIGRATED}
        values[COUNTER] = 0 if self._quiet else self._counter()
        return IMAGE.pack(*values.values())

    def load(self, image: bytes) -> None:
        """Load saved registers. The device must be stopped. EINVAL for values that no device can have saved."""
        values = dict(zip(_MIGRATED, IMAGE.unpack(image), strict=True))
        if values[CONTROL] > _STREAM_ON or values[DMA_LENGTH] > _MOST_DMA or values[STATUS] > _DMA_FAILED:
            raise Refusal(EINVAL)
        if self._quiet:
            del values[COUNTER]
        self._values.update(values)
