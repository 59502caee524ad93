# SPDX-License-Identifier: GPL-2.0-only
"""What the system calls of a client mean for its VFIO devices.

strace records what pread, pwrite and mmap do, but only the number of an ioctl. So the content of registers is
known; regions are recognised by their offset in the device's file (``index << 40``, as in vfio-pci and many
others), and the arguments of the container's calls are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from ...common.words import counted
from ...uapi import type1, vfio
from .descriptors import Descriptors, File
from .descriptors import Kind as What
from .recorder import Recorder
from .syscalls import Kind, Syscall, Transfer
from .values import Text, descriptor, number, split, string, unescaped

#: How regions are placed in the device's file: the index is in the upper bits of the offset.
_SHIFT: Final = 40
_WHOLE: Final = 1 << _SHIFT

_REQUESTS: Final = {
    name.encode(): value
    for module in (vfio, type1)
    for name, value in vars(module).items()
    if name.startswith("VFIO_") and isinstance(value, int) and value >> 8 == ord(";")
}
_IOC: Final = re.compile(rb"_IO[A-Z]*\((?:_IOC_NONE, *)?(?:0x3b|';'), *(0x[0-9a-f]{1,2}|\d{1,3})[,)]")

#: Requests that only a device has; the numbers above them are also those of a container.
_OF_DEVICE: Final = range(vfio.VFIO_DEVICE_GET_INFO, vfio.VFIO_DEVICE_RESET + 1)
_OF_GROUP: Final = range(vfio.VFIO_GROUP_GET_STATUS, vfio.VFIO_GROUP_GET_DEVICE_FD + 1)
_OF_CONTAINER: Final = range(vfio.VFIO_GET_API_VERSION, vfio.VFIO_SET_IOMMU + 1)
_HOT_RESET: Final = vfio.VFIO_DEVICE_RESET + 2
_CONTAINER_VERBS: Final = {
    type1.VFIO_IOMMU_MAP_DMA: "dma-map",
    type1.VFIO_IOMMU_UNMAP_DMA: "dma-unmap",
    type1.VFIO_IOMMU_DIRTY_PAGES: "dirty",
}

_F_DUPFD, _F_SETFD, _F_DUPFD_CLOEXEC = 0, 2, 1030
_COMMANDS: Final = {b"F_DUPFD": _F_DUPFD, b"F_SETFD": _F_SETFD, b"F_DUPFD_CLOEXEC": _F_DUPFD_CLOEXEC}
_O_CLOEXEC, _CLONE_FILES = 0o2000000, 0x400
_CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_CLOEXEC = 2, 4
_CLONE_FLAGS: Final = re.compile(rb"flags=([^,}]{1,400})")
_SENT: Final = re.compile(rb"(?:SCM_RIGHTS|0x1)\b[^\]]{0,40}cmsg_data=\[([^\]]{0,4000})")
_GROUP: Final = re.compile(rb"/dev/vfio/((?:noiommu-)?\d+)")


class Importer:
    """Follows the descriptors of all processes, and records the calls on devices."""

    def __init__(self, recorder: Recorder, region_at: int | None = None) -> None:
        """``region_at``: the migration region's offset in the device's file, if it is not its index << 40."""
        self._recorder = recorder
        self._region_at = region_at
        self._open = Descriptors()
        self._devices = 0
        self._containers = 0
        #: The device that came from each group last, and how many files of each device are open.
        self._of_group: dict[str, int] = {}
        self._files: dict[int, int] = {}
        #: Files that were passed to another process, with an unknown descriptor there.
        self._sent: list[File] = []

    @property
    def watched(self) -> set[int]:
        """The numbers that descriptors of VFIO have or had, in any process."""
        return self._open.numbers

    def take(self, calls: Iterable[Syscall | Transfer]) -> None:
        """Record all of these."""
        handlers, file_of, access = self._handlers, self._open.file, self._recorder.access
        for call in calls:
            if isinstance(call, Transfer):
                file = file_of(call.pid, call.descriptor)
                if file and file.kind is What.DEVICE and call.value <= call.length:
                    place = *self._place(call.position), call.length
                    access(call.verb, call.time, call.took, file.number, place, call.value, 0, call.data)
            elif call.kind is Kind.CALL:
                if not call.again:
                    handlers[call.name](self, call)
            elif call.kind is Kind.BEGAN:
                if call.name in _MAKES_THREADS:
                    self._open.clone_begins(call.pid, _shares(call))
            elif call.kind is Kind.EXIT:
                for file in self._open.end(call.pid):
                    self._closed(call, file)
            elif call.kind is Kind.MOVED:
                self._open.rename(call.pid, call.value or 0)
            elif call.name not in _HARMLESS:
                self._lost(call)
        if self._open.assumed:
            threads = counted(self._open.assumed, "thread")
            self._recorder.note(f"{threads} began unseen: counted as part of the process that comes first in the file")

    # Descriptors

    def _opens(self, call: Syscall) -> None:
        if (call.value or -1) < 0:
            return
        arguments = split(call.arguments)
        named = next(filter(None, map(string, arguments[:2])), Text(b"", True))
        path = call.about.partition(b"<")[0] or named.data
        closes = _flagged(call.arguments, b"O_CLOEXEC", arguments[-1 if len(arguments) < 3 else -2 :], _O_CLOEXEC)
        self._replaced(call, call.value or 0)
        if not path.startswith(b"/dev/vfio/"):
            return
        if path == b"/dev/vfio/vfio":
            self._enter(call, call.value or 0, self._container(), closes)
        elif path.startswith(b"/dev/vfio/devices/"):
            self._device(call, path.decode(errors="backslashreplace"), closes)
        elif _GROUP.fullmatch(path):
            self._enter(call, call.value or 0, File(What.GROUP, name=path.decode()), closes)

    def _container(self) -> File:
        self._containers += 1
        return File(What.CONTAINER, self._containers - 1)

    def _device(self, call: Syscall, origin: str, closes: bool, *, seen: bool = True) -> File:
        """A new descriptor of a device. ``origin``: its group; the same device comes from the same group."""
        device = self._of_group.get(origin, -1)
        if device < 0 or self._files.get(device, 0):
            if device >= 0:
                self._recorder.note(
                    f"{origin} gave a device while another one from it was open: counted as two devices, "
                    "because strace does not record their names"
                )
            device = self._devices
            self._devices += 1
            if len(self._of_group) < _MOST_ORIGINS:
                self._of_group[origin] = device
        self._files[device] = self._files.get(device, 0) + 1
        file = File(What.DEVICE, device)
        if seen:
            self._enter(call, call.value or 0, file, closes)
            self._recorder.simple("open", call.time, device)
        return file

    def _enter(self, call: Syscall, descriptor: int, file: File, closes: bool) -> None:
        if (gone := self._open.put(call.pid, descriptor, file, closes)) is not None:
            self._closed(call, gone)

    def _replaced(self, call: Syscall, descriptor: int) -> None:
        """A descriptor's number is used again: it was closed before, seen or not."""
        if self._open.file(call.pid, descriptor):
            self._recorder.note(
                "descriptors were used again without being seen closed: record close and close_range, too"
            )
            self._drop(call, descriptor)

    def _drop(self, call: Syscall, descriptor: int) -> None:
        if (gone := self._open.close(call.pid, descriptor)) is not None:
            self._closed(call, gone)

    def _closed(self, call: Syscall, file: File) -> None:
        if file.kind is What.DEVICE:
            self._files[file.number] = max(self._files.get(file.number, 0) - 1, 0)
            self._recorder.simple("close", call.time, file.number)

    def _closes(self, call: Syscall) -> None:
        if (found := descriptor(call.arguments)) and call.errno != _EBADF:
            self._drop(call, found[0])

    def _closes_range(self, call: Syscall) -> None:
        arguments = split(call.arguments)
        bounds = [number(each) for each in arguments[:2]]
        if call.errno or len(arguments) < 2 or None in bounds:
            return
        first, last = bounds[0] or 0, bounds[1] or 0
        if _flagged(call.arguments, b"CLOSE_RANGE_UNSHARE", arguments[2:], _CLOSE_RANGE_UNSHARE):
            self._open.unshare(call.pid)
        if _flagged(call.arguments, b"CLOSE_RANGE_CLOEXEC", arguments[2:], _CLOSE_RANGE_CLOEXEC):
            for each in [one for one in self._open.table(call.pid).slots if first <= one <= last]:
                self._open.keep_over_exec(call.pid, each, True)
            return
        for file in self._open.close_range(call.pid, first, last):
            self._closed(call, file)

    def _duplicates(self, call: Syscall) -> None:
        found = descriptor(call.arguments)
        if found is None or call.value is None or call.value < 0 or found[0] == call.value:
            return
        file = self._open.file(call.pid, found[0]) or self._named(call, *found)
        self._drop(call, call.value)
        if file:
            arguments = split(call.arguments)
            closes = _flagged(call.arguments, b"O_CLOEXEC", arguments[2:], _O_CLOEXEC)
            self._enter(call, call.value, file, closes)

    def _controls(self, call: Syscall) -> None:
        found = descriptor(call.arguments)
        if found is None or call.errno or self._open.file(call.pid, found[0]) is None:
            return
        arguments = split(call.arguments)
        command = number(arguments[1], _COMMANDS) if len(arguments) > 1 else None
        if command in (_F_DUPFD, _F_DUPFD_CLOEXEC):
            file = self._open.file(call.pid, found[0])
            if file and call.value is not None and call.value >= 0:
                self._enter(call, call.value, file, command == _F_DUPFD_CLOEXEC)
        elif command == _F_SETFD and len(arguments) > 2:
            self._open.keep_over_exec(call.pid, found[0], number(arguments[2], {b"FD_CLOEXEC": 1}) == 1)

    def _clones(self, call: Syscall) -> None:
        child = call.value if call.value and call.value > 0 else None
        self._open.clone_ends(call.pid, child, _shares(call))

    def _executes(self, call: Syscall) -> None:
        if call.value == 0:
            for file in self._open.execute(call.pid):
                self._closed(call, file)

    def _unshares(self, call: Syscall) -> None:
        if not call.errno and _flagged(call.arguments, b"CLONE_FILES", [call.arguments], _CLONE_FILES):
            self._open.unshare(call.pid)

    def _sends(self, call: Syscall) -> None:
        for found in _SENT.finditer(call.arguments):
            for each in split(found[1]):
                known = descriptor(each)
                file = self._open.file(call.pid, known[0]) if known else None
                if file and file.kind is What.DEVICE and len(self._sent) < _MOST_ORIGINS:
                    self._sent.append(file)
                    why = f"line {call.line}: the device's descriptor went to another process by SCM_RIGHTS"
                    self._recorder.gap(call.time, f"{why}, which may use it unseen")

    def _receives(self, call: Syscall) -> None:
        for found in _SENT.finditer(call.arguments):
            for each in split(found[1]):
                if (known := descriptor(each)) and not call.errno:
                    self._drop(call, known[0])
                    self._named(call, *known)

    # Descriptors whose origin was not seen

    def _named(self, call: Syscall, descriptor: int, about: bytes) -> File | None:
        """What strace itself says about a descriptor (``-y``)."""
        path = about.partition(b"<")[0]
        if path == b"/dev/vfio/vfio":
            file = self._container()
        elif b"[vfio-device]" in path or path.startswith(b"/dev/vfio/devices/"):
            return self._adopt(call, descriptor)
        elif _GROUP.fullmatch(path):
            file = File(What.GROUP, name=path.decode())
        else:
            return None
        self._enter(call, descriptor, file, True)
        return file

    def _adopt(self, call: Syscall, descriptor: int) -> File:
        """A descriptor that must be a device's, by its use."""
        if self._sent:
            file = self._sent.pop(0)
            why = "came from another process"
        else:
            file = self._device(call, f"descriptor {descriptor}", True, seen=False)
            why = "was opened before the recording began, or in a call that is not recorded"
        self._enter(call, descriptor, file, True)
        self._recorder.gap(call.time, f"line {call.line}: descriptor {descriptor} of the device {why}")
        return file

    def _device_at(self, call: Syscall, found: tuple[int, bytes], position: int | None) -> File | None:
        """A descriptor's device; if its origin was not seen, it is recognised by strace's words, or by the offset."""
        file = self._open.file(call.pid, found[0])
        if file is None and (found[1] or (position or 0) >= _WHOLE) and call.errno != _EBADF:
            file = self._named(call, *found)
            if file is None and not found[1]:
                file = self._adopt(call, found[0])
        return file if file and file.kind is What.DEVICE else None

    # What is done to a device

    def _transfers(self, call: Syscall) -> None:
        found = descriptor(call.arguments)
        if found is None:
            return
        quote = call.arguments.rfind(b'"')
        numbers = call.arguments[quote + 1 :].split(b",")
        position, length = (number(each) if len(numbers) > 1 else None for each in (numbers[-1], numbers[-2:][0]))
        file = self._device_at(call, found, position)
        if file is None:
            return
        if position is None or length is None or min(position, length) < 0:
            self._lost(call)
            return
        begin = call.arguments.find(b'"')
        data = unescaped(call.arguments[begin + 1 : quote]) if 0 <= begin < quote else b""
        self._access(call, "read" if call.name.startswith(b"pread") else "write", file.number, position, length, data)

    def _transfers_many(self, call: Syscall) -> None:
        """The kernel passes each buffer to the driver separately, and stops at the first that is not taken whole."""
        found = descriptor(call.arguments)
        arguments = split(call.arguments)
        position = number(arguments[3]) if found and len(arguments) > 3 else None
        file = self._device_at(call, found, position) if found else None
        if file is None:
            return
        pieces = _pieces(arguments[1])
        if position is None or position < 0 or not pieces:
            self._lost(call)
            return
        left = call.value
        for length, data in pieces:
            moved = None if left is None else min(left, length)
            verb = "read" if call.name.startswith(b"pread") else "write"
            self._access(call._replace(value=moved), verb, file.number, position, length, data)
            position += length
            left = (left or 0) - (moved or 0)
            if moved is None or moved < length or not left:
                break

    def _access(self, call: Syscall, verb: str, device: int, position: int, length: int, data: bytes) -> None:
        if call.value is None:
            self._recorder.gap(call.time, f"line {call.line}: the result of a {verb} is unknown")
            return
        value = call.value if -1 <= call.value <= length else -1
        region, offset = self._place(position)
        self._recorder.access(verb, call.time, call.took, device, (region, offset, length), value, call.errno, data)

    def _place(self, position: int) -> tuple[int, int]:
        if self._region_at is None:
            return position >> _SHIFT & 0xFFFFFFFF, position & _WHOLE - 1
        if self._region_at <= position < self._region_at + _WHOLE:
            return MIGRATION_AT, position - self._region_at
        return ELSEWHERE, position

    def _moves(self, call: Syscall) -> None:
        """A read or write at the file's position, which is not followed: no client needs it."""
        if (found := descriptor(call.arguments)) and self._is_device(call, found):
            why = f"line {call.line}: {call.name.decode()} at the file's position, which is not followed"
            self._recorder.gap(call.time, why)

    def _is_device(self, call: Syscall, found: tuple[int, bytes]) -> bool:
        file = self._open.file(call.pid, found[0])
        return file is not None and file.kind is What.DEVICE

    def _maps(self, call: Syscall) -> None:
        arguments = call.arguments.rsplit(b",", 2)
        found = descriptor(arguments[1]) if len(arguments) == 3 else None
        if found is None or found[0] < 0:
            return
        position = number(arguments[2])
        if call.name == b"mmap2" and position is not None:
            position <<= 12
        file = self._device_at(call, found, position)
        if file is None:
            return
        before = arguments[0].split(b",")
        length = number(before[1]) if len(before) > 1 else None
        if position is None or length is None or min(position, length) < 0:
            self._lost(call)
            return
        value = -1 if call.value in (None, -1) else 0
        region, offset = self._place(position)
        self._recorder.access("map", call.time, call.took, file.number, (region, offset, length), value, call.errno)

    # Requests

    def _requests(self, call: Syscall) -> None:
        found = descriptor(call.arguments)
        if found is None:
            return
        file = self._open.file(call.pid, found[0])
        if file is None and b"VFIO_" not in call.arguments and b"0x3b" not in call.arguments:
            return
        request = _request(call.arguments)
        if request is None:
            return
        if file is None:
            file = self._named_by(call, found, request)
        if file is None:
            return
        if file.kind is What.GROUP and request == vfio.VFIO_GROUP_GET_DEVICE_FD:
            if call.value is not None and call.value >= 0:
                self._replaced(call, call.value)
                self._device(call, file.name, True)
        elif file.kind is What.CONTAINER and request in _CONTAINER_VERBS:
            self._recorder.container(_CONTAINER_VERBS[request], call.time, call.took, file.number, call.errno)
        elif file.kind is What.DEVICE and request == vfio.VFIO_DEVICE_RESET:
            if call.value is None:
                self._recorder.gap(call.time, f"line {call.line}: the result of a reset is unknown")
            else:
                self._recorder.reset(call.time, call.took, call.errno, file.number)
        elif file.kind is What.DEVICE and request == _HOT_RESET and call.value == 0:
            self._recorder.gap(call.time, f"line {call.line}: the device was reset by VFIO_DEVICE_PCI_HOT_RESET")

    def _named_by(self, call: Syscall, found: tuple[int, bytes], request: int) -> File | None:
        """A descriptor whose origin was not seen, recognised by a request that only one kind of file takes."""
        if call.value is None or call.value < 0:
            return None
        if found[1]:
            return self._named(call, *found)
        if request in _OF_DEVICE:
            return self._adopt(call, found[0])
        if request in _OF_GROUP:
            file = File(What.GROUP, name=f"the group of descriptor {found[0]}")
        elif request in _OF_CONTAINER:
            file = self._container()
        else:
            return None
        self._enter(call, found[0], file, True)
        return file

    def _lost(self, call: Syscall) -> None:
        name = (call.name or b"a call").decode()
        self._recorder.gap(call.time, f"line {call.line}: {name} cannot be read whole")

    def _nothing(self, call: Syscall) -> None:
        pass

    _handlers: Final[dict[bytes, Callable[[Importer, Syscall], None]]] = {
        **dict.fromkeys((b"open", b"openat", b"openat2"), _opens),
        b"close": _closes,
        b"close_range": _closes_range,
        **dict.fromkeys((b"dup", b"dup2", b"dup3"), _duplicates),
        **dict.fromkeys((b"fcntl", b"fcntl64"), _controls),
        **dict.fromkeys((b"clone", b"clone3", b"fork", b"vfork"), _clones),
        **dict.fromkeys((b"execve", b"execveat"), _executes),
        b"unshare": _unshares,
        **dict.fromkeys((b"sendmsg", b"sendmmsg"), _sends),
        **dict.fromkeys((b"recvmsg", b"recvmmsg"), _receives),
        **dict.fromkeys((b"pread64", b"pwrite64", b"pread", b"pwrite"), _transfers),
        **dict.fromkeys((b"preadv", b"pwritev", b"preadv2", b"pwritev2"), _transfers_many),
        **dict.fromkeys((b"read", b"write", b"readv", b"writev"), _moves),
        **dict.fromkeys((b"mmap", b"mmap2"), _maps),
        b"ioctl": _requests,
    }


