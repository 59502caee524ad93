# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance proxy`: records what any client does to any vfio-user server, as a trace that can be judged."""

from __future__ import annotations

import argparse
import contextlib
import struct
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from .. import __version__
from ..common.signals import interruptions
from ..device import DeviceError
from ..device.capability import parse_chain
from ..interfaces import REGION_TYPE
from ..results.verdict import EXIT_BROKEN, EXIT_OK
from ..transport import SetupError
from ..transport.regions import INFO_SIZE
from ..transport.vfio_user.observer import Moment
from ..transport.vfio_user.proxy import Proxy
from ..uapi.vfio import VFIO_REGION_INFO_CAP_SPARSE_MMAP, VFIO_REGION_INFO_CAP_TYPE, RegionFlags, ffi
from .trace import Region, TraceError, Writer

#: Regions that are told apart, and areas of one.
_MOST_REGIONS, _MOST_AREAS = 4096, 1024

_EPILOG = """\
The client connects to A in place of B. Each client that comes is served, one after the other, and all go into the same
trace; SIGINT and SIGTERM end it. What the server's memory, and regions that the client maps, are used for goes past
any proxy and is not in the trace.
"""


class Recording:
    """Writes down what a proxy sees. Raises TraceError when the disk takes no more."""

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

    def region(self, moment: Moment, info: bytes, mappable: bool) -> None:
        """The server has described a region; written down when it is news."""
        filled: Any = ffi.from_buffer("struct vfio_region_info *", info)
        index: int = filled.index
        if mappable and len(self._mappable) < _MOST_REGIONS:
            self._mappable.add(index)
        if filled.argsz > len(info):
            return  # the rest, capabilities first of all, is still to be asked for
        try:
            region = _region(index, filled, info, index in self._mappable)
        except (DeviceError, struct.error):
            return  # it says nothing that could be used
        if self._regions.get(index) != region and len(self._regions) < _MOST_REGIONS:
            self._regions[index] = region
            self._writer.region(self._seconds(moment.began_ns), region)

    def finish(self) -> None:
        """End the trace."""
        self._writer.close(self._seconds(perf_counter_ns()))

    def _seconds(self, nanoseconds: int) -> float:
        return max(nanoseconds - self._began_ns, 0) / 1e9


def _region(index: int, filled: Any, info: bytes, mappable: bool) -> Region:
    """What a struct vfio_region_info and its capabilities say. Raises DeviceError, struct.error for nonsense."""
    flags = RegionFlags(filled.flags)
    chain = parse_chain("region", info, filled.cap_offset, INFO_SIZE) if RegionFlags.CAPS in flags else []
    migration = False
    areas: tuple[tuple[int, int], ...] = ((0, filled.size),)
    for capability in chain:
        if capability.id == VFIO_REGION_INFO_CAP_TYPE:
            migration = struct.unpack_from("<II", capability.payload) == REGION_TYPE
        elif capability.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP:
            (count,) = struct.unpack_from("<I", capability.payload)
            pairs = range(8, 8 + 16 * min(count, _MOST_AREAS), 16)
            areas = tuple(struct.unpack_from("<QQ", capability.payload, at) for at in pairs)
    return Region(index, filled.size, areas if mappable and RegionFlags.MMAP in flags else (), migration)


def main(argv: list[str]) -> int:
    """Carry out the command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="vfio-compliance proxy",
        description="Record what a client does to a vfio-user server, for vfio-compliance judge.",
        epilog=_EPILOG,
    )
    parser.add_argument("--listen", required=True, metavar="A", help="path of the socket for clients")
    parser.add_argument("--connect", required=True, metavar="B", help="path of the server's socket")
    parser.add_argument("--trace", required=True, type=Path, metavar="FILE", help="new file for the trace")
    parser.add_argument("--once", action="store_true", help="end when the first client has left")
    arguments = parser.parse_args(argv)
    try:
        with interruptions() as stop, contextlib.ExitStack() as undo:
            proxy = Proxy(arguments.listen, arguments.connect, _say)
            undo.callback(proxy.close)
            recorded = f"vfio-user from {arguments.listen} to {arguments.connect}"
            writer = Writer(arguments.trace, f"{recorded}, by vfio-compliance {__version__} proxy", maps_seen=False)
            recording = Recording(writer)
            undo.callback(recording.finish)
            _say(f"listening on {arguments.listen} for {arguments.connect}, trace in {arguments.trace}")
            proxy.serve(recording, stop, arguments.once)
    except SetupError as error:
        _say(f"{error.message} ({error.remedy})")
        return EXIT_BROKEN
    except TraceError as error:
        _say(str(error))
        return EXIT_BROKEN
    except OSError as error:
        _say(f"cannot listen on {arguments.listen}: {error.strerror}")
        return EXIT_BROKEN
    return EXIT_OK


def _say(line: str) -> None:
    print(f"vfio-compliance proxy: {line}", file=sys.stderr, flush=True)
