# SPDX-License-Identifier: GPL-2.0-only
"""The socket side of vfio-user as an event loop: one thread, non-blocking sockets, timers in a heap.

A device is a subclass of Device. Its methods answer at once, or are generators ("jobs") that the loop runs: ``yield
0.02`` sleeps, ``yield Ask(...)`` sends a command to the client and returns its reply. The commands of the client are
carried out one after another; jobs that the device spawned run at the same time. A refusal is an OSError with its
errno.

The loop keeps the table of DMA mappings. The device decides what is done with them, and which pages are dirty.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import errno
import heapq
import json
import os
import selectors
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar

Job = Generator[Any, Any, Any]

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_REGION_IO_FDS, GET_IRQ_INFO, SET_IRQS = range(1, 9)
REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, RESET, DIRTY_PAGES = range(9, 15)

HEADER = struct.Struct("<HHIII")
LARGEST_DATA = 1 << 20
LARGEST_MESSAGE = LARGEST_DATA + 4096
LARGEST_BITMAP = 1 << 20


def refuse(number: int, why: str = "") -> OSError:
    """An error to be raised."""
    return OSError(number, why or os.strerror(number))


@dataclass
class Region:
    """One region of a device; a migration region has areas, and a descriptor, if its data can be mapped."""

    size: int
    migration: bool = False
    areas: list[tuple[int, int]] = field(default_factory=list)
    fd: int = -1


@dataclass
class Mapping:
    """Memory of the client that the device may use."""

    iova: int
    size: int
    flags: int
    fd: int
    offset: int

    @property
    def end(self) -> int:
        return self.iova + self.size


@dataclass
class Message:
    number: int
    command: int
    flags: int
    error: int
    body: bytes
    fds: list[int]


@dataclass
class Ask:
    """A command to the client; the job that yields it gets the Message of the reply."""

    command: int
    body: bytes


class Timer:
    """A call to be made later, unless it is cancelled."""

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due, self.call, self.off = due, call, False

    def cancel(self) -> None:
        self.off = True


class Loop:
    """Sockets and timers."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.heap: list[tuple[float, int, Timer]] = []
        self.made = 0
        self.ended = False

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.made += 1
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self.heap, (timer.due, self.made, timer))
        return timer

    def run(self) -> None:
        while not self.ended:
            while self.heap and self.heap[0][2].off:
                heapq.heappop(self.heap)
            rest = max(0.0, self.heap[0][0] - time.monotonic()) if self.heap else None
            for key, events in self.selector.select(rest):
                key.data(events)
            now = time.monotonic()
            while self.heap and self.heap[0][0] <= now and not self.ended:
                timer = heapq.heappop(self.heap)[2]
                if not timer.off:
                    timer.call()


class Device:
    """The base of a device. All methods may be jobs, except opened, closed and unmapped."""

    page = 4096
    info_flags = 3  # VFIO_DEVICE_FLAGS_RESET, and a PCI device
    count_of_regions = 10
    regions: dict[int, Region]
    irqs: tuple[int, ...] = (0, 0, 0, 0, 0)
    server: Server

    def greeted(self) -> Any:
        """The client sent its version."""

    def asked(self) -> Any:
        """The client asks for information on the device or a region."""

    def opened(self) -> None: ...

    def closed(self) -> None: ...

    def reset(self) -> Any: ...

    def read(self, region: int, offset: int, count: int) -> Any:
        raise refuse(errno.EINVAL)

    def write(self, region: int, offset: int, data: bytes) -> Any:
        raise refuse(errno.EINVAL)

    def track(self, on: bool) -> Any:
        raise refuse(errno.ENOTSUP)

    def tracking(self) -> bool:
        return False

    def bitmap(self, iova: int, pages: int) -> Any:
        """The bits of ``pages`` pages as bytes; after that, they count as reported."""
        raise refuse(errno.EINVAL)

    def mapped(self, mapping: Mapping) -> Any: ...

    def unmapped(self, mapping: Mapping) -> None: ...


