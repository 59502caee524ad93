# SPDX-License-Identifier: GPL-2.0-only
"""Writes system calls as strace does, with any of its options: the same calls in another form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Fd(NamedTuple):
    """A descriptor, and the path of its file."""

    number: int
    path: str


class Named(NamedTuple):
    """A number that has a name."""

    name: str
    number: int


class Data(NamedTuple):
    """A string, cut to its first ``shown`` bytes."""

    data: bytes
    shown: int | None = None


class Call(NamedTuple):
    """One finished call."""

    pid: int
    name: str
    arguments: tuple[Any, ...]
    result: str = "0"


CONTAINER, GROUP, DEVICE = Fd(13, "/dev/vfio/vfio"), Fd(12, "/dev/vfio/14"), Fd(14, "anon_inode:[vfio-device]")
OPEN_FLAGS = Named("O_RDWR|O_CLOEXEC", 0o2000002)
AT = Named("AT_FDCWD", -100)
PLACE = 9 << 40


def request(name: str, number: int) -> Named:
    """An ioctl's request."""
    return Named(name, ord(";") << 8 | number)


RESET = request("VFIO_DEVICE_RESET", 111)
GET_DEVICE_FD = request("VFIO_GROUP_GET_DEVICE_FD", 106)
DIRTY_PAGES = request("VFIO_DEVICE_FEATURE or VFIO_IOMMU_DIRTY_PAGES or VFIO_IOMMU_SPAPR_REGISTER_MEMORY", 117)


def opened(pid: int = 100, device: Fd = DEVICE) -> list[Call]:
    """A client opens a container, a group and its device."""
    return [
        Call(pid, "openat", (AT, Data(b"/dev/vfio/14"), OPEN_FLAGS), "12"),
        Call(pid, "openat", (AT, Data(b"/dev/vfio/vfio"), OPEN_FLAGS), "13"),
        Call(pid, "ioctl", (GROUP, GET_DEVICE_FD, "0x558a6e4d9230"), f"{device.number}"),
    ]


def access(verb: str, offset: int, data: bytes, *, pid: int = 100, fd: Fd = DEVICE, result: str = "") -> Call:
    """A pread64 or pwrite64 of the migration region."""
    return Call(pid, verb, (fd, Data(data), len(data), PLACE + offset), result or str(len(data)))


def state(value: int, **more: Any) -> list[Call]:
    """A change of device_state, from running."""
    return [
        access("pread64", 0, (1).to_bytes(4, "little"), **more),
        access("pwrite64", 0, value.to_bytes(4, "little"), **more),
    ]


def session(pid: int = 100) -> list[Call]:
    """A client that saves one buffer: three calls to open, and eleven more."""
    return [
        *opened(pid),
        Call(pid, "ioctl", (DEVICE, RESET, 0)),
        *state(2, pid=pid),
        access("pread64", 8, (16).to_bytes(8, "little"), pid=pid),
        access("pread64", 16, (0x1000).to_bytes(8, "little"), pid=pid),
        access("pread64", 24, (16).to_bytes(8, "little"), pid=pid),
        access("pread64", 0x1000, b'a"\\\n\0 b),= 3\x7f\xff\x001', pid=pid),
        access("pread64", 8, bytes(8), pid=pid),
        *state(0, pid=pid),
        Call(pid, "close", (DEVICE,)),
    ]


@dataclass(frozen=True)
class Options:
    """The options of strace."""

    #: "" (no -f), "number" (-f -o), "pid" (-f without -o).
    thread: str = "number"
    #: "", "t", "tt", "ttt", "r".
    time: str = "ttt"
    took: bool = True
    pointer: bool = False
    number: bool = False
    #: 0, 1 (-y), 2 (-yy).
    paths: int = 0
    #: 0, 1 (-x), 2 (-xx).
    hex: int = 2
    #: "abbrev", "raw", "verbose".
    names: str = "abbrev"
    #: Each call is on two lines.
    split: bool = False

    def __str__(self) -> str:
        return "-".join(str(each) for each in vars(self).values())


