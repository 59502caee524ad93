# SPDX-License-Identifier: GPL-2.0-only
"""What QEMU 5.2 to 7.2 does with a device, step by step (hw/vfio/migration.c and hw/vfio/common.c there).

It reads and writes the same registers as any client, but in its own way: it changes device_state by keeping some bits
and adding others, makes several undocumented transitions, and moves data through mappings or, failing
that, in naturally aligned pieces of 8, 4, 2 and 1 bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from functools import cached_property

from ..common.calls import MAPPED_READ, MAPPED_WRITE
from ..common.words import counted
from ..device.device import Device
from ..device.dirty import DirtyTracker
from ..device.dma import DMA_SIZE, IOVA, DmaMap
from ..device.errors import DeviceError, errno_name
from ..device.region import Area, described
from ..transport import Outcome
from ..uapi.migration_v1 import (
    DATA_OFFSET,
    DATA_SIZE,
    DEVICE_STATE,
    HEADER_SIZE,
    PENDING_BYTES,
    VFIO_DEVICE_STATE_MASK,
    VFIO_DEVICE_STATE_RESUMING,
    VFIO_DEVICE_STATE_RUNNING,
    VFIO_DEVICE_STATE_SAVING,
    state_is_error,
    state_valid,
)
from .region import REGION_TYPE, MigrationRegion
from .states import name

#: Bytes at each end of unmapped data that are moved in pieces. QEMU moves all of it that way; here, one access moves
#: what is between, because a call for every eight bytes of a large state would take longer than all the rest.
_ENDS = 64


class Qemu:
    """One device as QEMU sees it. Each verb raises DeviceError if QEMU would give up, or the device misbehaved."""

    def __init__(self, device: Device, largest: int) -> None:
        """``largest`` bounds a saved state, in bytes: QEMU believes the device, this does not."""
        self._device = device
        self._largest = largest
        self._maps: list[tuple[Area, mmap.mmap]] = []
        #: Whether memory that should have been unmapped is still mapped.
        self.memory_left = False

    @cached_property
    def _region(self) -> MigrationRegion:
        """The first region of the right type."""
        found = self._device.regions_of_type(REGION_TYPE)
        if not found or not found[0].size:
            seen = "an empty one" if found else f"none among {counted(len(self._device.regions), 'region')}"
            raise DeviceError("looking for the migration region", "a region of type 3, subtype 1", seen)
        return MigrationRegion(found[0], self._largest)

    # -- before a migration -----------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Check that migration is possible: there is a region, and dirty pages of the host's size are reported."""
        self._region  # noqa: B018 - raises without one
        sizes = DirtyTracker(self._device.transport).page_sizes()
        if not sizes & mmap.PAGESIZE:
            raise DeviceError("asking for the page sizes of dirty tracking", f"{mmap.PAGESIZE} among them", hex(sizes))

    def track_dirty_pages(self) -> dict[str, Outcome]:
        """One round of dirty page tracking over memory of a guest: each request, and its answer.

        Tracking is started once per device, and so several times in one container.
        """
        tracker = DirtyTracker(self._device.transport)
        with DmaMap(self._device.transport, IOVA, DMA_SIZE):
            begun = {"START": tracker.try_start(), "START again": tracker.try_start()}
            got = {again: tracker.try_bitmap(IOVA, DMA_SIZE, mmap.PAGESIZE)[0] for again in ("GET", "GET again")}
            return begun | got | {"STOP": tracker.try_stop()}

    def change_memory(self) -> None:
        """Map guest memory, as at a hotplug or on the target of a migration, and unmap it again."""
        memory = DmaMap(self._device.transport, IOVA, DMA_SIZE)
        try:
            with memory:
                outcome = memory.try_unmap()
                if not outcome.ok:
                    what = f"unmapping {counted(DMA_SIZE, 'byte')} at IOVA 0x{IOVA:x}"
                    raise DeviceError(what, "success", errno_name(outcome.errno), outcome.errno)
        finally:
            self.memory_left |= memory.mapped

    # -- device_state -----------------------------------------------------------------------------------------------

    def set_state(self, kept: int, added: int) -> None:
        """Read device_state, keep the bits ``kept`` and add ``added``; write that if it is valid.

        A write that fails is followed by a read: QEMU aborts if that gives the error state, and fails the migration
        otherwise. The new state is checked here; QEMU takes it for granted.
        """
        before = self._region.read(DEVICE_STATE)
        after = before & kept | added
        if not state_valid(after):
            raise DeviceError(f"adding {added:03b}b to {name(before)}", "a valid state", name(after))
        outcome = self._region.try_write(DEVICE_STATE, after)
        now = self._region.state()
        writing = f"writing {name(after)} in {name(before)}"
        if outcome.value != DEVICE_STATE.width:
            end = ", on which QEMU aborts" if state_is_error(now) else ""
            raise DeviceError(writing, "4 bytes taken", f"{described(outcome)}, then {name(now)}{end}")
        if (now ^ after) & VFIO_DEVICE_STATE_MASK:
            raise DeviceError(f"reading device_state after {writing}", name(after), name(now))

    def stop_guest(self) -> None:
        """The guest is paused, or stops for the end of its migration: a device that was saving continues to do so."""
        self.set_state(~VFIO_DEVICE_STATE_RUNNING, 0)

    def stop_guest_for_snapshot(self) -> None:
        """``savevm`` stops the guest: since QEMU 6.0 the same write starts saving."""
        self.set_state(~VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_SAVING)

    def start_guest(self) -> None:
        """The guest starts on a device that QEMU has reset: running is written, though it should be running already.

        QEMU reports a refusal to its user and continues, unless the device is in the error state.
        """
        try:
            self.run_guest()
        except DeviceError:
            if state_is_error(self._region.state()):
                raise

    def run_guest(self) -> None:
        """The guest runs, for the first time after loading or again."""
        self.set_state(~VFIO_DEVICE_STATE_MASK, VFIO_DEVICE_STATE_RUNNING)

    def cancel(self) -> None:
        """The migration was cancelled or has failed, at any point: back to running."""
        self.set_state(~(VFIO_DEVICE_STATE_SAVING | VFIO_DEVICE_STATE_RESUMING), VFIO_DEVICE_STATE_RUNNING)

    # -- saving -----------------------------------------------------------------------------------------------------

    def setup_save(self, *, mapped: bool = True) -> None:
        """Start saving, whether or not the guest runs; bits 3 to 31 are dropped.

        Without ``mapped``, as if nothing could be mapped.
        """
        self._map(mapped)
        self.set_state(VFIO_DEVICE_STATE_MASK, VFIO_DEVICE_STATE_SAVING)

    def pending(self) -> int:
        """How much there may be to save; read repeatedly, as an estimate."""
        self._region.read(PENDING_BYTES)
        return self._region.read(PENDING_BYTES)

    def iterate(self, most: int) -> list[bytes]:
        """Save one buffer, of at most ``most`` bytes, if there is any; return it, or nothing."""
        if not self.pending():
            return []
        area = self._region.place()
        if area.size > most:
            limit = f"at most {counted(most, 'byte')} more (limits.largest_state)"
            raise DeviceError("saving the state", limit, f"{area.size}")
        return [b"".join(self._read(area))] if area.size else []

    def complete(self, most: int) -> list[bytes]:
        """The guest has stopped: write stop-and-copy, though it is in that state, save the rest, and stop."""
        self.set_state(~VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_SAVING)
        buffers: list[bytes] = []
        while found := self.iterate(most):
            buffers += found
            most -= len(found[0])
        if buffers:
            self._region.region.count_pass()
        self.set_state(~VFIO_DEVICE_STATE_SAVING, 0)
        return buffers

    # -- loading ----------------------------------------------------------------------------------------------------

    def setup_load(self, *, mapped: bool = True) -> None:
        """Start loading. Without ``mapped``, as if nothing could be mapped."""
        self._map(mapped)
        self.set_state(~VFIO_DEVICE_STATE_MASK, VFIO_DEVICE_STATE_RESUMING)

    def load(self, buffers: Iterable[bytes], *, room: int | None = None) -> None:
        """Write ``buffers`` to the device, cut if one is larger than the room in the region.

        ``room`` pretends that there are only that many bytes.
        """
        for buffer in buffers:
            rest = memoryview(buffer)
            while rest:
                offset = self._region.read(DATA_OFFSET)
                space = self._region.region.size - offset
                if offset < HEADER_SIZE or space <= 0:
                    raise DeviceError("reading data_offset", f"a place in {self._data_section}", f"0x{offset:x}")
                piece, rest = rest[: min(space, room or space)], rest[min(space, room or space) :]
                self._write(offset, piece)
                self._region.write(DATA_SIZE, len(piece))

    def try_load(self, buffers: Iterable[bytes], *, room: int) -> DeviceError | None:
        """load(), then run_guest(); return the error if the migration failed."""
        try:
            self.load(buffers, room=room)
            self.run_guest()
        except DeviceError as error:
            return error
        return None

    # -- moving data ------------------------------------------------------------------------------------------------

    def cleanup(self) -> None:
        """Release the mappings, as at the end of a migration."""
        for _, mapping in self._maps:
            mapping.close()
        self._maps = []

    def _map(self, wanted: bool) -> None:
        """Map each mappable area; if one cannot be mapped, none is used."""
        self.cleanup()
        if not wanted:
            return
        try:
            for area in self._region.region.areas:
                self._maps.append((area, self._region.region.map(area)))
        except OSError:
            self.cleanup()

    def _read(self, area: Area) -> Iterator[bytes]:
        for part, found in self._parts(area):
            if found is None:
                for offset, length in _accesses(part.offset, part.size):
                    yield self._region.region.read_bytes(offset, length)
            else:
                mapped, mapping = found
                at = part.offset - mapped.offset
                data = mapping[at : at + part.size]
                self._device.transport.seen(MAPPED_READ, self._region.region.index, part.offset, data)
                yield data
                self._device.transport.tracer.counts.bytes_read += part.size

    def _write(self, start: int, data: memoryview) -> None:
        for part, found in self._parts(Area(start, len(data))):
            if found is None:
                for offset, length in _accesses(part.offset, part.size):
                    self._region.region.write_bytes(offset, bytes(data[offset - start :][:length]))
            else:
                mapped, mapping = found
                at = part.offset - mapped.offset
                given = bytes(data[part.offset - start :][: part.size])
                mapping[at : at + part.size] = given
                self._device.transport.seen(MAPPED_WRITE, self._region.region.index, part.offset, b"", given)
                self._device.transport.tracer.counts.bytes_written += part.size

    def _parts(self, area: Area) -> Iterator[tuple[Area, tuple[Area, mmap.mmap] | None]]:
        """``area``, cut where mappings begin and end; each part with the mapping that contains it."""
        offset, end = area.offset, area.offset + area.size
        while offset < end:
            reached = [each for each in self._maps if offset < each[0].offset + each[0].size]
            found = next((each for each in reached if each[0].offset <= offset), None)
            later = (mapped.offset for mapped, _ in reached if mapped.offset > offset)
            stop = min(end, found[0].offset + found[0].size if found else min(later, default=end))
            yield Area(offset, stop - offset), found
            offset = stop

    @property
    def _data_section(self) -> Area:
        return Area(HEADER_SIZE, self._region.region.size - HEADER_SIZE)


def pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Offset and width of the naturally aligned accesses, the widest first, that ``length`` bytes are moved by."""
    end = offset + length
    while offset < end:
        width = next(width for width in (8, 4, 2, 1) if not offset % width and offset + width <= end)
        yield offset, width
        offset += width


def _accesses(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Accesses for ``length`` bytes: the ends in pieces, the middle in one."""
    if length <= 2 * _ENDS:
        yield from pieces(offset, length)
        return
    yield from pieces(offset, _ENDS)
    yield offset + _ENDS, length - 2 * _ENDS
    yield from pieces(offset + length - _ENDS, _ENDS)
