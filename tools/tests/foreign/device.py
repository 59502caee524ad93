# SPDX-License-Identifier: GPL-2.0-only
"""A small device with a migration region that keeps the specification. Every style is this one with a line changed.

Region 0, 4 KiB of registers:

    0x00  4  CONTROL    bit 0: the stream writes a growing number to ADDRESS, about once a millisecond
    0x08  8  ADDRESS    of both engines
    0x10  4  LENGTH     of a single write
    0x14  4  DOORBELL   any write: LENGTH bytes are written to ADDRESS before this returns
    0x18  4  STATUS     1: the last single write succeeded; 2: it did not
    0x20  8  COUNTER    grows while the device runs
    0x28  8  SCRATCH
    0x30  4  FAULT      1: the next write of device_state fails, and the device is in the error state
    0x34  4  SAVE_FAULT 1: the next buffer cannot be made
    0x38  4  ENABLE     some styles want it to be written first
    0x3c  4  PIN        1: the pages of LENGTH bytes at ADDRESS are pinned; 2: no longer

Region 1, 20 KiB of memory. Region 2, the migration region: the header is trapped, the data section begins at the next
page and can be mapped.

A saved state is a buffer for each page of memory and one for the registers; each begins with its kind.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import time

from wire import ACCESS, Refusal, Wire

PAGE = 4096
STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING, ERROR = 0, 1, 2, 3, 4, 6
VALID = (STOP, RUNNING, STOP_AND_COPY, PRE_COPY, RESUMING)
#: The arrows of the specification's diagram.
DRAWN = {(1, 0), (1, 2), (2, 0), (1, 3), (3, 2), (1, 4), (4, 1)}

CONTROL, ADDRESS, LENGTH, DOORBELL, STATUS = 0x00, 0x08, 0x10, 0x14, 0x18
COUNTER, SCRATCH, FAULT, SAVE_FAULT, ENABLE, PIN = 0x20, 0x28, 0x30, 0x34, 0x38, 0x3C
WIDTHS = {
    **dict.fromkeys((CONTROL, LENGTH, DOORBELL, STATUS, FAULT, SAVE_FAULT, ENABLE, PIN), 4),
    **dict.fromkeys((ADDRESS, COUNTER, SCRATCH), 8),
}

#: The registers of the header: offset to width.
STATE, RESERVED, PENDING, OFFSET, SIZE = 0, 4, 8, 16, 24
HEADER = {STATE: 4, RESERVED: 4, PENDING: 8, OFFSET: 8, SIZE: 8}

REGISTERS, MEMORY, MIGRATION = 0, 1, 2
PAGES = 5

#: The head of a buffer: magic, what (an offset in memory, or THE_REGISTERS), bytes that follow.
HEAD = struct.Struct("<III")
MAGIC, THE_REGISTERS = 0x4E474946, 0xFFFFFFFF
REGISTER_STATE = struct.Struct("<QQIIIB")  # an odd size

CAP_SPARSE, CAP_TYPE = 1, 2
INFO = struct.Struct("<IIIIQQ")
READ, WRITE, MMAP, CAPS = 1, 2, 4, 8


class Mapping:
    """A DMA_MAP: memory of the client, accessed directly if a descriptor came with it."""

    def __init__(self, size: int, flags: int, memory: mmap.mmap | None) -> None:
        self.size = size
        self.flags = flags
        self.memory = memory


class Device(Wire):
    """The good one."""

    #: Offset and size of the section in the region, and its areas that can be mapped.
    section = (PAGE, 2 * PAGE)
    areas: tuple[tuple[int, int], ...] = ((PAGE, 2 * PAGE),)
    #: Whether DEVICE_RESET is offered.
    has_reset = True
    #: device_state for a new client, and after a reset.
    opens_in = RUNNING
    resets_to = RUNNING
    #: Bytes of each page of memory that a buffer takes.
    piece = PAGE
    #: Whether memory is written by messages although it is mapped, and whether written pages are remembered.
    by_message = False
    remembers = True
    #: The largest size of a bitmap that a client may give.
    most_room = 1 << 28
    #: A folder in which the device finds what its earlier processes did.
    scratch = ""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener)
        self.end = sum(self.section)
        self.file = os.memfd_create("foreign-section")
        os.ftruncate(self.file, self.end)
        self.region = mmap.mmap(self.file, self.end)
        self.maps: dict[int, Mapping] = {}
        self.tracking = False
        self.dirty: set[int] = set()
        self.pinned: set[int] = set()
        self.calls = 0
        self.state = RUNNING
        self.power_on()

    # -- what it is -----------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Reset all registers and memory."""
        self.registers = dict.fromkeys(WIDTHS, 0)
        self.memory = bytearray(PAGES * PAGE)
        self.worked, self.since = 0, time.monotonic_ns()
        self.pinned.clear()
        self.streamed = 0.0
        self.stream_value = 0
        self.clear_data()

    def clear_data(self) -> None:
        """Forget the transfer of a state."""
        self.plan: list[tuple[int, int]] = []  # still to be saved: place and bytes
        self.buffer: tuple[int, int] | None = None  # the one in the section: offset and size
        self.ended = False
        self.last_seen = False  # the registers arrived in resuming

    def running(self) -> bool:
        """Whether bit 0 is set."""
        return self.state in (RUNNING, PRE_COPY)

    def work(self) -> int:
        """Microseconds for which the device ran."""
        return self.worked + ((time.monotonic_ns() - self.since) // 1000 if self.running() else 0)

    def opened(self) -> None:
        self.enter(self.opens_in)

    def closed(self) -> None:
        """Forget all of the client."""
        for mapping in self.maps.values():
            if mapping.memory is not None:
                mapping.memory.close()
        self.maps.clear()
        self.tracking = False
        self.dirty.clear()
        self.power_on()

    def on_reset(self, _body: bytes) -> bytes:
        if not self.has_reset:
            raise Refusal(errno.EOPNOTSUPP)
        self.power_on()
        self.enter(self.resets_to)
        return b""

    # -- information ----------------------------------------------------------------------------------------------

    def on_device_info(self, body: bytes) -> bytes:
        (argsz,) = struct.unpack_from("<I", body)
        if argsz < 16:
            raise Refusal
        return struct.pack("<IIII", 16, int(self.has_reset), 3, 0)

    def on_region_info(self, body: bytes) -> bytes:
        argsz, _, index, *_ = INFO.unpack_from(body)
        if argsz < INFO.size or index > MIGRATION:
            raise Refusal
        size = (PAGE, len(self.memory), self.end)[index]
        if index != MIGRATION:
            return INFO.pack(INFO.size, READ | WRITE, index, 0, size, 0)
        chain = self.capability_chain()
        needed = INFO.size + len(chain)
        flags = READ | WRITE | CAPS | (MMAP if self.areas else 0)
        if argsz < needed:
            return INFO.pack(needed, flags, index, 0, size, 0)
        if self.areas:
            self.attach = [self.file]
        return INFO.pack(needed, flags, index, INFO.size, size, 0) + chain

    def capability_chain(self) -> bytes:
        """The type, and the mappable areas."""
        kind = struct.pack("<HHIII", CAP_TYPE, 1, INFO.size + 16 if self.areas else 0, 3, 1)
        if not self.areas:
            return kind
        sparse = struct.pack("<HHIII", CAP_SPARSE, 1, 0, len(self.areas), 0)
        return kind + sparse + b"".join(struct.pack("<QQ", *area) for area in self.areas)

    # -- accesses -------------------------------------------------------------------------------------------------

    def on_region_read(self, body: bytes) -> bytes:
        offset, region, count = ACCESS.unpack_from(body)
        self.calls += 1
        if region == MIGRATION and offset < 32:
            if HEADER.get(offset) != count:
                raise Refusal
            data = self.read_header(offset).to_bytes(count, "little")
        elif region == MIGRATION:
            data = self.read_section(offset, count)
        elif region == REGISTERS:
            if WIDTHS.get(offset) != count:
                raise Refusal
            data = (self.work() if offset == COUNTER else self.registers[offset]).to_bytes(count, "little")
        elif region == MEMORY and offset + count <= len(self.memory):
            data = bytes(self.memory[offset : offset + count])
        else:
            raise Refusal
        return body[: ACCESS.size] + data

    def on_region_write(self, body: bytes) -> bytes:
        offset, region, count = ACCESS.unpack_from(body)
        data = body[ACCESS.size :]
        self.calls += 1
        if len(data) != count:
            raise Refusal
        if region == MIGRATION and offset < 32:
            if HEADER.get(offset) != count:
                raise Refusal
            self.write_header(offset, int.from_bytes(data, "little"))
        elif region == MIGRATION:
            self.write_section(offset, data)
        elif region == REGISTERS:
            if WIDTHS.get(offset) != count:
                raise Refusal
            self.write_register(offset, int.from_bytes(data, "little"))
        elif region == MEMORY and offset + count <= len(self.memory):
            self.memory[offset : offset + count] = data
        else:
            raise Refusal
        return body[: ACCESS.size]

    def write_register(self, offset: int, value: int) -> None:
        """Write a register of region 0."""
        if offset in (COUNTER, STATUS):
            return
        self.registers[offset] = value
        if offset == DOORBELL:
            length = self.registers[LENGTH]
            pattern = (value & 0xFF or 0xA5).to_bytes(1, "little")
            good = length <= 1 << 16 and self.running() and self.dma(self.registers[ADDRESS], pattern * length)
            self.registers[STATUS] = 1 if good else 2
        elif offset == PIN:
            first, length = self.registers[ADDRESS] // PAGE, min(self.registers[LENGTH], 1 << 16)
            last = (self.registers[ADDRESS] + max(length, 1) - 1) // PAGE
            pages = [page for page in range(first, last + 1) if self.mapped(page)]
            if value == 1:
                self.pinned.update(pages)
            else:  # a pinned page may have been written, so it counts as written
                if self.tracking:
                    self.dirty.update(self.pinned.intersection(pages))
                self.pinned.difference_update(pages)

    def mapped(self, page: int) -> bool:
        """Whether the client has mapped this page."""
        return any(at <= page * PAGE < at + known.size for at, known in self.maps.items())

    # -- the header -----------------------------------------------------------------------------------------------

    def read_header(self, offset: int) -> int:
        """Read a register of the migration region."""
        if offset == STATE:
            return self.state
        if offset == PENDING:
            return self.read_pending()
        if offset == OFFSET:
            return self.read_offset()
        if offset == SIZE:
            return self.read_size()
        return self.read_reserved()

    def write_header(self, offset: int, value: int) -> None:
        """Write a register of the migration region; read-only ones ignore it."""
        if offset == STATE:
            self.write_state(value)
        elif offset == SIZE and self.state == RESUMING:
            self.take(value)
        elif offset == RESERVED:
            self.write_reserved(value)

    def read_reserved(self) -> int:
        return 0

    def write_reserved(self, value: int) -> None:
        """Ignored."""

    def write_state(self, value: int) -> None:
        """Make a transition. Reserved bits are ignored."""
        self.judge_write(value)
        if self.state == ERROR:
            raise Refusal(errno.EIO)
        if self.registers[FAULT]:
            self.enter(ERROR)
            raise Refusal(errno.EIO)
        new = value & 7
        if new not in VALID or not self.allows(self.state, new):
            raise Refusal
        self.leave(new)
        if new != self.state:
            self.enter(new)

    def judge_write(self, value: int) -> None:
        """A hook for faults of a write of device_state."""

    def allows(self, old: int, new: int) -> bool:
        """Whether a transition between valid states is allowed; the good device allows all."""
        return True

    def leave(self, new: int) -> None:
        """A hook before a valid transition."""

    def enter(self, new: int) -> None:
        """Enter another state, and forget the transfer of a state."""
        self.worked, self.since = self.work(), time.monotonic_ns()
        self.state = new
        self.clear_data()
        if new in (PRE_COPY, STOP_AND_COPY):
            self.plan = self.to_save(new)

    # -- saving ---------------------------------------------------------------------------------------------------

    def to_save(self, state: int) -> list[tuple[int, int]]:
        """The buffers of a phase: the memory in both, the registers in stop-and-copy."""
        memory = [(at, min(self.piece, len(self.memory) - at)) for at in range(0, len(self.memory), self.piece)]
        return memory + ([(THE_REGISTERS, REGISTER_STATE.size)] if state == STOP_AND_COPY else [])

    def saving(self) -> bool:
        """Whether bit 1 is set."""
        return self.state in (PRE_COPY, STOP_AND_COPY)

    def read_pending(self) -> int:
        """Bytes left. A read of pending_bytes means that the offered buffer has been read."""
        if not self.saving():
            return 0
        if self.buffer is not None:
            self.buffer = None
            self.plan.pop(0)
        return self.estimate()

    def estimate(self) -> int:
        """Bytes left; the specification only requires more than 0 while there are some."""
        return sum(HEAD.size + size for _, size in self.plan)

    def read_offset(self) -> int:
        """Make a buffer, unless one is offered."""
        if self.state == RESUMING:
            return self.place_to_load()
        if not self.saving() or not self.plan:
            return self.section[0]
        if self.buffer is None:
            if self.registers[SAVE_FAULT]:
                raise Refusal(errno.EIO)
            data = self.make(*self.plan[0])
            place = self.place_to_save(len(data))
            self.region[place : place + len(data)] = data
            self.buffer = place, len(data)
        return self.buffer[0]

    def place_to_save(self, size: int) -> int:
        """The offset of a buffer that is offered."""
        return self.section[0]

    def place_to_load(self) -> int:
        """The offset at which the client may write one."""
        return self.section[0]

    def read_size(self) -> int:
        return self.buffer[1] if self.buffer is not None else 0

    def make(self, place: int, size: int) -> bytes:
        """The bytes of a buffer."""
        if place == THE_REGISTERS:
            body = REGISTER_STATE.pack(
                self.registers[SCRATCH],
                self.registers[ADDRESS],
                self.registers[ENABLE],
                self.registers[CONTROL],
                self.registers[LENGTH],
                0xEE,
            )
        else:
            body = bytes(self.memory[place : place + size])
        return HEAD.pack(MAGIC, place, len(body)) + body

    def read_section(self, offset: int, count: int) -> bytes:
        """Read the section by read()."""
        if offset < self.section[0] or offset + count > self.end:
            raise Refusal
        return self.region[offset : offset + count]

    # -- resuming -------------------------------------------------------------------------------------------------

    def write_section(self, offset: int, data: bytes) -> None:
        """Write the section by write()."""
        if offset < self.section[0] or offset + len(data) > self.end:
            raise Refusal
        self.region[offset : offset + len(data)] = data

    def take(self, size: int) -> None:
        """data_size was written: take the buffer in the section."""
        place = self.place_to_load()
        if not HEAD.size < size <= self.end - place:
            raise Refusal
        self.apply(*self.understand(self.region[place : place + size]))

    def understand(self, data: bytes) -> tuple[int, bytes]:
        """The kind of a buffer, and its content."""
        magic, what, length = HEAD.unpack_from(data)
        body = data[HEAD.size :]
        whole = REGISTER_STATE.size if what == THE_REGISTERS else length
        fits = what == THE_REGISTERS or what + length <= len(self.memory)
        if magic != MAGIC or not length == whole == len(body) or not fits:
            raise Refusal
        return what, body

    def apply(self, what: int, body: bytes) -> None:
        """Use a buffer's content."""
        if what != THE_REGISTERS:
            self.memory[what : what + len(body)] = body
            return
        self.last_seen = True
        (
            self.registers[SCRATCH],
            self.registers[ADDRESS],
            self.registers[ENABLE],
            self.registers[CONTROL],
            self.registers[LENGTH],
            _,
        ) = REGISTER_STATE.unpack(body)

    # -- memory of the client -------------------------------------------------------------------------------------

    def idle(self) -> float | None:
        """Write the stream, about once a millisecond."""
        if not (self.registers[CONTROL] & 1 and self.running()):
            return None
        left = self.streamed + 0.001 - time.monotonic()
        if left > 0:
            return left
        self.stream_value += 1
        self.dma(self.registers[ADDRESS], self.stream_value.to_bytes(8, "little"))
        self.streamed = time.monotonic()
        return 0.001

    def on_dma_map(self, body: bytes) -> bytes:
        argsz, flags, offset, address, size = struct.unpack_from("<IIQQQ", body)
        try:
            if argsz < 32 or flags & ~3 or not size or (address | size) % PAGE or address + size > 1 << 64:
                raise Refusal
            if any(address < at + known.size and at < address + size for at, known in self.maps.items()):
                raise Refusal(errno.EEXIST)
            memory = None
            if self.descriptors:
                memory = mmap.mmap(self.descriptors[0], size, offset=offset)
            self.maps[address] = Mapping(size, flags, memory)
        except (OSError, ValueError, OverflowError):
            raise Refusal from None
        finally:
            for descriptor in self.descriptors:
                os.close(descriptor)
        return b""

    def on_dma_unmap(self, body: bytes) -> bytes:
        argsz, flags, address, size = struct.unpack_from("<IIQQ", body)
        if argsz < 24 or flags not in (0, 1, 2):
            raise Refusal
        if flags == 2:
            if address or size:
                raise Refusal
            size = sum(mapping.size for mapping in self.maps.values())
            for at in list(self.maps):
                self.unmap(at)
            return struct.pack("<IIQQ", 24, flags, address, size)
        if address not in self.maps or self.maps[address].size != size:
            raise Refusal(errno.ENOENT)
        if not flags:
            self.unmap(address)
            return struct.pack("<IIQQ", 24, flags, address, size)
        page, room = struct.unpack_from("<QQ", body, 24)
        needed = self.judge_bitmap(address, size, page, room)
        if argsz < 40:
            raise Refusal
        if argsz < 40 + needed:
            return struct.pack("<IIQQQQ", 40 + needed, flags, address, size, page, room)
        bitmap = self.bitmap(address, size, room)
        self.unmap(address)
        return struct.pack("<IIQQQQ", 40 + len(bitmap), flags, address, size, page, len(bitmap)) + bitmap

    def unmap(self, address: int) -> None:
        """Remove a mapping."""
        mapping = self.maps.pop(address)
        if mapping.memory is not None:
            mapping.memory.close()
        first = address // PAGE
        self.pinned.difference_update(range(first, first + mapping.size // PAGE))
        self.dirty.difference_update(range(first, first + mapping.size // PAGE))

    def dma(self, address: int, data: bytes) -> bool:
        """Write the client's memory; return whether all of it is mapped for writing."""
        pieces = []
        at = address
        while at < address + len(data):
            base = next((base for base, known in self.maps.items() if base <= at < base + known.size), None)
            if base is None or not self.maps[base].flags & 2:
                return False
            count = min(address + len(data), base + self.maps[base].size) - at
            pieces.append((self.maps[base].memory, at - base, at, data[at - address : at - address + count]))
            at += count
        for memory, offset, where, piece in pieces:
            if self.by_message or memory is None:
                if not self.dma_write(where, piece):
                    return False
            else:
                memory[offset : offset + len(piece)] = piece
        self.remember(address, len(data))
        return True

    def remember(self, address: int, size: int) -> None:
        """Mark the pages of a write as dirty."""
        if self.tracking and self.remembers and size:
            self.dirty.update(range(address // PAGE, (address + size - 1) // PAGE + 1))

    # -- dirty pages ----------------------------------------------------------------------------------------------

    def on_dirty_pages(self, body: bytes) -> bytes:
        argsz, flags = struct.unpack_from("<II", body)
        if argsz < 8:
            raise Refusal
        if flags == 1:
            self.tracking = True
            return b""
        if flags == 2:
            self.tracking = False
            self.dirty.clear()
            return b""
        if flags != 4 or argsz < 40:
            raise Refusal
        address, size, page, room = struct.unpack_from("<QQQQ", body, 8)
        needed = self.judge_bitmap(address, size, page, room)
        if argsz < 40 + needed:
            return struct.pack("<IIQQQQ", 40 + needed, flags, address, size, page, room)
        bitmap = self.bitmap(address, size, room)
        return struct.pack("<IIQQQQ", 40 + len(bitmap), flags, address, size, page, len(bitmap)) + bitmap

    def judge_bitmap(self, address: int, size: int, page: int, room: int) -> int:
        """The size of a bitmap, in whole words; a bad request is refused."""
        if not self.tracking or page != PAGE or not size or (address | size) % PAGE or address + size > 1 << 64:
            raise Refusal
        needed = (size // PAGE + 63) // 64 * 8
        if not needed <= room <= self.most_room or needed > 1 << 18:
            raise Refusal
        return needed

    def bitmap(self, address: int, size: int, room: int) -> bytes:
        """The pages written since they were last reported."""
        first, pages = address // PAGE, size // PAGE
        bits = bytearray((pages + 63) // 64 * 8)
        for page in [page for page in self.dirty | self.pinned if first <= page < first + pages]:
            self.dirty.discard(page)
            bits[(page - first) // 8] |= 1 << (page - first) % 8
        return bytes(bits)
