# SPDX-License-Identifier: GPL-2.0-only
"""A real migration: QEMU 7.2 moves the reference module's state to a second device, on Linux 6.1.

Each end was recorded by strace and by QEMU's own events at the same time, once with data through mappings and once
without (``x-no-mmap=on``). samples/ has these files; only lines about VFIO were kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.clients.command import judge_files
from vfio_compliance.clients.importers.command import import_qemu, import_strace
from vfio_compliance.clients.trace import Reader
from vfio_compliance.clients.verdict import Result

SAMPLES = Path(__file__).parent / "samples"
IMPORTS = {"strace": import_strace, "log": import_qemu}
CASES = [pytest.param(way, kind, id=f"{way}-{kind}") for way in ("mapped", "trapped") for kind in IMPORTS]

#: Clauses of a client that saves and of one that restores, by way and kind: those kept, and those unclear.
SAVING = {
    ("mapped", "strace"): (
        {"DS-15", "FLD-06", "SAV-02", "SAV-11", "SAV-13"},
        {"FLD-04", "SAV-11", "UNM-02", "UNM-03", "DRT-06", "DRT-08", "DRT-12"},
    ),
    ("mapped", "log"): (
        {"FLD-06", "SAV-02", "SAV-11", "SAV-13", "DRT-06", "DRT-12"},
        {"DS-07", "DS-15", "FLD-04", "SAV-11", "UNM-02", "UNM-03", "DRT-08"},
    ),
    ("trapped", "strace"): (
        {"DS-15", "FLD-04", "FLD-06", "SAV-02", "SAV-11", "SAV-13"},
        {"UNM-02", "UNM-03", "DRT-06", "DRT-08", "DRT-12"},
    ),
    ("trapped", "log"): (
        {"FLD-04", "FLD-06", "SAV-02", "SAV-11", "SAV-13", "DRT-06", "DRT-12"},
        {"DS-07", "DS-15", "UNM-02", "UNM-03", "DRT-08"},
    ),
}
RESTORING = {
    ("mapped", "strace"): (
        {"DS-15", "TR-04a", "RSM-06"},
        {"FLD-04", "FLD-06", "RSM-05", "RSM-07", "UNM-02", "UNM-03"},
    ),
    ("mapped", "log"): (
        {"TR-04a", "RSM-06"},
        {"DS-07", "DS-15", "FLD-04", "FLD-06", "RSM-05", "RSM-07", "UNM-02", "UNM-03"},
    ),
    ("trapped", "strace"): (
        {"DS-15", "TR-04a", "FLD-04", "FLD-06", "RSM-05", "RSM-06", "RSM-07"},
        {"UNM-02", "UNM-03"},
    ),
    ("trapped", "log"): (
        {"TR-04a", "FLD-04", "FLD-06", "RSM-06"},
        {"DS-07", "DS-15", "RSM-05", "RSM-07", "UNM-02", "UNM-03"},
    ),
}


@pytest.fixture
def traces(tmp_path: Path) -> Callable[[str, str], tuple[Path, Path]]:
    """The traces of both ends."""

    def make(way: str, kind: str) -> tuple[Path, Path]:
        made = tmp_path / "source", tmp_path / "target"
        for end in made:
            IMPORTS[kind](SAMPLES / f"{way}-{end.name}.{kind}", end)
        return made

    return make


def verdicts(result: Result) -> tuple[set[str], set[str]]:
    """The clauses that were kept, and those that were unclear."""
    assert not result.broken.total()
    assert not result.damage
    return {each for each, times in result.kept.items() if times}, {
        each for each in result.unclear if result.unclear[each]
    }


@pytest.mark.parametrize(("way", "kind"), CASES)
def test_a_good_client_breaks_no_clause(traces: Callable[[str, str], tuple[Path, Path]], way: str, kind: str) -> None:
    """If the evidence suffices, a clause is kept; the others are unclear."""
    source, target = traces(way, kind)
    assert verdicts(judge_files(source)) == SAVING[way, kind]
    assert verdicts(judge_files(target, source)) == RESTORING[way, kind]


@pytest.mark.parametrize("end", [0, 1], ids=["source", "target"])
@pytest.mark.parametrize("way", ["mapped", "trapped"])
def test_both_records_agree(
    traces: Callable[[str, str], tuple[Path, Path]], tmp_path: Path, way: str, end: int
) -> None:
    """On the value of a register, if both have it; and neither has an access that the other lacks."""

    def accesses(path: Path) -> list[tuple[Any, ...]]:
        records = [each for each in Reader(path) if each.verb in ("read", "write", "map", "reset", "open")]
        return [
            (each.verb, each.offset, each.data)
            for each in records
            if (each.region in (-1, 9) and each.offset < 0x1000) or each.verb == "map"
        ]

    theirs = accesses(traces(way, "strace")[end])
    for each in tmp_path.iterdir():
        each.unlink()
    ours = accesses(traces(way, "log")[end])
    assert [each[:2] for each in ours] == [each[:2] for each in theirs]
    assert all(data == own for (_, _, own), (_, _, data) in zip(ours, theirs, strict=True) if own)
    assert sum(bool(data) for _, _, data in ours) > 10


@pytest.mark.parametrize(("way", "kind"), CASES)
def test_nothing_is_missing(traces: Callable[[str, str], tuple[Path, Path]], way: str, kind: str) -> None:
    """All lines are understood, so no gap is recorded."""
    for each in traces(way, kind):
        counts = Counter(record.verb for record in Reader(each))
        assert counts["gap"] == 0
        assert (counts["open"], counts["reset"], counts["region"] > 0) == (1, 1, True)
