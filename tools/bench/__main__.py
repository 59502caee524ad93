# SPDX-License-Identifier: GPL-2.0-only
"""What a run costs: accesses and whole states beside a C program that makes the same calls; the recorder; a whole run.

Run it on a machine that is otherwise idle: ``tox run -e bench``. Nothing here passes or fails.
"""

from __future__ import annotations

import mmap
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cffi

from vfio_compliance.device import Device, DirtyTracker
from vfio_compliance.device.dma import IOVA
from vfio_compliance.dirty_type1.pages import Pages, compare
from vfio_compliance.migration_v1.region import REGION_TYPE, MigrationRegion
from vfio_compliance.results import inflight, journal
from vfio_compliance.results.inflight import Inflight
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.writers import FORMATS
from vfio_compliance.transport import GuardedBuffer, Transport, VfioUser, VfioUserSettings
from vfio_compliance.uapi.migration_v1 import DEVICE_STATE, DeviceState
from vfio_compliance.uapi.type1 import bitmap_bytes

PROJECT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

READS = 20_000
ROUNDS = 5

#: The large state: its size, and the bytes that a single call moves.
STATE = 1 << 30
PIECE = 1 << 20


def main() -> None:
    """Print all tables."""
    with tempfile.TemporaryDirectory() as folder:
        client = Path(folder, "client")
        subprocess.run(["cc", "-O2", "-Wall", "-o", client, HERE / "client.c"], check=True)
        register_access(client)
        bitmap_fetch(client)
        full_bitmap()
        large_state(client)
        journeys()
        through_proxy(Path(folder))
        importing(Path(folder))
        certify(Path(folder))
        reporting(Path(folder, "run0"))


class Untraced(VfioUser):
    """A transport whose verbs are their bare twins."""

    read = VfioUser._read
    write = VfioUser._write
    ioctl = VfioUser._ioctl


@contextmanager
def reference(*options: str, kind: type[VfioUser] = VfioUser) -> Iterator[tuple[Device, str]]:
    """A device that is open on the reference driver, and the driver's socket."""
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/socket"
        transport = kind(
            VfioUserSettings(
                socket=socket,
                command=("{python}", "-m", "refdriver", "--socket-path={socket}", *options),
                call_deadline=30,
                start_deadline=30,
            )
        )
        device = Device(transport)
        device.open()
        try:
            yield device, socket
        finally:
            transport.shutdown()


def in_c(client: Path, socket: str, *words: str | int) -> list[float]:
    """What the C program prints."""
    command = [str(client), socket, *map(str, words)]
    return [float(word) for word in subprocess.run(command, check=True, capture_output=True).stdout.split()]


def register_access(client: Path) -> None:
    """The best of a few rounds for each way of reading device_state from the same server."""
    with reference() as (device, socket):
        transport = device.transport
        migration = MigrationRegion(device.regions_of_type(REGION_TYPE)[0], STATE)
        index, (_, offset, width) = migration.region.index, DEVICE_STATE
        ways: dict[str, Callable[[], object]] = {
            "the bare transport": lambda: transport._read(index, offset, width),
            "the same, traced": lambda: transport.read(index, offset, width),
            "MigrationRegion.state()": migration.state,
        }
        best = {name: min(nanoseconds(way, transport) for _ in range(ROUNDS)) for name, way in ways.items()}
        device.close()
        floor = min(in_c(client, socket, "read", index, READS)[0] for _ in range(ROUNDS))
    print(f"reading device_state over vfio-user, best of {ROUNDS} x {READS}")
    for name, each in {"C loop": floor, **best}.items():
        print(f"  {name:28}{each / 1000:8.1f} us   {each / floor:5.2f} x C")
    print(f"  traced / bare {best['the same, traced'] / best['the bare transport']:.2f}")


