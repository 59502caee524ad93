# SPDX-License-Identifier: GPL-2.0-only
"""How a call reaches a driver: the one door through which every call passes and is traced.

A transport is raw on purpose. It passes on any request, offset, length and byte as they are, returns the
result as a system call would have returned it, and judges nothing. For checked values, use the classes of
``vfio_compliance.device``.
"""

from __future__ import annotations

import mmap
import os
import weakref
from abc import ABC, abstractmethod
from enum import Enum
from time import perf_counter_ns, sleep
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, TypeAlias

import cffi

from ..common.calls import KEPT_ARGUMENT, KEPT_BYTES, SECOND, Call
from ..common.words import counted
from ..uapi.type1 import VFIO_IOMMU_DIRTY_PAGES, DirtyPagesFlags
from ..uapi.vfio import (
    VFIO_DEVICE_GET_INFO,
    VFIO_DEVICE_GET_IRQ_INFO,
    VFIO_DEVICE_GET_REGION_INFO,
    VFIO_DEVICE_RESET,
    ffi,
)
from .errors import CallTimeout, PeerGone, ProtocolViolation, SetupError, TransportError
from .event import Event
from .trace import Counts, Digest, Tracer

__all__ = [
    "Argument",
    "Call",
    "CallTimeout",
    "Counts",
    "Death",
    "Memory",
    "Misplaced",
    "Outcome",
    "PeerGone",
    "Pointing",
    "ProtocolViolation",
    "SetupError",
    "Target",
    "Tracer",
    "Transport",
    "TransportError",
    "argument_view",
    "failure",
    "success",
]

#: Requests that do not change a device.
_QUESTIONS: Final = frozenset({VFIO_DEVICE_GET_INFO, VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_GET_REGION_INFO})

#: Argument of an ioctl: memory that is read and written (cffi pointer or array that owns its memory, or bytearray),
#: a number (by-value argument or raw address, such as a bad pointer), or nothing.
Argument: TypeAlias = cffi.FFI.CData | bytearray | int | None


class Pointing(bytearray):
    """An ioctl's argument that contains the address of other memory: ``behind`` is that memory."""

    def __init__(self, argument: bytes, behind: memoryview, *, readonly: bool = False) -> None:
        """``readonly`` memory cannot be written."""
        super().__init__(argument)
        self.behind = behind
        self.readonly = readonly


class Misplaced(int):
    """The address of an ioctl's argument in memory that cannot be used; ``behind`` is the content there."""

    behind: memoryview
    readonly = False

    def __new__(cls, address: int, behind: memoryview) -> Misplaced:
        made = super().__new__(cls, address)
        made.behind = behind
        return made


class Target(Enum):
    """The kernel object that an ioctl addresses."""

    CONTAINER = "container"
    GROUP = "group"
    DEVICE = "device"


class Outcome(NamedTuple):
    """How a call ended: what the system call returned, -1 for a failure, and then the errno.

    errno is 0 after a success, and after a failure without an errno: a vfio-user server can refuse without a reason.
    """

    value: int
    errno: int

    @property
    def ok(self) -> bool:
        """True if the call succeeded, even with less than was asked for."""
        return self.value >= 0


class Death(NamedTuple):
    """The unexpected end of a server: a signal, a status other than 0, or a connection left open."""

    #: "the server" or "the second server".
    who: str
    #: A clause without subject: "was killed by SIGSEGV; its last line was: ...".
    how: str
    #: "during ...", "when its client closed the connection", "between two connections" and so on.
    when: str
    #: Whether a client was asking it something then, or still could.
    asked: bool


_SUCCESSES: Final = tuple(Outcome(value, 0) for value in range(65))


def success(value: int) -> Outcome:
    """The outcome of a call that returned ``value``."""
    return _SUCCESSES[value] if 0 <= value <= 64 else Outcome(value, 0)


def failure(code: int) -> Outcome:
    """The outcome of a call that failed with errno ``code``."""
    return Outcome(-1, code)


def argument_view(argument: Argument) -> memoryview | None:
    """The bytes of an ioctl's argument, writable in place; None if it has none (number, NULL, nothing)."""
    if argument is None or isinstance(argument, int):
        return None
    if isinstance(argument, bytearray):
        return memoryview(argument)
    if ffi.typeof(argument).kind in ("struct", "union"):
        argument = ffi.addressof(argument)
    if argument == ffi.NULL or ffi.typeof(argument) is ffi.typeof("void *"):
        return None
    return memoryview(ffi.buffer(argument)).cast("B")


