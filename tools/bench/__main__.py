# SPDX-License-Identifier: GPL-2.0-only
"""What a run costs: a register access beside a C loop that makes the same one, the recorder, a whole certify run.

Run it on a machine that is otherwise idle: ``tox run -e bench``. Nothing here passes or fails.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from vfio_compliance.device import Device, MigrationRegion
from vfio_compliance.results import journal, summary
from vfio_compliance.transport import VfioUser, VfioUserSettings
from vfio_compliance.uapi.migration_v1 import DEVICE_STATE

PROJECT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

READS = 20_000
ROUNDS = 5


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        register_access(Path(folder))
        through_proxy(Path(folder))
        certify(Path(folder))


def register_access(folder: Path) -> None:
    """The best of a few rounds for each way of reading device_state from the same server."""
    program, socket = folder / "region_read", folder / "socket"
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, HERE / "region_read.c"], check=True)
    settings = VfioUserSettings(
        socket=str(socket),
        command=("{python}", "-m", "refdriver", "--socket-path={socket}"),
        call_deadline=5,
        start_deadline=5,
    )
    transport = VfioUser(settings)
    device = Device(transport)
    device.open()
    try:
        migration = MigrationRegion(device.migration_regions()[0])
        index, (_, offset, width) = migration.region.index, DEVICE_STATE
        ways: dict[str, Callable[[], object]] = {
            "the bare transport": lambda: transport._read(index, offset, width),
            "the same, traced": lambda: transport.read(index, offset, width),
            "MigrationRegion.state()": migration.state,
        }
        best = {name: min(nanoseconds(way, transport) for _ in range(ROUNDS)) for name, way in ways.items()}
        device.close()
        command = [program, socket, str(index), str(READS)]
        in_c = min(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS))
    finally:
        transport.shutdown()
    print(f"reading device_state over vfio-user, best of {ROUNDS} x {READS}")
    for name, each in {"C loop": in_c, **best}.items():
        print(f"  {name:28}{each / 1000:8.1f} us   {each / in_c:5.2f} x C")
    print(f"  traced / bare {best['the same, traced'] / best['the bare transport']:.2f}")


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
        migration = MigrationRegion(device.migration_regions()[0])
        small.append(min(nanoseconds(migration.state, transport) for _ in range(ROUNDS)))
        read_memory = partial(device.region(2).read_bytes, 0, 1 << 16)
        large.append(min(nanoseconds(read_memory, transport, 1000) for _ in range(ROUNDS)))
        device.close()
    return small, large


def nanoseconds(way: Callable[[], object], transport: VfioUser, times: int = READS) -> float:
    """Time of one call, averaged over a round; the trace is thrown away."""
    begin = time.perf_counter_ns()
    for _ in range(times):
        way()
    spent = time.perf_counter_ns() - begin
    transport.tracer.take()
    return spent / times


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
        result = summary.summarise(journal.read(out / journal.NAME))
        totals = result.totals
        print(
            f"  {wall:.2f} s, {len(result.verdicts)} rules, {len(result.cases)} cases, {totals['calls']} calls, "
            f"{totals['opens']} opens, {totals['resets']} resets, {peak / 1024:.0f} MiB, exit {process.returncode}"
        )


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