_EBADF: Final = 9
_MOST_ORIGINS: Final = 1024
_MAKES_THREADS: Final = (b"clone", b"clone3", b"fork", b"vfork")

#: If one of these calls cannot be read whole, nothing recorded changes.
_HARMLESS: Final = (
    b"clone",
    b"clone3",
    b"fork",
    b"vfork",
    b"execve",
    b"execveat",
    b"read",
    b"write",
    b"readv",
    b"writev",
)

#: If the migration region is named by its offset: the number of that region, and of all others.
MIGRATION_AT, ELSEWHERE = 0, 1

#: The calls that matter, and those that matter only on a descriptor of VFIO.
NAMES: Final = tuple(name.decode() for name in Importer._handlers)
IDLE: Final = (
    "read",
    "write",
    "readv",
    "writev",
    "close",
    "fcntl",
    "ioctl",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
)


def _shares(call: Syscall) -> bool:
    """Whether a new thread shares the descriptors of its creator."""
    found = _CLONE_FLAGS.search(call.arguments)
    return found is not None and _flagged(found[1], b"CLONE_FILES", [found[1]], _CLONE_FILES)


def _pieces(vector: bytes) -> list[tuple[int, bytes]]:
    """Length and known content of each buffer of a vector; nothing if it is incomplete."""
    made = []
    for each in split(vector[1:-1]):
        fields = dict(field.split(b"=", 1) for field in split(each[1:-1]) if b"=" in field)
        length, text = number(fields.get(b"iov_len", b"")), string(fields.get(b"iov_base", b""))
        if length is None or length < 0:
            return []
        made.append((length, text.data if text else b""))
    return made


def _flagged(text: bytes, name: bytes, arguments: list[bytes], bit: int) -> bool:
    """Whether a flag is set, by its name in the line or as a bit of one of the arguments."""
    return name in text or any(bool((number(each) or 0) & bit) for each in arguments)


def _request(arguments: bytes) -> int | None:
    """The number of an ioctl, given as a number, by one name or several, or by its macro."""
    second = arguments.partition(b",")[2].lstrip()[:400]
    if (plain := number(second)) is not None:
        return plain
    if found := _IOC.match(second):
        return ord(";") << 8 | int(found[1], 0)
    for name in re.findall(rb"VFIO_\w{1,60}", second):
        if name in _REQUESTS:
            return _REQUESTS[name]
        if name == b"VFIO_DEVICE_PCI_HOT_RESET":
            return _HOT_RESET
    return None