@dataclass
class Text:
    """The lines that strace writes."""

    options: Options
    lines: list[str] = field(default_factory=list)
    clock: float = 1795920226.0

    def write(self, calls: list[Call]) -> str:
        """Adds these calls; the whole text."""
        for call in calls:
            self.add(call)
        return "".join(f"{line}\n" for line in self.lines)

    def add(self, call: Call) -> None:
        """One call, on a line or two."""
        arguments = ", ".join(self.value(each) for each in call.arguments)
        took = " <0.000020>" if self.options.took else ""
        result = self.returned(call)
        if self.options.split and len(call.arguments) > 1:
            first = self.value(call.arguments[0])
            rest = arguments.removeprefix(f"{first}, ")
            self.line(call.pid, f"{call.name}({first},  <unfinished ...>")
            self.line(call.pid, f"<... {call.name} resumed>{rest}) = {result}{took}")
        else:
            self.line(call.pid, f"{call.name}({arguments})".ljust(39) + f" = {result}{took}")

    def line(self, pid: int, text: str) -> None:
        """Adds a line, after the columns that precede each one."""
        self.clock += 0.25
        thread = {"": "", "number": f"{pid:<5} ", "pid": f"[pid {pid:5}] "}[self.options.thread]
        clock = f"{self.clock:.6f}"
        fraction = clock.partition(".")[2]
        day = int(self.clock) % 86400
        hours = f"{day // 3600:02}:{day // 60 % 60:02}:{day % 60:02}"
        times = {"": "", "t": f"{hours} ", "tt": f"{hours}.{fraction} ", "ttt": f"{clock} ", "r": "     0.250000 "}
        number = "[  17] " if self.options.number else ""
        pointer = "[00007fcefe17ab9a] " if self.options.pointer else ""
        self.lines.append(f"{thread}{times[self.options.time]}{number}{pointer}{text}")

    def value(self, argument: Any) -> str:
        """An argument as strace writes it."""
        match argument:
            case Fd(number, path):
                return f"{number}{self.path(path)}"
            case Named(name, number):
                digits = hex(number) if number >= 0 else str(number)
                return {"abbrev": name, "raw": digits, "verbose": f"{digits} /* {name} */"}[self.options.names]
            case Data(data, shown):
                cut = shown is not None and shown < len(data)
                return f'"{self.escaped(data[:shown])}"{"..." if cut else ""}'
        return str(argument)

    def returned(self, call: Call) -> str:
        """The result of a call; a descriptor has its path."""
        if call.name == "openat" and call.result.isdigit():
            return call.result + self.path(next(e.data.decode() for e in call.arguments if isinstance(e, Data)))
        if GET_DEVICE_FD in call.arguments and call.result.isdigit():
            return call.result + self.path("anon_inode:[vfio-device]")
        return call.result

    def path(self, path: str) -> str:
        """The path that follows a descriptor."""
        if not self.options.paths:
            return ""
        kind = "<char 10:196>" if self.options.paths == 2 and path.startswith("/dev/") else ""
        return f"<{self.escaped(path.encode())}{kind}>"

    def escaped(self, data: bytes) -> str:
        """The bytes of a string, escaped."""
        if self.options.hex == 2 or (self.options.hex == 1 and any(each < 32 or each > 126 for each in data)):
            return "".join(f"\\x{each:02x}" for each in data)
        plain = {ord('"'): '\\"', ord("\\"): "\\\\", 10: "\\n", 9: "\\t", 13: "\\r", 11: "\\v", 12: "\\f"}
        made = ""
        for at, each in enumerate(data):
            following = data[at + 1 : at + 2].isdigit()
            if each in plain:
                made += plain[each]
            elif 32 <= each < 127:
                made += chr(each)
            else:
                made += f"\\{each:03o}" if following else f"\\{each:o}"
        return made
