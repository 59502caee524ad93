# SPDX-License-Identifier: GPL-2.0-only
"""Records any client of any vfio-user server as a trace that can be judged."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from .. import __version__
from ..common.signals import interruptions
from ..device import DeviceError
from ..device.capability import parse_chain
from ..interfaces import JUDGED
from ..run.container_calls import by_message
from ..transport.regions import INFO_SIZE
from ..transport.vfio_user.observer import Moment
from ..transport.vfio_user.proxy import Proxy
from ..uapi.vfio import VFIO_REGION_INFO_CAP_SPARSE_MMAP, VFIO_REGION_INFO_CAP_TYPE, RegionFlags, ffi
from .trace import Region, Writer

#: The most regions, and areas of a region, that are distinguished.
_MOST_REGIONS, _MOST_AREAS = 4096, 1024


class Recording:
    """Records what a proxy sees. Raises TraceError if the disk is full."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._began_ns = perf_counter_ns()
        self._regions: dict[int, Region] = {}
        self._mappable: set[int] = set()

    def opened(self) -> None:
        """A client has connected."""
        self._mappable.clear()
        self._writer.simple("open", self._seconds(perf_counter_ns()))

    def closed(self) -> None:
        """It has left."""
        self._writer.simple("close", self._seconds(perf_counter_ns()))

    def access(
        self,
        verb: str,
        moment: Moment,
        place: tuple[int, int, int],
        value: int,
        code: int,
        data: bytes,
        digest: str,
    ) -> None:
        """A read or write."""
        took = moment.took_ns // 1000
        self._writer.access(verb, self._seconds(moment.began_ns), took, place, value, code, data, digest)

    def reset(self, moment: Moment, code: int) -> None:
        """A reset."""
        self._writer.reset(self._seconds(moment.began_ns), moment.took_ns // 1000, code)

    def memory(self, moment: Moment, command: int, asked: bytes, code: int) -> None:
        """A call that the kernel's container would take."""
        if found := by_message(command, asked):
            verb, call = found
            took = moment.took_ns // 1000
            self._writer.called(verb, self._seconds(moment.began_ns), took, call, -1 if code else 0, code)

    def region(self, moment: Moment, info: bytes, mappable: bool) -> None:
        """The server has described a region; recorded if it is new."""
        filled: Any = ffi.from_buffer("struct vfio_region_info *", info)
        index: int = filled.index
        if mappable and len(self._mappable) < _MOST_REGIONS:
            self._mappable.add(index)
        if filled.argsz > len(info):
            return  # the rest, above all the capabilities, is still to be asked for
        try:
            region = _region(index, filled, info, index in self._mappable)
        except (DeviceError, struct.error):
            return  # nothing in it can be used
        if self._regions.get(index) != region and len(self._regions) < _MOST_REGIONS:
            self._regions[index] = region
            self._writer.region(self._seconds(moment.began_ns), region)

    def finish(self) -> None:
        """End the trace."""
        self._writer.close(self._seconds(perf_counter_ns()))

    def _seconds(self, nanoseconds: int) -> float:
        return max(nanoseconds - self._began_ns, 0) / 1e9


def _region(index: int, filled: Any, info: bytes, mappable: bool) -> Region:
    """The content of a struct vfio_region_info and its capabilities. Raises DeviceError, struct.error if malformed."""
    flags = RegionFlags(filled.flags)
    chain = parse_chain("region", info, filled.cap_offset, INFO_SIZE) if RegionFlags.CAPS in flags else []
    migration = False
    areas: tuple[tuple[int, int], ...] = ((0, filled.size),)
    for capability in chain:
        if capability.id == VFIO_REGION_INFO_CAP_TYPE:
            migration = struct.unpack_from("<II", capability.payload) == JUDGED.region_type
        elif capability.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP:
            (count,) = struct.unpack_from("<I", capability.payload)
            pairs = range(8, 8 + 16 * min(count, _MOST_AREAS), 16)
            areas = tuple(struct.unpack_from("<QQ", capability.payload, at) for at in pairs)
    return Region(index, filled.size, areas if mappable and RegionFlags.MMAP in flags else (), migration)


def record(listen: str, connect: str, trace: Path, once: bool, say: Callable[[str], None]) -> None:
    """Relay between clients and a server and write the trace, until a signal comes or, ``once``, the first one leaves.

    The paths are those of the sockets for clients and of the server. Raises SetupError, TraceError, or OSError if it
    cannot listen on ``listen``.
    """
    with interruptions() as stop, contextlib.ExitStack() as undo:
        proxy = Proxy(listen, connect, say)
        undo.callback(proxy.close)
        recorded = f"vfio-user from {listen} to {connect}"
        recorded = f"{recorded}, by vfio-compliance {__version__} proxy"
        writer = Writer(trace, recorded, maps_seen=False, protocol="vfio-user")
        recording = Recording(writer)
        undo.callback(recording.finish)
        say(f"listening on {listen} for {connect}, trace in {trace}")
        proxy.serve(recording, stop, once)
