# SPDX-License-Identifier: GPL-2.0-only
"""A device that is a vfio-user server."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import socket
import struct
import weakref
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import ClassVar, Final

from ...common.words import counted
from ...uapi.vfio import VFIO_DEVICE_GET_REGION_INFO
from ..base import Argument, Death, Memory, Outcome, Target, Transport, failure, success
from ..errors import CallTimeout, PeerGone, SetupError
from ..regions import INFO_SIZE, map_region
from .connection import MAX_DATA, MAX_FDS, Connection, Reply
from .dma import DmaTable
from .ioctls import Ioctls, RegionFiles, largest_argsz, largest_bitmap
from .process import ServerProcess, check_path, connect
from .wire import REGION_ACCESS, Command, Peer, describe, pack_version, unpack_version

#: Most bytes of a VERSION reply.
_VERSION_ROOM: Final = 1 << 16

#: Linux moves no more in one read or write.
_MOST_AT_ONCE: Final = 0x7FFFF000

#: The most bytes of information that are asked for.
_MOST_INFO: Final = 1 << 20

#: Seconds that a server gets to react to its client's leaving, each time and in all.
_FAREWELL: Final = 0.1
_FAREWELLS: Final = 1.0

#: pid, uid, gid of a socket's other end.
_CREDENTIALS: Final = struct.Struct("3i")

_UNREACHED: Final = Peer(0, 0)


@dataclass(frozen=True)
class VfioUserSettings:
    """How to reach a vfio-user device: by socket, command, or both.

    With ``command`` the server is started, on ``socket`` or, without, on one in a private folder. In its
    words ``{socket}`` stands for the path, ``{python}`` for this interpreter, ``{project}`` for the
    project's directory; ``extra_arguments`` follow it. Deadlines are in seconds: of one message and its
    reply, and of the server from its start until it listens.
    """

    socket: str | None
    command: tuple[str, ...] | None
    call_deadline: float
    start_deadline: float
    extra_arguments: tuple[str, ...] = ()


class VfioUser(Transport):
    """One client's connection to a vfio-user server.

    A server that it started outlives close(), so that the next open() finds what this one left; shutdown()
    ends it, and so does the end of this process. open() starts a server again if it died or its connection
    failed.

    A read or write is one message, whatever its length, unless the server's VERSION allows less for one
    message: then it is cut into pieces of that size, in order, and ends at the first that is refused or
    comes back short, as a partial success if something was moved before. Each piece has its own deadline.
    """

    takes_pointers: ClassVar[bool] = False
    kernel: ClassVar[bool] = False

    def __init__(self, settings: VfioUserSettings, beside: Transport | None = None) -> None:
        super().__init__(beside)
        if settings.socket is None and settings.command is None:
            raise SetupError(
                "the vfio-user device has neither socket nor command",
                "give device.socket, device.command, or both in the profile",
            )
        self.settings = settings
        #: The server's VERSION.
        self.server = _UNREACHED
        #: How often a server was started.
        self.starts = 0
        self._who = "the server" if beside is None else "the second server"
        self._kinds: set[str] = set()
        self._farewells = _FAREWELLS
        self._incarnation = 0
        #: Whether the server of this connection was running before it.
        self._reused = False
        self._process: ServerProcess | None = None
        self._connection: Connection | None = None
        self._ioctls: Ioctls | None = None
        self._regions = RegionFiles()
        self._dma = DmaTable(self.tracer)
        #: By the address; many of them may be out of use.
        self._memories: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()
        self._most = MAX_DATA

    def shutdown(self) -> None:
        """Close the device and end the server that was started for it."""
        try:
            self.close()
        finally:
            self._end_process()

    @property
    def incarnation(self) -> int:
        """Process id of the server that answered last; 0 before the first, or if it cannot be seen."""
        return self._incarnation

    @property
    def largest_argsz(self) -> int:
        """The largest argsz whose reply fits into a message, by the server's VERSION; 1 MiB at most."""
        return largest_argsz(self.server)

    @property
    def largest_bitmap(self) -> int:
        """Bytes of a dirty bitmap that fit into a message; no limit if the server answers for a container."""
        return super().largest_bitmap if self.server.container_info else largest_bitmap(self.server)

    @property
    def no_tracking(self) -> str:
        """A server whose VERSION has neither ``migration`` nor container information offers no tracking."""
        if self.server.migration_pgsize is not None or self.server.container_info:
            return ""
        return "the server's VERSION reply has no `migration` capability: it offers no dirty page tracking"

    def take_message_writes(self) -> list[int]:
        """The pages that DMA_WRITE messages changed."""
        return self._dma.take_written()

    def memory(self, length: int) -> Memory:
        """Memory backed by a file, which DMA_MAP hands to the server."""
        if length <= 0:
            raise ValueError(f"memory of {counted(length, 'byte')}")
        descriptor = os.memfd_create("dma", os.MFD_CLOEXEC)
        try:
            os.truncate(descriptor, -(-length // mmap.PAGESIZE) * mmap.PAGESIZE)
        except BaseException:
            os.close(descriptor)
            raise
        memory = Memory(length, descriptor)
        self._memories[memory.address] = memory
        return memory

    def pause(self, seconds: float) -> None:
        """Serve the server's DMA_READ and DMA_WRITE for this long."""
        self._connected().attend(seconds)

    @property
    def dirty_page_size(self) -> int | None:
        """The smaller of both sides' page sizes; None if the server does not support migration."""
        theirs = self.server.migration_pgsize
        return None if theirs is None else min(theirs, mmap.PAGESIZE)

    def identity(self) -> dict[str, str]:
        """Transport, socket or command, and the server's version and capabilities."""
        settings = self.settings
        found = {
            "transport": "vfio-user",
            "protocol version": f"{self.server.major}.{self.server.minor}",
            "capabilities": self.server.text,
            "kernel": os.uname().release,
        }
        if settings.socket is not None:
            found["socket"] = settings.socket
        if settings.command is not None:
            found["command"] = " ".join((*settings.command, *settings.extra_arguments))
            found["server starts"] = str(self.starts)
        return found

    def places(self) -> dict[str, str]:
        """``socket``."""
        path = self.settings.socket or (self._process.path if self._process else None)
        return {} if path is None else {"socket": path}

    # The bare verbs

    def _open(self) -> None:
        self._reused = not self._ensure_server()
        try:
            try:
                self._shake_hands()
            except (PeerGone, SetupError):
                # A server may serve one client only and be about to exit when the next one connects.
                if not self._reused or self._process is None or self._process.running:
                    raise
                self._reused = not self._ensure_server()
                self._shake_hands()
        except BaseException:
            self._end_process()
            raise

    def _close(self) -> None:
        connection, self._connection, self._ioctls = self._connection, None, None
        if connection is not None:
            connection.close()
            if connection.lost is not None:  # the server's state is unknown
                self._end_process(hung=isinstance(connection.lost, CallTimeout))
            else:
                self._farewell()
        self._regions.clear()
        self._dma.clear()

    def _ioctl(self, target: Target, request: int, argument: Argument) -> Outcome:
        if self._ioctls is None:
            self._connected()
        assert self._ioctls is not None
        return self._ioctls.issue(target, request, argument)

    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        if length <= self._most:
            return self._read_piece(region, offset, length)
        pieces: list[bytes] = []
        done, length = 0, min(length, _MOST_AT_ONCE)
        while done < length:
            asked = min(self._most, length - done)
            outcome, data = self._read_piece(region, offset + done, asked)
            if not outcome.ok and not done:
                return outcome, data
            pieces.append(data)
            done += len(data)
            if len(data) < asked:
                break
        return success(done), b"".join(pieces)

    def _write(self, region: int, offset: int, data: bytes) -> Outcome:
        if len(data) <= self._most:
            return self._write_piece(region, offset, data)
        done, length = 0, min(len(data), _MOST_AT_ONCE)
        view = memoryview(data)
        while done < length:
            piece = view[done : min(done + self._most, length)]
            outcome = self._write_piece(region, offset + done, piece)
            if not outcome.ok and not done:
                return outcome
            done += max(outcome.value, 0)
            if outcome.value < len(piece):
                break
        return success(done)

    def _map(self, region: int, offset: int, length: int) -> mmap.mmap:
        known = self._regions.get(region)
        if known is None or known[1] < 0:  # never queried, or without room for all of the answer
            outcome, needed = self._ask_about(region, INFO_SIZE)
            if outcome.ok and INFO_SIZE < needed <= _MOST_INFO:
                # The descriptor comes only with the whole information.
                outcome, _ = self._ask_about(region, needed)
            known = self._regions.get(region)
            if known is None:
                raise OSError(outcome.errno, f"no information on region {region}")
        where, descriptor = known
        if descriptor < 0:
            raise OSError(errno.ENODEV, f"the server gave no descriptor for region {region}")
        return map_region(descriptor, where, offset, length)

    def _ask_about(self, region: int, size: int) -> tuple[Outcome, int]:
        """Ask for a region's information, with room for ``size`` bytes; returns the answer, and how much there is."""
        info = bytearray(size)
        info[:4] = size.to_bytes(4, "little")
        info[8:12] = region.to_bytes(4, "little")
        outcome = self.ioctl(Target.DEVICE, VFIO_DEVICE_GET_REGION_INFO, info)
        return outcome, int.from_bytes(info[:4], "little")

    # The rest

    def _connected(self) -> Connection:
        if self._connection is None:
            raise SetupError("the device is not open", "open() it first")
        return self._connection

    def _find_memory(self, address: int, size: int) -> Memory | None:
        likely = filter(None, (self._memories.get(address),))
        for memory in chain(likely, self._memories.values()):
            inside = memory.address <= address and address + size <= memory.address + memory.length
            if inside and not memory.released:
                return memory
        return None

    def _ensure_server(self) -> bool:
        """Make sure that a server runs; True if it was started just now."""
        settings = self.settings
        self._look_for_deaths()
        if settings.command is None or self._process is not None:
            return False
        self._process = ServerProcess(settings.command + settings.extra_arguments, settings.socket)
        self.starts += 1
        return True

    @property
    def gone(self) -> bool:
        """The connection has ended, or has been given up."""
        return self._connection is not None and self._connection.lost is not None

    # -- servers that end -------------------------------------------------------------------------------------------

    def _look_for_deaths(self) -> None:
        process = self._process
        if process is not None and not process.running:
            connected = self._connection is not None and self._connection.lost is None
            when = "while its client was connected" if connected else "between two connections"
            self._bury(process, when, asked=connected)

    def _farewell(self) -> None:
        """See how the server reacts to its client's leaving."""
        process = self._process
        if process is None:
            return
        began = monotonic()
        if not process.settle(min(_FAREWELL, self._farewells), self._incarnation):
            self._bury(process, "when its client closed the connection", asked=False)
        self._farewells = max(0.0, self._farewells - (monotonic() - began))

    def _end_process(self, *, hung: bool = False) -> None:
        """End the server that was started, if there is one."""
        self._look_for_deaths()
        process, self._process = self._process, None
        if process is None:
            return
        process.stop(hung=hung)
        if (end := process.end) is not None and end.crashed:
            self._report(process, "when it was asked to end", asked=False)

    def _bury(self, process: ServerProcess, when: str, *, asked: bool) -> None:
        """Clear away a server that has ended by itself. It may end with status 0 after its client has left."""
        end = process.end
        if end is not None and end.clean and self._connection is None:
            if process.served and not process.reported:
                self.remark(
                    "ends with its client",
                    "with status 0; another one is started for the next client",
                )
        else:
            self._report(process, when, asked=asked)
        if self._connection is None:
            self._process = None
            process.stop()

    def _report(self, process: ServerProcess, when: str, *, asked: bool) -> None:
        if process.served and not process.reported:  # one that never got this far made open() fail, which says so
            process.reported = True
            self.deaths.append(Death(self._who, process.epitaph(), when, asked))

    def _hung_up(self, when: str) -> str:
        """The server has closed the connection: returns how it ended, in words, if it was started here."""
        process = self._process
        left_before = self._connection is None and self._reused  # it may have been ending with its last client
        if process is None:
            if not left_before:
                self.deaths.append(Death(self._who, "closed the connection", when, asked=True))
            return ""
        words = process.epitaph()
        end = process.end
        if end is None:
            self._report_hanging_up(process, words, when)
        elif not (left_before and end.clean):
            self._report(process, when, asked=True)
        return words

    def _report_hanging_up(self, process: ServerProcess, words: str, when: str) -> None:
        if not process.reported:
            process.reported = True
            self.deaths.append(Death(self._who, f"closed the connection; it {words}", when, asked=True))

    def remark(self, kind: str, example: str) -> None:
        """Note a deviation of the server that a client tolerates, each kind once."""
        if kind not in self._kinds:
            self._kinds.add(kind)
            self.remarks.append(f"{self._who} {kind}: {example}")

    def _connect(self) -> socket.socket:
        settings = self.settings
        if self._process is not None:
            stream = self._process.connect(settings.start_deadline)
            self._process.served = True
            return stream
        assert settings.socket is not None
        check_path(settings.socket)
        try:
            return connect(settings.socket, monotonic() + settings.start_deadline)
        except OSError as error:
            remedies = {
                errno.ENOENT: "start the server, or correct device.socket in the profile",
                errno.ECONNREFUSED: "no server listens there: start the server",
                errno.EACCES: "run as a user with write access to the socket",
                errno.EPERM: "run as a user with write access to the socket",
                errno.EAGAIN: "the server does not accept connections: end its other clients",
            }
            raise SetupError(
                f"cannot connect to {settings.socket}: {error.strerror}",
                remedies.get(error.errno or 0, "correct device.socket in the profile"),
            ) from None

    def _shake_hands(self) -> None:
        stream = self._connect()
        connection = Connection(stream, self.settings.call_deadline, self._dma.serve, self._hung_up, self.remark)
        proposed = Peer(0, 0, MAX_FDS, MAX_DATA, mmap.PAGESIZE)
        try:
            reply = self._agree(connection, pack_version(proposed))
            if reply.refused:
                why = os.strerror(reply.errno) if reply.errno else "no reason given"
                raise SetupError(
                    f"the server refused version 0.0 of the protocol: {why}",
                    "use a server that speaks vfio-user 0.0",
                )
            self.server = unpack_version(reply.payload, proposed)
        except BaseException:
            connection.close()
            raise
        self._incarnation = _process_behind(stream)
        self._dma.page = self.dirty_page_size or mmap.PAGESIZE
        self._most = min(self.server.max_data_xfer_size, _MOST_AT_ONCE)
        self._connection = connection
        self._ioctls = Ioctls(connection, self._regions, self._dma, self._find_memory, self.server)

    def _agree(self, connection: Connection, proposal: bytes) -> Reply:
        """Exchange versions, which is traced: the capabilities of both sides decide which later calls are possible."""
        name = self._names[Target.DEVICE]
        with self.tracer.recorded("version", name, length=len(proposal), sent=proposal) as answer:
            reply = connection.exchange(Command.VERSION, proposal, room=_VERSION_ROOM)
            answer.received, answer.value, answer.errno = reply.payload, -1 if reply.refused else 0, reply.errno
        return reply

    def _read_piece(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        connection = self._connection or self._connected()
        request = REGION_ACCESS.pack(offset & 2**64 - 1, region, length)
        refused, code, payload, _, data = connection.exchange(
            Command.REGION_READ, request, room=REGION_ACCESS.size + length, fixed=REGION_ACCESS.size
        )
        if refused:
            return failure(code), b""
        count = len(data)
        if count == length and payload == request:
            return success(count), data
        self._check_echo(connection, Command.REGION_READ, request, payload, length)
        if int.from_bytes(payload[12:16], "little") != count:
            raise connection.violated(
                f"reply to {describe(Command.REGION_READ, request)}",
                f"{counted(int.from_bytes(payload[12:16], 'little'), 'byte')} of data as its count says",
                f"{count}",
            )
        return success(count), data

    def _write_piece(self, region: int, offset: int, data: bytes | memoryview) -> Outcome:
        connection = self._connection or self._connected()
        request = REGION_ACCESS.pack(offset & 2**64 - 1, region, len(data))
        refused, code, payload, _, _ = connection.exchange(
            Command.REGION_WRITE, request, data, room=REGION_ACCESS.size, lenient=True
        )
        if refused:
            return failure(code)
        if payload == request:
            return success(len(data))
        return success(self._check_echo(connection, Command.REGION_WRITE, request, payload, len(data)))

    def _check_echo(self, connection: Connection, command: Command, request: bytes, payload: bytes, length: int) -> int:
        """The count of a reply to a region access, which repeats offset and region of the request."""
        about = f"reply to {describe(command, request)}"
        if len(payload) < REGION_ACCESS.size:
            raise connection.violated(about, f"at least {counted(REGION_ACCESS.size, 'byte')}", f"{len(payload)}")
        offset, region, count = REGION_ACCESS.unpack_from(payload)
        asked_offset, asked_region, _ = REGION_ACCESS.unpack(request)
        if (offset, region) != (asked_offset, asked_region):
            raise connection.violated(
                about,
                f"offset {asked_offset:#x} of region {asked_region}",
                f"offset {offset:#x} of region {region}",
            )
        if count > length:
            raise connection.violated(about, f"a count up to {length}", f"{count}")
        return int(count)


def _process_behind(stream: socket.socket) -> int:
    """Process id of the listener on the socket; 0 if it is not visible from here."""
    with contextlib.suppress(OSError):
        pid, _, _ = _CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return int(pid)
    return 0
