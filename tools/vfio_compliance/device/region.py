# SPDX-License-Identifier: GPL-2.0-only
"""A region of a device: a window of registers or memory."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

from ..common.calls import MAPPED_READ, MAPPED_WRITE
from ..common.words import counted
from ..transport import Outcome, Transport
from ..uapi.vfio import VFIO_REGION_INFO_CAP_SPARSE_MMAP, VFIO_REGION_INFO_CAP_TYPE, RegionFlags
from .capability import Capability
from .errors import DeviceError, errno_name


@dataclass(frozen=True)
class Area:
    """A part of a region, in bytes from the region's start."""

    offset: int
    size: int

    def __str__(self) -> str:
        return f"[0x{self.offset:x}, 0x{self.offset + self.size:x})"


class Region:
    """One region, as VFIO_DEVICE_GET_REGION_INFO describes it, and access to it.

    Offsets count from the start of the region, in bytes. Numbers are little-endian.
    """

    def __init__(
        self, transport: Transport, index: int, size: int, flags: RegionFlags, chain: list[Capability]
    ) -> None:
        self._transport = transport
        self.index = index
        #: Bytes; 0 for an index that the device does not use.
        self.size = size
        self.flags = flags
        self.chain = chain
        self._mappings: dict[Area, mmap.mmap] = {}

    @property
    def type(self) -> tuple[int, int] | None:
        """Type and subtype, or None for a region without a type capability.

        Raises DeviceError for a capability too short to hold them.
        """
        payload = self._payload(VFIO_REGION_INFO_CAP_TYPE, 8)
        if payload is None:
            return None
        return int.from_bytes(payload[:4], "little"), int.from_bytes(payload[4:8], "little")

    @property
    def areas(self) -> list[Area]:
        """Parts that can be mapped: those of the sparse mmap capability, else the whole of a mappable region.

        Raises DeviceError for a capability that promises more areas than it holds.
        """
        if RegionFlags.MMAP not in self.flags:
            return []
        payload = self._payload(VFIO_REGION_INFO_CAP_SPARSE_MMAP, 8)
        if payload is None:
            return [Area(0, self.size)]
        count = int.from_bytes(payload[:4], "little")
        if 8 + 16 * count > len(payload):
            raise DeviceError(
                f"reading the sparse mmap capability of region {self.index}",
                f"at most {counted((len(payload) - 8) // 16, 'area')} in what was returned",
                f"nr_areas {count}",
            )
        numbers = [int.from_bytes(payload[at : at + 8], "little") for at in range(8, 8 + 16 * count, 8)]
        return [Area(offset, size) for offset, size in zip(numbers[::2], numbers[1::2], strict=True)]

    def _payload(self, capability: int, length: int) -> memoryview | None:
        for link in self.chain:
            if link.id == capability:
                if len(link.payload) < length:
                    raise DeviceError(
                        f"reading capability {capability} of region {self.index}",
                        f"at least {counted(length, 'byte')} after its header",
                        f"{len(link.payload)}",
                    )
                return link.payload
        return None

    def changes_for_good(self) -> None:
        """Note that what is done to the device now outlives a return to its user's starting point."""
        self._transport.lasting = True

    def try_read(self, offset: int, length: int) -> tuple[Outcome, bytes]:
        """One read of ``length`` bytes; returns the driver's answer, and the bytes that came."""
        return self._transport.read(self.index, offset, length)

    def try_write(self, offset: int, data: bytes) -> Outcome:
        """One write of ``data``; returns the driver's answer."""
        return self._transport.write(self.index, offset, data)

    def read_bytes(self, offset: int, length: int) -> bytes:
        """``length`` bytes; a read that gives fewer is followed by another. Raises DeviceError for an error or none."""
        pieces: list[bytes] = []
        done = 0
        while done < length:
            outcome, data = self.try_read(offset + done, length - done)
            if outcome.value <= 0:
                did = self._did("reading", offset + done, length - done)
                raise DeviceError(did, "bytes", described(outcome), outcome.errno if outcome.value < 0 else None)
            pieces.append(data)
            done += len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write_bytes(self, offset: int, data: bytes) -> None:
        """Write ``data``; a write that takes fewer bytes is followed by another. Raises DeviceError."""
        done = 0
        while done < len(data):
            outcome = self.try_write(offset + done, data[done:] if done else data)
            if outcome.value <= 0:
                did = self._did("writing", offset + done, len(data) - done)
                raise DeviceError(did, "bytes taken", described(outcome), outcome.errno if outcome.value < 0 else None)
            done += outcome.value

    def read(self, offset: int, width: int) -> int:
        """The number in ``width`` bytes at ``offset``. Raises DeviceError."""
        return int.from_bytes(self.read_bytes(offset, width), "little")

    def write(self, offset: int, width: int, value: int) -> None:
        """Write ``value`` as ``width`` bytes at ``offset``. Raises DeviceError."""
        self.write_bytes(offset, value.to_bytes(width, "little"))

    def view(self, offset: int, length: int) -> memoryview | None:
        """``length`` bytes in a mapping, to be released after use; None if not all are mappable.

        Raises DeviceError.
        """
        found = self._mapped(offset, length)
        if found is None:
            return None
        view = memoryview(found[0])[found[1] : found[1] + length]
        self._transport.seen(MAPPED_READ, self.index, offset, bytes(view))
        return view

    def fill(self, offset: int, data: bytes) -> bool:
        """Write ``data`` through a mapping; False if not all of the place is mappable. Raises DeviceError."""
        found = self._mapped(offset, len(data))
        if found:
            found[0][found[1] : found[1] + len(data)] = data
            self._transport.seen(MAPPED_WRITE, self.index, offset, b"", data)
        return bool(found)

    @property
    def mapped(self) -> list[Area]:
        """The areas that are mapped now."""
        return [area for area, mapping in self._mappings.items() if not mapping.closed]

    def map_areas(self) -> None:
        """Map each mappable area, and keep it mapped until the device is closed. Raises DeviceError."""
        for area in self.areas:
            self._mapped(area.offset, area.size)

    def _mapped(self, offset: int, length: int) -> tuple[mmap.mmap, int] | None:
        """The mapping of the area that holds ``length`` bytes at ``offset``, and where in it they start.

        Raises DeviceError if an area that is announced as mappable cannot be mapped.
        """
        for area in self.areas:
            if area.offset <= offset and offset + length <= area.offset + area.size:
                mapping = self._mappings.get(area)
                if mapping is None or mapping.closed:
                    try:
                        mapping = self._mappings[area] = self.map(area)
                    except OSError as error:
                        did = f"mapping {area} of region {self.index}"
                        raise DeviceError(did, "a mapping", errno_name(error.errno or 0)) from None
                return mapping, offset - area.offset
        return None

    def count_pass(self) -> None:
        """Note that a whole state was read through this region."""
        self._transport.tracer.counts.passes += 1

    def pause(self, seconds: float) -> None:
        """Give the device time between two looks at it."""
        self._transport.pause(seconds)

    def map(self, area: Area) -> mmap.mmap:
        """A shared mapping of ``area``. Raises OSError."""
        return self._transport.map(self.index, area.offset, area.size)

    def _did(self, verb: str, offset: int, length: int) -> str:
        return f"{verb} {counted(length, 'byte')} at 0x{offset:x} of region {self.index}"


def described(outcome: Outcome) -> str:
    """The answer to a read or write, in words."""
    return errno_name(outcome.errno) if outcome.value < 0 else counted(outcome.value, "byte")
