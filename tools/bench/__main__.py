# SPDX-License-Identifier: GPL-2.0-only
"""What a run costs: a register access beside a C loop that makes the same one, and a whole certify run.

Run it on a machine that is otherwise idle: ``tox run -e bench``. Nothing here passes or fails.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        register_access(Path(folder))
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


def nanoseconds(way: Callable[[], object], transport: VfioUser) -> float:
    """Time of one call, averaged over a round; the trace is thrown away."""
    begin = time.perf_counter_ns()
    for _ in range(READS):
        way()
    spent = time.perf_counter_ns() - begin
    transport.tracer.take()
    return spent / READS


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
