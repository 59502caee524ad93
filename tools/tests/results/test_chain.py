# SPDX-License-Identifier: GPL-2.0-only
"""The chain of a journal: any change to the file is reported, with its line."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import pytest
from stories import FINISH, event_of, first

from vfio_compliance.results import journal
from vfio_compliance.results.events import Closed, Note
from vfio_compliance.results.journal import Cut, Damaged, Journal, JournalError, Recorded
from vfio_compliance.results.reading import summarise

NOTES = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of a run, some notes, the end of its test process and its own end: lines 1 to 9."""
    made = tmp_path / journal.NAME
    with Journal(made) as opened:
        opened.write(first([], {}))
        for number in range(NOTES):
            opened.write(Note(f"note {number}"))
        opened.write(FINISH)
        opened.end()
    return made


def wrong(path: Path) -> list[int]:
    """The numbers of the lines that are reported; for a missing end, the number after the last."""
    return [number for number, line in enumerate(journal.read(path), 1) if not isinstance(line, Recorded)]


def test_an_unchanged_journal(path: Path) -> None:
    """An unchanged journal gives no report; its last record has the count and the digest."""
    assert wrong(path) == []
    *lines, last = path.read_bytes().splitlines(keepends=True)
    found = journal.parse(last)
    assert event_of(found, Closed) == Closed(len(lines), hashlib.sha256(b"".join(lines)).hexdigest())
    assert summarise(journal.read(path)).stops == []


@pytest.mark.parametrize("number", range(2, NOTES + 3))
def test_an_edited_line(path: Path, number: int) -> None:
    """It is the one that is named."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"time":1', b'"time":2')
    path.write_bytes(b"".join(lines))
    assert number in wrong(path)
    assert min(wrong(path)) == number
    stop = summarise(journal.read(path)).stops[0]
    assert f"line {number} of the journal is damaged: it does not follow from the line before" in stop.message


def test_an_edited_end(path: Path) -> None:
    """The last record is named as well."""
    *lines, end = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, end.replace(b'"time":1', b'"time":2')]))
    assert min(wrong(path)) == NOTES + 3


@pytest.mark.parametrize("number", range(2, NOTES + 3))
def test_a_removed_line(path: Path, number: int) -> None:
    """The line that is now in its place is named."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: number - 1] + lines[number:]))
    assert min(wrong(path)) == number


@pytest.mark.parametrize("number", range(2, NOTES + 2))
def test_swapped_lines(path: Path, number: int) -> None:
    """The first of the two is named."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1 : number + 1] = lines[number], lines[number - 1]
    path.write_bytes(b"".join(lines))
    assert min(wrong(path)) == number


def test_an_inserted_line(path: Path) -> None:
    """It is named, whether or not it has a digest."""
    lines = path.read_bytes().splitlines(keepends=True)
    for inserted in (lines[2], journal.line(Note("mine"))):
        path.write_bytes(b"".join([*lines[:4], inserted, *lines[4:]]))
        assert wrong(path)[0] == 5


@pytest.mark.parametrize("whole", range(1, NOTES + 3))
def test_missing_last_lines(path: Path, whole: int) -> None:
    """Such a journal has no end, and the result says after which line it stops."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:whole]))
    *_, last = journal.read(path)
    assert isinstance(last, Cut)
    assert f"after line {whole}" in last.why
    result = summarise(journal.read(path))
    assert len(result.stops) == 1
    assert result.exit_code == 2


def test_a_change_of_any_byte_is_found(path: Path) -> None:
    """One flipped bit in any byte of the file."""
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            assert wrong(path), place
        except JournalError:
            assert place <= data.index(b"\n")


def test_an_incomplete_record_is_cut_off(path: Path) -> None:
    """If a writer was killed in the middle of a record, the next writer continues from the last whole one."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:20])
    with Journal(path) as opened:
        opened.write(FINISH)
        opened.end()
    assert wrong(path) == []
    assert len([*journal.read(path)]) == 6


def test_long_lines(tmp_path: Path) -> None:
    """The last record is found, however long it is."""
    path = tmp_path / journal.NAME
    with Journal(path) as one, Journal(path) as other:
        one.write(first([], {}))
        for size in (10, 1 << 17, 1 << 16, 3, 1 << 18):
            other.write(Note("x" * size))
            one.write(Note("y"))
        one.end()
    assert wrong(path) == []


def test_killed_writers(tmp_path: Path) -> None:
    """Writers that are killed at any moment leave a journal that other writers can continue."""
    path = tmp_path / journal.NAME
    with Journal(path) as opened:
        opened.write(first([], {}))
    for round_ in range(5):
        child = os.fork()
        if not child:
            with Journal(path) as own:
                while True:
                    own.write(Note("x" * 5000))
        time.sleep(0.01 * round_)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with Journal(path) as opened:
            opened.write(Note("on"))
    with Journal(path) as opened:
        opened.end()
    assert wrong(path) == []


def test_without_a_chain(tmp_path: Path) -> None:
    """Each line of a journal without its chain is damaged."""
    path = tmp_path / journal.NAME
    path.write_bytes(b"".join(journal.line(event) for event in (first([], {}), Note("x"), FINISH)))
    assert wrong(path) == [1, 2, 3]


def test_full_disk_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that was only partly written is removed."""
    path = tmp_path / journal.NAME
    opened = Journal(path)
    opened.write(first([], {}))
    size, write = path.stat().st_size, os.write

    def nearly_full(descriptor: int, data: bytes) -> int:
        if len(data) < 40:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:40])

    monkeypatch.setattr(os, "write", nearly_full)
    with pytest.raises(JournalError, match="can no longer be written: No space"):
        opened.write(Note("x" * 100))
    monkeypatch.undo()
    assert path.stat().st_size == size
    opened.write(FINISH)
    opened.end()
    opened.close()
    assert wrong(path) == []


def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times follow the monotonic clock; a damaged line is reported as damaged."""
    path = tmp_path / journal.NAME
    with Journal(path) as opened:
        opened.write(first([], {}))
        monkeypatch.setattr(time, "time", lambda: 0.0)
        opened.write(FINISH)
        opened.end()
    assert 0 <= summarise(journal.read(path)).seconds < 60
    path.write_bytes(path.read_bytes().replace(b'"finish"', b'"finesh"'))
    assert [type(line) for line in journal.read(path)].count(Damaged) == 1