def bitmap_fetch(client: Path) -> None:
    """Dirty bitmaps of 16 MiB and of 4 GiB of memory, fetched over vfio-user into the same memory again and again."""
    print(f"fetching a dirty bitmap over vfio-user, best of {ROUNDS}")
    with reference() as (device, socket):
        transport, tracker = device.transport, DirtyTracker(device.transport)
        for pages, times in ((1 << 12, READS), (1 << 20, READS // 10)):
            ours, theirs = [], []
            for _ in range(ROUNDS):
                tracker.try_start()
                with GuardedBuffer(bitmap_bytes(pages)) as into:
                    fetch = partial(tracker.try_fetch, into, IOVA, pages * 4096, 4096)
                    assert fetch().ok
                    ours.append(nanoseconds(fetch, transport, times))
                device.close()
                theirs.append(in_c(client, socket, "bitmap", pages, times)[0])
                device.open()
            best, floor = min(ours), min(theirs)
            rates = f"C loop {floor / 1000:6.1f} us, ours {best / 1000:6.1f} us"
            print(f"  {pages:8} pages: {rates}   {best / floor:5.2f} x C")


def full_bitmap() -> None:
    """The largest bitmap that Linux admits, all of it set, judged; beside memcmp of as much memory."""
    size = 1 << 28
    c: Any = cffi.FFI()
    c.cdef("int memcmp(const void *, const void *, size_t);")
    with mmap.mmap(-1, size) as bitmap:
        bitmap.write(b"\xff" * size)
        with memoryview(bitmap) as view:
            idle, every = memory(os.getpid()), Pages.run(0, 8 * size)
            ours = min(_seconds(partial(compare, view, every, Pages())) for _ in range(ROUNDS))
            peak = memory(os.getpid())
        with mmap.mmap(-1, size) as other, c.from_buffer(bitmap) as one, c.from_buffer(other) as two:
            other.write(b"\xff" * size)
            compared = min(_seconds(partial(c.dlopen(None).memcmp, one, two, size)) for _ in range(ROUNDS))
    print(f"judging a full bitmap of {size >> 20} MiB, best of {ROUNDS}")
    rates = f"memcmp {size / compared / 1e9:.1f} GB/s, compare() {size / ours / 1e9:.1f} GB/s"
    print(f"  {rates}   {compared / ours:.2f} of it")
    print(f"  memory {1 + (peak - idle) * 1024 / size:.3f} times the bitmap")


def _seconds(way: Callable[[], object]) -> float:
    begin = time.perf_counter()
    way()
    return time.perf_counter() - begin


def through_proxy(folder: Path) -> None:
    """A register access and a large read with the recorder in between, beside the same without."""
    there, here = folder / "there", folder / "here"
    server = [sys.executable, "-m", "refdriver", f"--socket-path={there}"]
    recorder = [sys.executable, "-m", "vfio_compliance", "proxy", "--listen", str(here), "--connect", str(there)]
    recorder += ["--trace", str(folder / "trace")]
    with subprocess.Popen(server) as served, subprocess.Popen(recorder, stderr=subprocess.PIPE) as recording:
        try:
            assert recording.stderr is not None
            recording.stderr.readline()  # it listens
            while not there.exists():
                time.sleep(0.01)
            small, large = (dict(zip(("direct", "recorded"), times, strict=True)) for times in _both_ways(there, here))
        finally:
            recording.terminate()
            served.terminate()
    print(f"a vfio-user server, direct and through vfio-compliance proxy, best of {ROUNDS}")
    for what, times in (("reading device_state", small), ("reading 64 KiB of memory", large)):
        direct, recorded = times["direct"], times["recorded"]
        print(f"  {what:28}{direct / 1000:8.1f} us {recorded / 1000:8.1f} us   {recorded / direct:5.2f} x")


def _both_ways(*sockets: Path) -> tuple[list[float], list[float]]:
    """Nanoseconds of a small and of a large read over each of these sockets, one after the other."""
    small, large = [], []
    for socket in sockets:
        transport = VfioUser(VfioUserSettings(str(socket), None, call_deadline=5, start_deadline=5))
        device = Device(transport)
        device.open()
        migration = MigrationRegion(device.regions_of_type(REGION_TYPE)[0], STATE)
        small.append(min(nanoseconds(migration.state, transport) for _ in range(ROUNDS)))
        read_memory = partial(device.region(2).read_bytes, 0, 1 << 16)
        large.append(min(nanoseconds(read_memory, transport, 1000) for _ in range(ROUNDS)))
        device.close()
    return small, large


def nanoseconds(way: Callable[[], object], transport: Transport, times: int = READS) -> float:
    """Time of one call, averaged over a round; the trace is thrown away."""
    begin = time.perf_counter_ns()
    for _ in range(times):
        way()
    spent = time.perf_counter_ns() - begin
    transport.tracer.forget()
    return spent / times


def importing(folder: Path) -> None:
    """A trace made of 100 MiB of strace, beside a C loop that reads its lines: as a client makes it, and at worst."""
    reader = folder / "lines"
    subprocess.run(["cc", "-O2", "-Wall", "-o", reader, HERE / "lines.c"], check=True)
    access = rb'100 1795920237.026007 pread64(14, "\x19\x00\x01\x00\x00\x00\x00\x00", 8, 9895604649992) = 8 <0.000019>'
    other = (
        b"101 1795920237.026043 futex(0x558a6d1d0e08, FUTEX_WAKE_PRIVATE, 1) = 0 <0.000011>",
        rb'101 1795920237.026052 read(5, "\x02\x00\x00\x00\x00\x00\x00\x00", 16) = 8 <0.000011>',
        b"102 1795920237.026099 ioctl(18, KVM_RUN, 0) = 0 <0.000311>",
    )
    opened = (
        b'100 1795920226.100000 openat(AT_FDCWD, "/dev/vfio/14", O_RDWR) = 12 <0.000020>',
        b"100 1795920226.200000 ioctl(12, VFIO_GROUP_GET_DEVICE_FD, 0x558a6e4d9230) = 14 <0.000020>",
        rb'100 1795920226.300000 pwrite64(14, "\x03\x00\x00\x00", 4, 9895604649984) = 4 <0.000020>',
    )
    print("importing 100 MiB of strace, processor time")
    for what, lines in (("one access in ten lines", (access, *other * 3)), ("accesses alone", (access,))):
        text, trace = folder / "strace", folder / "imported"
        piece = b"\n".join((*lines, b""))
        with text.open("wb") as file:
            file.write(b"\n".join((*opened, b"")))
            for _ in range((100 << 20) // len(piece)):
                file.write(piece)
        trace.unlink(missing_ok=True)
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([reader, text], check=True, stdout=subprocess.DEVNULL)
        floor = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "vfio_compliance", "import", "strace", str(text), "--trace", str(trace)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            peak = 0
            while process.poll() is None:
                peak = max(peak, memory(process.pid))
                time.sleep(0.2)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        loop, ours = (_spent(ended) - _spent(began) for began, ended in ((began, floor), (floor, ended)))
        print(f"  {what:28}C loop {loop:6.2f} s, ours {ours:6.2f} s   {ours / loop:6.1f} x C   {peak / 1024:.0f} MiB")
        assert process.returncode == 0


def _spent(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def large_state(client: Path) -> None:
    """Saving and loading a large state, by read and write and through mmap; both sides keep it in a temporary file."""
    options = (f"--memory={STATE}", "--buffer=16777216", "--section=16777216", "--pre-copy=none")
    print(f"moving a state of {STATE >> 20} MiB, {PIECE >> 20} MiB a call, best of {ROUNDS}; MiB/s saving, loading")
    with reference(*options) as (device, socket):
        index = device.regions_of_type(REGION_TYPE)[0].index
        idle = memory(os.getpid())
        for way in ("read-write", "mmap"):
            ours, peaks, theirs = [], [], []
            for _ in range(ROUNDS):  # in turn, so that what else the machine does hits both
                ours.append(move(device, way == "mmap"))
                peaks.append(memory(os.getpid()))
                device.close()
                theirs.append(in_c(client, socket, way, index, PIECE)[1:])
                device.open()
            for number, name in ((0, "saving"), (1, "loading")):
                best = min(each[number] for each in ours)
                floor = min(each[number] for each in theirs)
                rates = f"{STATE / best / 2**20:8.0f} MiB/s, C {STATE / floor / 2**20:8.0f} MiB/s"
                print(f"  {way:12}{name:9}{rates}   {floor / best:5.2f} of C")
            print(f"  {way:12}memory   {(max(peaks) - idle) / 1024:8.0f} MiB above idle")


def move(device: Device, mapped: bool) -> tuple[float, float]:
    """Seconds that saving and loading took."""
    migration = MigrationRegion(device.regions_of_type(REGION_TYPE)[0], 2 * STATE)
    migration.mapped = mapped
    migration.enter(DeviceState.STOP_AND_COPY)
    begin = time.monotonic()
    stream = migration.save()
    saved = time.monotonic() - begin
    migration.enter(DeviceState.STOP)
    device.reset()
    migration.enter(DeviceState.RESUMING)
    begin = time.monotonic()
    migration.load(stream)
    loaded = time.monotonic() - begin
    migration.enter(DeviceState.RUNNING)
    device.reset()
    device.transport.tracer.forget()
    return saved, loaded


def journeys() -> None:
    """A state saved and restored with all that a run records of it, beside the same with no record of anything."""
    print(f"a journey, its state saved and restored, traced as in a run and not at all, best of {ROUNDS}")
    large = ("--memory=268435456", "--buffer=16777216", "--section=16777216", "--pre-copy=none")
    for what, options, times in (("of a state of 256 MiB", large, 1), ("of the default state", (), 100)):
        with reference(*options) as (traced, _), reference(*options, kind=Untraced) as (bare, _):
            tracer = traced.transport.tracer
            tracer.on_begin = Inflight(inflight.create()).begin
            rounds = [[seconds(device, times) for device in (traced, bare)] for _ in range(ROUNDS)]
        with_trace, without = map(min, zip(*rounds, strict=True))
        print(f"  {what:28}{with_trace * 1e3:8.1f} ms {without * 1e3:8.1f} ms   {with_trace / without:5.2f} x")


def seconds(device: Device, times: int) -> float:
    """Time of one journey by read and write, averaged; what was recorded is taken at its end, as a run does."""
    begin = time.monotonic()
    for _ in range(times):
        move(device, False)
    return (time.monotonic() - begin) / times


def certify(folder: Path) -> None:
    """A run of all rules on the reference driver: time, calls, and memory of all its processes together."""
    print("certify, all rules on the reference driver")
    for number in range(ROUNDS):
        out = folder / f"run{number}"
        begin = time.monotonic()
        command = [sys.executable, "-m", "vfio_compliance", "run", "profiles/reference.yaml", "--out", str(out)]
        with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL) as process:
            peak = 0
            while process.poll() is None:
                peak = max(peak, sum(map(memory, family(process.pid))))
                time.sleep(0.02)
        wall = time.monotonic() - begin
        result = summarise(journal.read(out / journal.NAME))
        totals = result.totals
        print(
            f"  {wall:.2f} s, {len(result.verdicts)} rules, {len(result.cases)} cases, {totals['calls']} calls, "
            f"{totals['opens']} opens, {totals['resets']} resets, {peak / 1024:.0f} MiB, exit {process.returncode}"
        )


def reporting(run: Path) -> None:
    """The reports of a whole run in each format, and its comparison with itself."""
    print("reports of a whole run, processor time")
    for words in (*(("report", run, "--format", name) for name in FORMATS), ("diff", run, run)):
        spent = []
        for _ in range(ROUNDS):
            began = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-m", "vfio_compliance", *words], stdout=subprocess.DEVNULL)
            spent.append(_spent(resource.getrusage(resource.RUSAGE_CHILDREN)) - _spent(began))
        print(f"  {words[0]} {words[-1] if words[0] == 'report' else '':10}{min(spent):.2f} to {max(spent):.2f} s")


def family(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _text(children).split():
            yield from family(int(child))


def memory(pid: int) -> int:
    """KiB that a process takes, its part of what it shares included."""
    for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process is gone
        return ""


if __name__ == "__main__":
    main()
