# SPDX-License-Identifier: GPL-2.0-only
"""QEMU is recorded and judged as a client: by strace if that works, else by its own trace events."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vfio_compliance.qemu import conduct, recording, report
from vfio_compliance.qemu.answer import Findings
from vfio_compliance.qemu.conduct import EVENTS, EVENTS_FILE, STRACE, STRACE_FILE, TRACE_FILE, Conduct, Recording

SAMPLES = Path(__file__).parents[1] / "clients/samples"

#: Both ends of a real migration.
ENDS = [Recording("source-1"), Recording("target-2", "source-1")]

FILES = {STRACE: STRACE_FILE, EVENTS: EVENTS_FILE}

PATIENCE = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Copies the records of a real migration, with mapped or trapped data, to where those of a run would be."""

    def fill(way: str = "mapped") -> Path:
        for end, each in zip(("source", "target"), ENDS, strict=True):
            shutil.copy(SAMPLES / f"{way}-{end}.strace", tmp_path / f"{each.name}{STRACE_FILE}")
            shutil.copy(SAMPLES / f"{way}-{end}.log", tmp_path / f"{each.name}{EVENTS_FILE}")
        return tmp_path

    return fill


def shown(conducts: Sequence[Conduct], folder: Path, width: int = 100) -> str:
    """The report about them."""
    return report.end(Findings(device="", target="", kernel="", conduct=list(conducts)), folder, width)


@pytest.mark.parametrize("by", FILES)
@pytest.mark.parametrize("way", ["mapped", "trapped"])
def test_real_migration(folder: Callable[..., Path], way: str, by: str) -> None:
    """Source and target are judged, the target by what the source saved, and no clause is broken."""
    source, target = conduct.judge(ENDS, by, folder(way))
    assert {"SAV-02", "SAV-13", "FLD-06"} <= source.kept.keys()
    assert {"TR-04a", "RSM-06"} <= target.kept.keys()
    assert ("RSM-07" in target.kept) == (way == "trapped" and by == STRACE)
    assert not any([source.broken, target.broken, source.damage, target.damage])
    assert source.undecided
    assert all(reasons for each in (source, target) for reasons in each.undecided.values())
    text = shown([source, target], folder(way))
    assert f"QEMU as a client, by {by}" in text
    assert "BROKEN" not in text


def test_an_older_trace_of_the_same_name(folder: Callable[..., Path]) -> None:
    """A trace that another run left in the folder is ignored."""
    where = folder()
    (where / f"source-1{TRACE_FILE}").write_text("of another run")
    source, _ = conduct.judge(ENDS, STRACE, where)
    assert source.kept


def test_a_broken_clause(folder: Callable[..., Path]) -> None:
    """It is reported with its place and the command that shows more; even at 60 columns."""
    where = folder("trapped")
    strace = where / f"target-2{STRACE_FILE}"
    text = strace.read_text()
    byte = [*re.finditer(r'pwrite64\([^"]*"\\x([0-9a-f]{2})", 1, ', text)][-1]  # of the data
    strace.write_text(f"{text[: byte.start(1)]}{int(byte[1], 16) ^ 1:02x}{text[byte.end(1) :]}")
    source, target = conduct.judge(ENDS, STRACE, where)
    assert not source.broken
    assert target.broken == {"RSM-07": 1}
    for width in (60, 100):
        text = shown([source, target], where, width)
        assert "BROKEN" in text
        assert f"--source {where / 'source-1'}{TRACE_FILE}" in " ".join(text.split())


#: What makes a record unusable.
DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "binary": lambda file: file.write_bytes(os.urandom(64) + b"\0"),
    "other": lambda file: file.write_bytes(b"hello\n"),
}


def judged_after(damage: Callable[[Path], object], folder: Path, by: str, end: int) -> list[Conduct]:
    """The judgement if the record of one end is damaged: no clause is broken, and the other end is judged."""
    damage(folder / f"{ENDS[end].name}{FILES[by]}")
    judged = [*conduct.judge(ENDS, by, folder)]
    assert [each.name for each in judged] == [each.name for each in ENDS]
    assert not any(each.broken for each in judged)
    assert judged[1 - end].kept
    return judged


@pytest.mark.parametrize("by", FILES)
@pytest.mark.parametrize("end", [0, 1], ids=["source", "target"])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_an_unusable_record(folder: Callable[..., Path], by: str, end: int, damage: Callable[[Path], object]) -> None:
    """It is reported, and the other one is judged nevertheless."""
    where = folder()
    judged = judged_after(damage, where, by, end)
    assert judged[end].damage
    assert not judged[end].kept
    assert f"{ENDS[end].name}  " in shown(judged, where)


@pytest.mark.parametrize("by", FILES)
@pytest.mark.parametrize("end", [0, 1], ids=["source", "target"])
def test_a_cut_record(folder: Callable[..., Path], by: str, end: int) -> None:
    """It breaks no clause, and the other one is judged nevertheless."""
    judged_after(lambda file: os.truncate(file, file.stat().st_size // 2), folder(), by, end)


def test_no_strace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This is a reason, not an error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert recording.find(1, PATIENCE) == "there is no strace in PATH"


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("echo 'ptrace: Operation not permitted' >&2; exit 1", "Operation not permitted"),
        ("exec sleep 1000", "did not end within 0.5 s"),
    ],
    ids=["not permitted", "hangs"],
)
def test_a_broken_strace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str, why: str) -> None:
    """It is tried before QEMU is run under it."""
    program = tmp_path / "strace"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = recording.find(1, 0.5)
    assert isinstance(found, str)
    assert why in found


def test_sizes() -> None:
    """A small state is recorded in full, and only little of a large one, which would fill the disk."""
    small, large = recording.find(1 << 20, PATIENCE), recording.find(1 << 40, PATIENCE)
    if isinstance(small, str) or isinstance(large, str):
        pytest.skip(f"needs a working strace: {small}")
    assert small.options[-2:] == ("-s", str(1 << 20))
    assert large.options[-2:] == ("-s", "64")