def _close_descriptor(descriptor: int) -> None:
    os.close(descriptor)


class Memory:
    """Zeroed, page-aligned memory that can be mapped for a device.

    ``address`` is its address in this process (what VFIO_IOMMU_MAP_DMA calls vaddr), ``view`` its bytes,
    ``length`` their number. ``descriptor`` is a file that holds the same bytes, or -1.
    Raises OSError if there is no memory, ValueError if length is not positive.
    """

    def __init__(self, length: int, descriptor: int = -1) -> None:
        if length <= 0:
            raise ValueError(f"memory of {counted(length, 'byte')}")
        self.length = length
        self.descriptor = descriptor
        self._close = None if descriptor < 0 else weakref.finalize(self, _close_descriptor, descriptor)
        try:
            self._pages = mmap.mmap(descriptor, length)
        except BaseException:
            self.release()
            raise
        with ffi.from_buffer(self._pages) as start:
            self.address = int(ffi.cast("uintptr_t", start))
        self.view = memoryview(self._pages)

    @property
    def released(self) -> bool:
        """True once the bytes are gone."""
        return self._pages.closed

    def release(self) -> None:
        """Give the memory back. Raises BufferError while a slice of ``view`` is held."""
        if hasattr(self, "view"):
            self.view.release()
            self._pages.close()
        if self._close is not None:
            self._close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class _RegionNames(dict[int, str]):
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __missing__(self, region: int) -> str:
        return self.setdefault(region, f"{self._prefix}region {region}")