class Server:
    """The listening socket, its client, and the device."""

    def __init__(self, device: Device, path: str, quits: bool = False) -> None:
        self.loop = Loop()
        self.device, self.quits = device, quits
        device.server = self
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.bind(path)
        self.path, self.inode = path, os.stat(path).st_ino
        self.listening.listen(8)
        self.listening.setblocking(False)
        self.client: socket.socket | None = None
        self.session = 0
        self.mappings: list[Mapping] = []
        self.eventfds: dict[tuple[int, int], int] = {}
        self._listen(True)

    def serve(self) -> None:
        """Serve until SIGTERM, or until the client goes if the server ends with it."""
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            self.loop.run()
        finally:
            self._gone(listen=False)
            self.listening.close()
            with contextlib.suppress(OSError):
                if os.stat(self.path).st_ino == self.inode:
                    os.unlink(self.path)

    def _terminate(self, number: int, frame: object) -> None:
        raise SystemExit(0)

    # ---- the client comes and goes ------------------------------------------------------------------------------

    def _listen(self, on: bool) -> None:
        if on:
            self.loop.selector.register(self.listening, selectors.EVENT_READ, self._come)
        else:
            self.loop.selector.unregister(self.listening)

    def _come(self, events: int) -> None:
        try:
            self.client = self.listening.accept()[0]
        except OSError:
            return
        self._listen(False)
        self.client.setblocking(False)
        self.session += 1
        self.page, self.greeted, self.transfer = self.device.page, False, LARGEST_DATA
        self.part, self.fds, self.skip = bytearray(), list[int](), 0
        self.inbox: deque[Message] = deque()
        self.outbox: deque[tuple[bytes, list[int]]] = deque()
        self.job: Job | None = None
        self.jobs: list[Job] = []
        self.waiting: dict[int, Job] = {}
        self.asks = 0
        self.loop.selector.register(self.client, selectors.EVENT_READ, self._ready)
        self.device.opened()

    def _gone(self, listen: bool = True) -> None:
        if self.client is None:
            return
        self.session += 1
        self.loop.selector.unregister(self.client)
        for job in self.jobs:
            job.close()
        for message in self.inbox:
            self._close(message.fds)
        self._close(self.fds)
        self.device.closed()
        for mapping in self.mappings:
            self._close([mapping.fd])
        self.mappings = []
        self._close(list(self.eventfds.values()))
        self.eventfds.clear()
        self.client.close()
        self.client = None
        if self.quits:
            self.loop.ended = True
        elif listen:
            self._listen(True)

    @staticmethod
    def _close(fds: list[int]) -> None:
        for fd in fds:
            if fd >= 0:
                os.close(fd)
        fds.clear()

    # ---- bytes ----------------------------------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        session = self.session
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ and self.session == session:
            self._receive()

    def _receive(self) -> None:
        """Receive one message, or a part of it, but never more, so that descriptors belong to that message."""
        assert self.client
        if self.skip:
            want = min(self.skip, 1 << 16)
        elif len(self.part) < 16:
            want = 16 - len(self.part)
        else:
            want = HEADER.unpack_from(self.part)[2] - len(self.part)
        try:
            data, extra, _, _ = self.client.recvmsg(want, socket.CMSG_SPACE(64 * 4))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return self._gone()
        for level, kind, what in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(what[: len(what) - len(what) % 4])
                self.fds += numbers
        if not data:
            return self._gone()
        if self.skip:
            self.skip -= len(data)
            return None
        self.part += data
        if len(self.part) < 16:
            return None
        number, command, size, flags, error = HEADER.unpack_from(self.part)
        if size < 16:
            return self._gone()
        if size > LARGEST_MESSAGE:
            self.skip, self.part = size - 16, bytearray()
            self._close(self.fds)
            return self._send(HEADER.pack(number, command, 16, 0x21, errno.EMSGSIZE))
        if len(self.part) < size:
            return self._receive() if len(self.part) == 16 else None
        message = Message(number, command, flags, error, bytes(self.part[16:]), self.fds)
        self.part, self.fds = bytearray(), []
        if flags & 0xF == 0:
            self.inbox.append(message)
        else:
            self._close(message.fds)
            job = self.waiting.pop(number, None)
            if job:
                self._step(job, message)
        return self._pump()

    def _send(self, data: bytes, fds: list[int] | None = None) -> None:
        if self.client:
            self.outbox.append((data, fds or []))
            self._flush()

    def _flush(self) -> None:
        assert self.client
        while self.outbox:
            data, fds = self.outbox.popleft()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self.client.sendmsg([data], rights)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.outbox.clear()  # a read shows the end of the client
                break
            if sent < len(data):
                self.outbox.appendleft((data[sent:], [] if sent else fds))
                break
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outbox else 0)
        if self.loop.selector.get_key(self.client).events != wanted:
            self.loop.selector.modify(self.client, wanted, self._ready)

    # ---- jobs -----------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        while self.client and self.job is None and self.inbox:
            self.job = self._serve(self.inbox.popleft())
            self.jobs.append(self.job)
            self._step(self.job, None)

    def spawn(self, job: Job) -> None:
        """Run a job at the same time as commands; it ends with the client."""
        self.jobs.append(job)
        self._step(job, None)

    def _step(self, job: Job, value: Any) -> None:
        try:
            want = job.send(value)
        except (StopIteration, OSError):
            if job in self.jobs:
                self.jobs.remove(job)
            if job is self.job:
                self.job = None
            return
        if isinstance(want, Ask):
            self.asks = (self.asks + 1) & 0x7FFF
            self.waiting[self.asks | 0x8000] = job
            self._send(HEADER.pack(self.asks | 0x8000, want.command, 16 + len(want.body), 0, 0) + want.body)
        else:
            session = self.session
            self.loop.after(want, lambda: self._go_on(job, session))

    def _go_on(self, job: Job, session: int) -> None:
        if session == self.session and job in self.jobs:
            self._step(job, None)
            self._pump()

    # ---- commands -------------------------------------------------------------------------------------------------

    def _serve(self, message: Message) -> Job:
        body, fds, error = b"", list[int](), 0
        try:
            if not self.greeted and message.command != VERSION:
                raise refuse(errno.EINVAL, "no version yet")
            handler = self._handlers.get(message.command)
            if handler is None:
                raise refuse(errno.ENOTSUP)
            body, fds = yield from handler(self, message)
        except OSError as problem:
            error = problem.errno or errno.EIO
        except (struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            error = errno.EINVAL
        finally:
            self._close(message.fds)
        if not message.flags & 0x10:
            if error:
                self._send(HEADER.pack(message.number, message.command, 16, 0x21, error))
            else:
                self._send(HEADER.pack(message.number, message.command, 16 + len(body), 1, 0) + body, fds)

    @staticmethod
    def _whole(answer: Any) -> Job:
        """The result of a method of the device, at once or as a job."""
        if isinstance(answer, Generator):
            answer = yield from answer
        return answer

    def _version(self, message: Message) -> Job:
        major, _ = struct.unpack_from("<HH", message.body)
        text = message.body[4:].split(b"\0")[0].decode()
        theirs = json.loads(text).get("capabilities", {}) if text.strip() else {}
        transfer = int(theirs.get("max_data_xfer_size", LARGEST_DATA))
        page = int(theirs.get("migration", {}).get("pgsize", self.device.page))
        if major != 0 or transfer < 1 or page < 1 or page & (page - 1):
            raise refuse(errno.EINVAL)
        yield from self._whole(self.device.greeted())
        self.greeted, self.transfer, self.page = True, min(transfer, LARGEST_DATA), min(page, self.device.page)
        ours = {"max_msg_fds": 8, "max_data_xfer_size": LARGEST_DATA, "migration": {"pgsize": self.device.page}}
        return struct.pack("<HH", 0, 0) + json.dumps({"capabilities": ours}).encode() + b"\0", []

    def _map(self, message: Message) -> Job:
        argsz, flags, offset, iova, size = struct.unpack_from("<IIQQQ", message.body)
        if argsz < 32 or flags & ~3 or not flags & 3 or not size or iova + size > 1 << 64:
            raise refuse(errno.EINVAL)
        if (iova | size) % self.page:
            raise refuse(errno.EINVAL)
        if any(iova < each.end and each.iova < iova + size for each in self.mappings):
            raise refuse(errno.EEXIST)
        mapping = Mapping(iova, size, flags, message.fds.pop(0) if message.fds else -1, offset)
        try:
            if mapping.fd >= 0 and os.fstat(mapping.fd).st_size < offset + size:
                raise refuse(errno.EINVAL, "the file is shorter than the mapping")
            yield from self._whole(self.device.mapped(mapping))
        except OSError:
            self._close([mapping.fd])
            raise
        self.mappings.append(mapping)
        return b"", []

    def _unmap(self, message: Message) -> Job:
        argsz, flags, iova, size = struct.unpack_from("<IIQQ", message.body)
        if argsz < 24 or flags not in (0, 1, 2) or (flags == 2 and (iova or size)):
            raise refuse(errno.EINVAL)
        chosen = [each for each in self.mappings if flags == 2 or (each.iova, each.size) == (iova, size)]
        if not chosen and flags != 2:
            raise refuse(errno.ENOENT)
        extra = b""
        if flags == 1:
            page, room = struct.unpack_from("<QQ", message.body, 24)
            pages = self._pages(iova, size, page, room)
            if argsz < 40 + room or not self.device.tracking():
                raise refuse(errno.EINVAL)
            bits = yield from self._whole(self.device.bitmap(iova, pages))
            extra = struct.pack("<QQ", page, room) + bits.ljust(room, b"\0")
        for mapping in chosen:
            self.device.unmapped(mapping)
            self.mappings.remove(mapping)
            self._close([mapping.fd])
        size = sum(each.size for each in chosen)
        return struct.pack("<IIQQ", 24 + len(extra), flags, iova, size) + extra, []

    def _pages(self, iova: int, size: int, page: int, room: int) -> int:
        """The number of pages in the range of a bitmap."""
        if page != self.page or not size or (iova | size) % page or iova + size > 1 << 64:
            raise refuse(errno.EINVAL)
        pages = size // page
        if not -(-pages // 64) * 8 <= room <= LARGEST_BITMAP:
            raise refuse(errno.EINVAL)
        return pages

    def _info(self, message: Message) -> Job:
        if struct.unpack_from("<IIII", message.body)[0] < 16:
            raise refuse(errno.EINVAL)
        yield from self._whole(self.device.asked())
        device = self.device
        return struct.pack("<IIII", 16, device.info_flags, device.count_of_regions, len(device.irqs)), []

    def _region_info(self, message: Message) -> Job:
        argsz, _, index = struct.unpack_from("<IIIIQQ", message.body)[:3]
        if argsz < 32 or index >= self.device.count_of_regions:
            raise refuse(errno.EINVAL)
        yield from self._whole(self.device.asked())
        region = self.device.regions.get(index)
        if not region:
            return struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0), []
        chain, flags = b"", 3
        if region.migration:
            chain = struct.pack("<HHIII", 2, 1, 32 + 16 if region.areas else 0, 3, 1)
            flags |= 8
        if region.areas:
            chain += struct.pack("<HHIII", 1, 1, 0, len(region.areas), 0)
            chain += b"".join(struct.pack("<QQ", *area) for area in region.areas)
            flags |= 4
        place = 0 if region.areas else index << 40
        full = argsz >= 32 + len(chain)
        first = 32 if chain and full else 0
        fixed = struct.pack("<IIIIQQ", 32 + len(chain), flags, index, first, region.size, place)
        return (fixed + chain, [region.fd] if region.areas else []) if full else (fixed, [])

    def _irq_info(self, message: Message) -> Job:
        argsz, _, index, _ = struct.unpack_from("<IIII", message.body)
        if argsz < 16 or index >= len(self.device.irqs):
            raise refuse(errno.EINVAL)
        yield from ()
        count = self.device.irqs[index]
        return struct.pack("<IIII", 16, 9 if count else 0, index, count), []

    def _set_irqs(self, message: Message) -> Job:
        argsz, flags, index, start, count = struct.unpack_from("<IIIII", message.body)
        if argsz < 20 or index >= len(self.device.irqs) or start + count > self.device.irqs[index]:
            raise refuse(errno.EINVAL)
        yield from ()
        vectors = [(index, start + number) for number in range(count)]
        if flags == 0x24:  # descriptors to be signalled
            for vector in vectors:
                self._close([self.eventfds.pop(vector, -1)])
                if message.fds:
                    self.eventfds[vector] = message.fds.pop(0)
        elif flags == 0x21 and not count:  # disable
            for vector in [each for each in self.eventfds if each[0] == index]:
                self._close([self.eventfds.pop(vector)])
        elif flags in (0x21, 0x22):  # signal now
            chosen = message.body[20 : 20 + count] if flags == 0x22 else b"\1" * count
            for vector, yes in zip(vectors, chosen, strict=False):
                if yes:
                    self.interrupt(*vector)
        else:
            raise refuse(errno.EINVAL)
        return b"", []

    def _access(self, region: int, offset: int, count: int) -> None:
        chosen = self.device.regions.get(region)
        if not chosen or not 1 <= count <= LARGEST_DATA or offset + count > chosen.size:
            raise refuse(errno.EINVAL)

    def _read(self, message: Message) -> Job:
        offset, region, count = struct.unpack_from("<QII", message.body)
        self._access(region, offset, count)
        data = yield from self._whole(self.device.read(region, offset, count))
        return message.body[:16] + data, []

    def _write(self, message: Message) -> Job:
        offset, region, count = struct.unpack_from("<QII", message.body)
        self._access(region, offset, count)
        if len(message.body) != 16 + count:
            raise refuse(errno.EINVAL)
        yield from self._whole(self.device.write(region, offset, message.body[16:]))
        return message.body[:16], []

    def _reset(self, message: Message) -> Job:
        yield from self._whole(self.device.reset())
        return b"", []

    def _dirty_pages(self, message: Message) -> Job:
        argsz, flags = struct.unpack_from("<II", message.body)
        if argsz < 8 or flags not in (1, 2, 4):
            raise refuse(errno.EINVAL)
        if flags != 4:
            yield from self._whole(self.device.track(flags == 1))
            return struct.pack("<II", 8, flags), []
        iova, size, page, room = struct.unpack_from("<QQQQ", message.body, 8)
        if argsz < 40 or not self.device.tracking():
            raise refuse(errno.EINVAL)
        pages = self._pages(iova, size, page, room)
        fixed = struct.pack("<IIQQQQ", 40 + room, flags, iova, size, page, room)
        if argsz < 40 + room:
            return fixed, []
        bits = yield from self._whole(self.device.bitmap(iova, pages))
        return fixed + bits.ljust(room, b"\0"), []

    _handlers: ClassVar[dict[int, Callable[[Server, Message], Job]]] = {
        VERSION: _version,
        DMA_MAP: _map,
        DMA_UNMAP: _unmap,
        GET_INFO: _info,
        GET_REGION_INFO: _region_info,
        GET_IRQ_INFO: _irq_info,
        SET_IRQS: _set_irqs,
        REGION_READ: _read,
        REGION_WRITE: _write,
        RESET: _reset,
        DIRTY_PAGES: _dirty_pages,
    }

    # ---- for devices ----------------------------------------------------------------------------------------------

    def interrupt(self, index: int, vector: int) -> None:
        """Signal the client, if it has asked for that."""
        fd = self.eventfds.get((index, vector), -1)
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.write(fd, struct.pack("<Q", 1))

    def lookup(self, iova: int, size: int) -> list[tuple[Mapping, int, int]]:
        """The mappings of a range, with the part of the range in each: address and size."""
        found = []
        at, end = iova, iova + size
        while at < end:
            mapping = next((each for each in self.mappings if each.iova <= at < each.end), None)
            if mapping is None or not mapping.flags & 2:
                raise refuse(errno.EFAULT)
            found.append((mapping, at, min(end, mapping.end) - at))
            at = mapping.end
        return found

    def dma_write(self, iova: int, data: bytes) -> Job:
        """Have the client write its memory, by one or more messages."""
        for start in range(0, len(data), self.transfer):
            part = data[start : start + self.transfer]
            reply = yield Ask(DMA_WRITE, struct.pack("<QQ", iova + start, len(part)) + part)
            if reply.flags & 0x20:
                raise refuse(errno.EFAULT)


def main(make: Callable[[str], Device], text: str, breaks: tuple[str, ...], quits: bool = False) -> None:
    """Serve a device, by the options of the command line."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--socket-path", required=True)
    parser.add_argument("--break", dest="broken", default="", choices=("", *breaks))
    arguments = parser.parse_args()
    Server(make(arguments.broken), arguments.socket_path, quits).serve()
