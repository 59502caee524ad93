# SPDX-License-Identifier: GPL-2.0-only
"""How much memory a run maps at once, which a driver may have to lock: `doctor` compares it with a limit."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from vfio_compliance.common.calls import Call, Calls
from vfio_compliance.dirty_type1.guest_memory import _LARGE
from vfio_compliance.dirty_type1.interface import DirtyType1
from vfio_compliance.results import journal, summary
from vfio_compliance.uapi.type1 import VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA

_RANGE = {VFIO_IOMMU_MAP_DMA: struct.Struct("<16xQQ"), VFIO_IOMMU_UNMAP_DMA: struct.Struct("<8xQQ")}


def calls(path: Path) -> Iterator[Call]:
    """All calls of a run, in order."""
    for line in journal.read(path):
        assert isinstance(line, journal.Recorded)
        for name in getattr(line.event, "__slots__", ()):
            if isinstance(value := getattr(line.event, name), Calls):
                yield from value


def most_mapped(made: Iterator[Call]) -> int:
    """The most bytes mapped at once, without huge mappings, for which a machine may be too small: they are alone."""
    mapped: dict[int, int] = {}
    most = 0
    for call in made:
        if call.verb in ("open", "close"):
            mapped.clear()
        elif call.verb == "ioctl" and call.number in _RANGE and call.value >= 0:
            start, size = _RANGE[call.number].unpack_from(call.sent)
            if call.number == VFIO_IOMMU_MAP_DMA:
                mapped[start] = size if size < _LARGE else 0
                most = max(most, sum(mapped.values()))
            else:
                mapped = {at: each for at, each in mapped.items() if not start <= at < start + size}
    return most


def test_run_locks_as_much_as_doctor_says(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path
) -> None:
    """Not more, and not much less: `doctor` does not reject a limit that suffices."""
    judge_in_process(project / "profiles/reference.yaml", tmp_path, "--only=dirty.bitmap", "--only=dirty.history")
    most = most_mapped(calls(tmp_path / journal.NAME))
    assert DirtyType1.locks / 4 < most <= DirtyType1.locks
