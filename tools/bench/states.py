# SPDX-License-Identifier: GPL-2.0-only
"""Cases of whole states: saving and loading by read and write and by a mapping, and the growth with the state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from measuring import Case, Cost, Effort, Row, beside, interleaved, repeated
from table import size_in_words
from targets import Untraced, connected, in_c, migration_of, own_memory, reference
from vfio_compliance.device import Device
from vfio_compliance.device.stream import PIECE, Stream
from vfio_compliance.migration_v1.region import REGION_TYPE
from vfio_compliance.transport import VfioUser
from vfio_compliance.uapi.migration_v1 import DeviceState

#: Sizes of states in bytes, and those that show the growth; half of each of the latter is saved in pre-copy.
_SIZES = (1 << 20, 64 << 20, 1 << 30)
_GROWTH = (1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30, 4 << 30)

#: The largest ratio of the time for a large state with a trace to that without one.
_AIM = 1.1
_LARGE = 64 << 20

#: Bytes of the data section, and of a buffer.
_SECTION = 16 << 20


class _Moved(NamedTuple):
    """The cost of saving and loading a state."""

    saved: Cost
    loaded: Cost


def cases(effort: Effort, largest: int) -> list[Case]:
    """All of them, with states of at most ``largest`` bytes."""
    return [
        *(
            Case(f"saving and loading {size_in_words(size)} by {way}", partial(_both_ways, effort, size, way))
            for size in _SIZES
            if size <= largest
            for way in ("read-write", "mmap")
        ),
        *(
            Case(f"growth with the state: {size_in_words(size)}", partial(_grown, effort, size))
            for size in _GROWTH
            if size <= largest
        ),
    ]


def _options(memory: int, *, live: bool) -> tuple[str, ...]:
    section = min(_SECTION, max(memory, PIECE))
    pre_copy = "data" if live else "none"
    return (f"--memory={memory}", f"--buffer={section}", f"--section={section}", f"--pre-copy={pre_copy}")


def _move(device: Device, *, mapped: bool, live: bool) -> _Moved:
    """Saves a state, from pre-copy on if ``live``, and loads it again. Afterwards the device is as after a reset."""
    migration = migration_of(device)
    migration.mapped = mapped
    stream = Stream()

    def save() -> None:
        if live:
            migration.enter(DeviceState.PRE_COPY)
            migration.save(stream)
            migration.enter(DeviceState.STOP_AND_COPY)
        migration.save(stream)

    if not live:
        migration.enter(DeviceState.STOP_AND_COPY)
    saved = repeated(save, 1)
    migration.enter(DeviceState.STOP)
    device.reset()
    migration.enter(DeviceState.RESUMING)
    loaded = repeated(partial(migration.load, stream), 1)
    migration.enter(DeviceState.RUNNING)
    device.reset()
    device.transport.tracer.take()  # as a run does
    return _Moved(saved, loaded)


def _both_ways(effort: Effort, size: int, way: str) -> Sequence[Row]:
    moved, more = _measured(effort, _options(size, live=False), way, live=False)
    rows = []
    for verb, part in (("saving", 0), ("loading", 1)):
        costs = {name: [each[part] for each in all_of_it] for name, all_of_it in moved.items()}
        name = f"{verb} {size_in_words(size)} by {way}"
        rows += [
            beside(name, costs, "traced", "untraced", aim=_AIM if size >= _LARGE else None),
            beside(name, costs, "traced", "C", note=f"{more} MiB of memory" if part else ""),
        ]
    return rows


def _grown(effort: Effort, size: int) -> Sequence[Row]:
    moved, more = _measured(effort, _options(size // 2, live=True), "read-write", live=True)
    costs = {name: [_sum(*each) for each in all_of_it] for name, all_of_it in moved.items()}
    name = f"growth with the state: {size_in_words(size)}, live"
    ours = sorted(cost.wall for cost in costs["traced"])
    each = ours[len(ours) // 2] / (size >> 20)
    return [beside(name, costs, "traced", "C", note=f"{each * 1e3:.2f} ms for each MiB, {more} MiB of memory")]


def _sum(one: Cost, other: Cost) -> Cost:
    return Cost(one.wall + other.wall, one.cpu + other.cpu)


def _measured(effort: Effort, options: tuple[str, ...], way: str, *, live: bool) -> tuple[dict[str, list[_Moved]], int]:
    """Rounds of each way, and the MiB of memory that they used in addition."""
    idle = own_memory()
    most = idle
    found: dict[str, list[_Moved]] = {}

    def ours(socket: Path, name: str, kind: type[VfioUser]) -> Cost:
        nonlocal most
        with connected(socket, kind) as device:
            moved = _move(device, mapped=way == "mmap", live=live)
            most = max(most, own_memory())
        return kept(name, moved)

    def kept(name: str, moved: _Moved) -> Cost:
        found.setdefault(name, []).append(moved)
        return _sum(*moved)

    with reference(*options) as socket:
        with connected(socket) as device:
            index = device.regions_of_type(REGION_TYPE)[0].index
        rounds = interleaved(
            {
                "traced": lambda: ours(socket, "traced", VfioUser),
                "untraced": lambda: ours(socket, "untraced", Untraced),
                "C": lambda: kept(
                    "C", _Moved(*in_c("client", socket, way, index, PIECE, "live" if live else "stopped"))
                ),
            },
            effort,
        )
    # The warm-up was also kept, and comes first.
    return {name: each[-len(rounds[name]) :] for name, each in found.items()}, (most - idle) >> 10
