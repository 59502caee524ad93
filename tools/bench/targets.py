# SPDX-License-Identifier: GPL-2.0-only
"""The targets of measurements: the reference driver, the C programs with the same calls, and our own processes."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from measuring import Cost
from vfio_compliance.device import Device
from vfio_compliance.migration_v1.region import REGION_TYPE, MigrationRegion
from vfio_compliance.results import inflight
from vfio_compliance.results.inflight import Inflight
from vfio_compliance.transport import Argument, Outcome, Target, VfioUser, VfioUserSettings

PROJECT = Path(__file__).resolve().parents[2]
_SOURCES = Path(__file__).resolve().parent / "c"

#: This program, as a command.
OURS = (sys.executable, "-m", "vfio_compliance")

#: The programs of this checkout are run, whatever is installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT / "tools")}

_PROGRAMS = tempfile.TemporaryDirectory(prefix="bench-")

#: Seconds between two readings of the memory of processes.
_LOOK = 0.1


class Untraced(VfioUser):
    """A transport whose verbs are not traced."""

    read = VfioUser._read
    write = VfioUser._write

    def ioctl(self, target: Target, request: int, argument: Argument = None) -> Outcome:
        """The untraced request."""
        return self._ioctl(target, request, argument)

    def seen(self, verb: str, region: int, offset: int, data: bytes, sent: bytes = b"") -> None:
        """Does nothing."""


@contextmanager
def reference(*options: str) -> Iterator[Path]:
    """The socket of a reference driver started with these options; it serves one client after another."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder, "socket"), *options) as path:
        yield path


@contextmanager
def serving(path: Path, *options: str) -> Iterator[Path]:
    """The reference driver with these options, listening."""
    with started([sys.executable, "-m", "refdriver", f"--socket-path={path}", *options], path):
        yield path


@contextmanager
def connected(path: Path, kind: type[VfioUser] = VfioUser) -> Iterator[Device]:
    """A device opened on a server, traced as in a run: each call is first noted for the watching process."""
    device = Device(kind(VfioUserSettings(str(path), None, call_deadline=60, start_deadline=30)))
    descriptor = inflight.create()
    device.transport.tracer.on_begin = Inflight(descriptor).begin
    try:
        device.open()
        yield device
    finally:
        device.transport.shutdown()
        inflight.close(descriptor)


def migration_of(device: Device, most: int = 1 << 33) -> MigrationRegion:
    """The migration region of an open device with a state of at most ``most`` bytes."""
    return MigrationRegion(device.regions_of_type(REGION_TYPE)[0], most)


@contextmanager
def started(command: Sequence[str], path: Path) -> Iterator[None]:
    """A program that listens on the socket at ``path`` until the block ends. Raises RuntimeError if it does not."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        try:
            end = time.monotonic() + 30
            while not _listens(path):
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"{' '.join(command)} does not listen on {path}")
                time.sleep(0.01)
            yield
        finally:
            process.terminate()


def _listens(path: Path) -> bool:
    """Whether a connection is accepted there; it is closed at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


@cache
def _compiled(name: str) -> Path:
    program = Path(_PROGRAMS.name, name)
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, _SOURCES / f"{name}.c"], check=True)
    return program


def c_program(name: str, *words: object) -> list[str]:
    """The command of a C program, which is compiled first. Raises CalledProcessError if that fails."""
    return [str(_compiled(name)), *map(str, words)]


def in_c(name: str, *words: object, pass_fds: Sequence[int] = ()) -> list[Cost]:
    """The measurements of a C program, line by line. Raises CalledProcessError if it fails."""
    ran = subprocess.run(c_program(name, *words), check=True, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds)
    return [Cost(*map(float, line.split())) for line in ran.stdout.splitlines()]


def of_process(command: Sequence[str]) -> Cost:
    """The cost of a command and all processes that it started. Raises RuntimeError if it fails."""
    return of_processes([command])[0]


def of_processes(commands: Sequence[Sequence[str]], *, watched: bool = False) -> tuple[Cost, int]:
    """The cost of commands run at the same time, and the most KiB of memory that they used together, if ``watched``.

    Raises RuntimeError if one fails.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    quiet = subprocess.DEVNULL
    running = [
        subprocess.Popen(each, cwd=PROJECT, env=ENVIRONMENT, stdin=quiet, stdout=quiet, stderr=quiet)
        for each in commands
    ]
    peak, ended = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not ended.wait(_LOOK):
            peak = max(peak, sum(_memory(pid) for process in running for pid in _family(process.pid)))

    watcher = threading.Thread(target=look)
    if watched:
        watcher.start()
    try:
        for process in running:
            process.wait()
    finally:
        ended.set()
        if watched:
            watcher.join()
    if failed := [process for process in running if process.returncode]:
        raise RuntimeError(f"exit code {failed[0].returncode} of {failed[0].args!r}")
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), peak


def _family(pid: int) -> Iterator[int]:
    """A process and all processes that it started."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _text(children).split():
            yield from _family(int(child))


def _memory(pid: int) -> int:
    """KiB that a process uses, including its part of shared memory."""
    for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def own_memory() -> int:
    """KiB that this process uses."""
    return _memory(os.getpid())


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process is gone
        return ""