class Transport(ABC):
    """The connection to one device.

    Each public verb notifies the tracer, then calls the bare twin whose name starts with an underscore. In
    addition to what its docstring says, every verb may raise a TransportError; after PeerGone, ProtocolViolation
    and CallTimeout, only close() and then open() make the transport usable again.

    A device ``beside`` another one shares its tracer; in the trace it is the second one.
    """

    #: False if NULL or bad pointers cannot be passed.
    takes_pointers: ClassVar[bool]
    #: True if a kernel handles the calls, so that its log is part of the verdict.
    kernel: ClassVar[bool]
    #: True if two threads may call at once.
    concurrent: ClassVar[bool] = False

    def __init__(self, beside: Transport | None = None) -> None:
        self.tracer: Tracer = Tracer() if beside is None else beside.tracer
        prefix = "" if beside is None else SECOND
        self._region_names = _RegionNames(prefix)
        self._names = {target: prefix + target.value for target in Target}
        self.is_open = False
        #: How many times the device was opened.
        self.openings = 0
        #: Whether something was done to the device since it was last brought to a known state; an open counts.
        self.touched = False
        #: Whether some of that may outlive a return to a user's starting point: all but writes to ``resting`` regions.
        self.lasting = False
        #: The regions of interfaces, whose registers arm nothing.
        self.resting: frozenset[int] = frozenset()
        #: Whether a request to the container was odd or refused: it may have left something behind.
        self.questioned = False
        #: Whether dirty pages may be tracked: START was requested, and no STOP has succeeded since.
        self.may_track = False
        #: Every server that died, in order.
        self.deaths: list[Death] = []
        #: Deviations of the other side that a client tolerates, each kind once, and notes on servers.
        self.remarks: list[str] = []
        self._reported_deaths = 0
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._events: weakref.WeakSet[Event] = weakref.WeakSet()

    def __enter__(self) -> Transport:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Reach the device. Raises SetupError if that cannot be done, RuntimeError if already open."""
        if self.is_open:
            raise RuntimeError("the device is open already")
        with self.tracer.recorded("open", self._names[Target.DEVICE]):
            self._open()
            self.is_open, self.touched, self.may_track = True, True, False
            self.openings += 1

    def close(self) -> None:
        """Close the device, its mappings and events; does nothing if it is not open.

        Raises RuntimeError, after closing all else, if a slice of a mapping is still held somewhere: the
        driver would not see the device closed.
        """
        if not self.is_open:
            return
        self.is_open = False
        held = 0
        with self.tracer.recorded("close", self._names[Target.DEVICE]):
            for mapping in list(self._maps):
                try:
                    mapping.close()
                    self._maps.discard(mapping)
                except BufferError:
                    held += 1
            try:
                self._close()
            finally:
                for event in list(self._events):
                    event.close()
        if held:
            raise RuntimeError(f"the device stays open: {counted(held, 'mapping')} of it still in use")

    def shutdown(self) -> None:
        """Close the device and end the processes that were started for it."""
        self.close()

    def ioctl(self, target: Target, request: int, argument: Argument = None) -> Outcome:
        """Issue a request. ``argument`` is changed in place if the request has an answer."""
        tracer = self.tracer
        name = self._names[target]
        if target is Target.DEVICE and request not in _QUESTIONS:
            self.touched = True
            self.lasting |= request != VFIO_DEVICE_RESET
        view = argument_view(argument)
        length = 0 if view is None else len(view)
        digest: Digest = ""
        if view is not None:
            sent = bytes(view)
            if length > KEPT_ARGUMENT:
                sent, digest = sent[:KEPT_BYTES], tracer.digest(sent)
        else:
            sent = (argument & 2**64 - 1).to_bytes(8, "little") if isinstance(argument, int) else b""
        if tracer.on_begin is not None:
            tracer.on_begin("ioctl", name, request, length)
        started = perf_counter_ns()
        try:
            outcome = self._ioctl(target, request, argument)
        except BaseException as error:
            tracer.failed("ioctl", name, request, length, sent, error, started, digest)
            raise
        duration = perf_counter_ns() - started
        value, code = outcome
        if target is Target.CONTAINER:
            self._asked_container(request, sent, outcome)
        received = b"" if view is None else bytes(view)
        pointer = argument if isinstance(argument, (Pointing, Misplaced)) else None
        if length <= KEPT_ARGUMENT and pointer is None:
            tracer.add(("ioctl", name, request, length, sent, received, value, code, started, duration))
            return outcome
        answer: Digest = ""
        if length > KEPT_ARGUMENT:
            received, answer = received[:KEPT_BYTES], tracer.digest(received)
        behind = tracer.behind(pointer.behind, readonly=pointer.readonly) if pointer is not None else None
        call = ("ioctl", name, request, length, sent, received, value, code, started, duration)
        tracer.add((*call, digest, answer, behind))
        return outcome

    def _asked_container(self, request: int, argument: bytes, outcome: Outcome) -> None:
        """Note what a request to the container may have left behind: one that was odd or refused is in doubt."""
        self.questioned |= not outcome.ok
        if request != VFIO_IOMMU_DIRTY_PAGES:
            return
        flags = int.from_bytes(argument[4:8], "little")
        if flags == DirtyPagesFlags.STOP:
            self.questioned |= not self.may_track
            self.may_track &= not outcome.ok
        elif flags != DirtyPagesFlags.GET_BITMAP:
            self.questioned |= self.may_track or flags != DirtyPagesFlags.START
            self.may_track = True

    def read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]:
        """Read ``length`` bytes at ``offset`` of a region in one access; returns the bytes that came."""
        tracer = self.tracer
        name = self._region_names[region]
        if tracer.on_begin is not None:
            tracer.on_begin("read", name, offset, length)
        started = perf_counter_ns()
        try:
            outcome, data = result = self._read(region, offset, length)
        except BaseException as error:
            tracer.failed("read", name, offset, length, b"", error, started)
            raise
        duration = perf_counter_ns() - started
        value, code = outcome
        if len(data) <= KEPT_BYTES:
            tracer.add(("read", name, offset, length, b"", data, value, code, started, duration))
        else:
            call = ("read", name, offset, length, b"", data[:KEPT_BYTES], value, code, started, duration)
            tracer.add((*call, "", tracer.digest(data), None))
        return result

    def write(self, region: int, offset: int, data: bytes) -> Outcome:
        """Write ``data`` at ``offset`` of a region in one access."""
        self.touched = True
        self.lasting |= region not in self.resting
        tracer = self.tracer
        name = self._region_names[region]
        length = len(data)
        sent, digest = (data, "") if length <= KEPT_BYTES else (data[:KEPT_BYTES], tracer.digest(data))
        if tracer.on_begin is not None:
            tracer.on_begin("write", name, offset, length)
        started = perf_counter_ns()
        try:
            outcome = self._write(region, offset, data)
        except BaseException as error:
            tracer.failed("write", name, offset, length, sent, error, started, digest)
            raise
        duration = perf_counter_ns() - started
        value, code = outcome
        if length <= KEPT_BYTES:
            tracer.add(("write", name, offset, length, sent, b"", value, code, started, duration))
        else:
            call = ("write", name, offset, length, sent, b"", value, code, started, duration)
            tracer.add((*call, digest, "", None))
        return outcome

    def map(self, region: int, offset: int, length: int) -> mmap.mmap:
        """Map part of a region, shared, for reading and writing. Raises OSError if that is refused.

        The mapping ends with close(). Copy slices, or release every memoryview of it before then.
        """
        with self.tracer.recorded("map", self._region_names[region], offset, length):
            mapping = self._map(region, offset, length)
        self._maps.add(mapping)
        return mapping

    def memory(self, length: int) -> Memory:
        """Memory of ``length`` bytes whose address can be passed to VFIO_IOMMU_MAP_DMA."""
        return Memory(length)

    def event(self) -> Event:
        """An eventfd for the driver, which ends with close(). Raises SetupError."""
        if not self.is_open:
            raise SetupError("the device is not open", "open() it first")
        event = Event()
        self._events.add(event)
        return event

    def pause(self, seconds: float) -> None:
        """Give the device time between two looks at it, and serve its requests in the meantime.

        For loops that wait for a condition with a deadline. A vfio-user device without access to the memory
        file can do DMA only while its client listens: here, and inside other calls.
        """
        sleep(seconds)

    def host_fault(self, request: int, outcome: Outcome, length: int) -> SetupError | None:
        """The host's reason for a refused request, if it is known not to be the driver's.

        ``length`` is the number of bytes concerned (the size of a DMA mapping).
        """
        return None

    def seen(self, verb: str, region: int, offset: int, data: bytes, sent: bytes = b"") -> None:
        """Record what was read or ``sent`` through a mapping of a region."""
        if sent:
            self.touched = True
            self.lasting |= region not in self.resting
        self.tracer.seen(verb, self._region_names[region], offset, data, sent)

    @property
    def gone(self) -> bool:
        """The device is open, but can no longer answer calls: it has to be opened again."""
        return False

    def take_deaths(self) -> list[Death]:
        """The deaths since the last call, including those not noticed until now."""
        self._look_for_deaths()
        reported, self._reported_deaths = self._reported_deaths, len(self.deaths)
        return self.deaths[reported:]

    def _look_for_deaths(self) -> None:  # noqa: B027 - only servers die
        """Notice a server that has ended unseen."""

    @property
    def incarnation(self) -> int:
        """Differs if another server process answers after a reopen; 0 if there is no server, or it is unknown."""
        return 0

    def places(self) -> dict[str, str]:
        """The words that a profile's file paths may contain, and what they stand for."""
        return {}

    @property
    def largest_argsz(self) -> int:
        """The largest argsz that a request may have here."""
        return 2**32 - 1

    @property
    def largest_bitmap(self) -> int:
        """The most bytes of a dirty bitmap that can be asked for here, whatever the container says."""
        return 2**64 - 1

    @property
    def no_tracking(self) -> str:
        """Why dirty pages are known not to be tracked, as a sentence; empty if the container has to be asked."""
        return ""

    def take_message_writes(self) -> list[int]:
        """Pages, by their I/O virtual addresses, that the device wrote by messages since the last call.

        Their size is ``dirty_page_size``, or without one that of this machine's pages. A client that serves such a
        message knows what was written, whether the device's bitmap has it or not. Empty if devices reach memory
        by themselves.
        """
        return []

    @property
    def dirty_page_size(self) -> int | None:
        """Bytes per bit of a dirty bitmap if transport and device agreed on it; None: ask the container."""
        return None

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """The transport and the other side, for a report."""

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _ioctl(self, target: Target, request: int, argument: Argument) -> Outcome: ...

    @abstractmethod
    def _read(self, region: int, offset: int, length: int) -> tuple[Outcome, bytes]: ...

    @abstractmethod
    def _write(self, region: int, offset: int, data: bytes) -> Outcome: ...

    @abstractmethod
    def _map(self, region: int, offset: int, length: int) -> mmap.mmap: ...
