# SPDX-License-Identifier: GPL-2.0-only
"""The journal: what was written is read, whatever became of the file in between."""

from __future__ import annotations

import json
import os
import threading

import pytest

from vfio_compliance.results import journal, summary, terminal
from vfio_compliance.results.journal import FORMAT, Journal, JournalError


def begun(path, **keywords):
    """A journal with its first record."""
    opened = Journal(path, **keywords)
    opened.write("run", format=FORMAT)
    return opened


def test_round_trip(tmp_path):
    """Records come back as they were, in order, with the time at which they were written."""
    path = tmp_path / journal.NAME
    with begun(path) as opened:
        opened.write("note", text="two\nlines, an umlaut ü, a lone surrogate \ud800 and a null \0")
        opened.write("end", calls=[["read", 2**64 - 1]], failure=None)
    run, note, end = journal.read(path)
    assert run["event"] == "run"
    assert note["text"] == "two\nlines, an umlaut ü, a lone surrogate \ud800 and a null \0"
    assert (end["calls"], end["failure"]) == ([["read", 2**64 - 1]], None)
    assert run["time"] <= note["time"] <= end["time"]


def test_many_writers(tmp_path):
    """Records of several writers do not mix, nor does one erase another's."""
    path = tmp_path / journal.NAME
    begun(path).close()

    def write(writer):
        with Journal(path) as opened:
            for number in range(50):
                opened.write("note", text=f"{writer} {number} " + "x" * 5000)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, *notes = journal.read(path)
    for writer in range(4):
        of_one = [note["text"].split()[1] for note in notes if note["text"].startswith(f"{writer} ")]
        assert of_one == [str(number) for number in range(50)]


def test_copy(tmp_path):
    """Whoever watches gets the same bytes."""
    reading, writing = os.pipe()
    with begun(tmp_path / journal.NAME, copy_to=writing) as opened:
        opened.write("note", text="hello")
    os.close(writing)
    with os.fdopen(reading, "rb") as copied:
        assert copied.read() == (tmp_path / journal.NAME).read_bytes()


def test_watcher_gone(tmp_path):
    """A run that nobody watches any more is told so, after the record is on disk."""
    reading, writing = os.pipe()
    opened = begun(tmp_path / journal.NAME, copy_to=writing)
    os.close(reading)
    with pytest.raises(JournalError, match="its watcher is gone"):
        opened.write("note", text="hello")
    os.close(writing)
    opened.close()
    assert [record["event"] for record in journal.read(tmp_path / journal.NAME)] == ["run", "note"]


def test_disk_full():
    """The file and the reason are named, and the watcher hears of it."""
    reading, writing = os.pipe()
    with (
        Journal("/dev/full", writing) as opened,
        pytest.raises(JournalError, match="/dev/full takes no more: No space"),
    ):
        opened.write("run")
    os.close(writing)
    with os.fdopen(reading) as copied:
        told = json.load(copied)
    assert told["event"] == "unwritten"
    assert told["remedy"] == journal.REMEDY


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "ended before anything was recorded"),
        (b'{"event": "run", "for', "ended before anything was recorded"),
        (b"\x7fELF\x01\n\xff\xfe\n", "not a journal of format 2"),
        (b'{"event": "run", "format": 99}\n', "not a journal of format 2"),
        (b"[1, 2]\n", "not a journal of format 2"),
        (b"[" * 100_000 + b"\n", "not a journal of format 2"),
    ],
    ids=["missing", "empty", "cut", "binary", "later format", "other JSON", "deep JSON"],
)
def test_no_journal(tmp_path, content, words):
    """A file that is none is refused by name."""
    path = tmp_path / journal.NAME
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(JournalError, match=words) as raised:
        list(journal.read(path))
    assert str(path) in str(raised.value)


def result(path):
    """The exit code, after everything was rendered."""
    made = summary.summarise(journal.read(path))
    assert terminal.render(made)
    return made.exit_code


def write(path, records):
    """A journal of these records."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_cut_anywhere(tmp_path, records):
    """Cut at the end of any record or in the middle of one, the journal gives a result, and not a good one."""
    path = tmp_path / journal.NAME
    write(path, records("pass", "pass", "pass"))
    assert result(path) == 0
    lines = path.read_bytes().splitlines(keepends=True)
    for whole in range(1, len(lines)):
        for part in (b"", lines[whole][: len(lines[whole]) // 2], lines[whole][:-1]):
            path.write_bytes(b"".join(lines[:whole]) + part)
            assert result(path) == 2


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b'"end"', b'{"event": "end"}', b'{"event": "end", "time": 1, "case": []}', b"\xff\0{", b"}" * 99],
)
def test_damaged_anywhere(tmp_path, records, line):
    """A line that is no record makes the result incomplete; what the other lines say counts."""
    path = tmp_path / journal.NAME
    write(path, records("pass", "fail", "pass"))
    lines = path.read_bytes().splitlines()
    for damaged in range(1, len(lines)):
        path.write_bytes(b"\n".join([*lines[:damaged], line, *lines[damaged + 1 :]]) + b"\n")
        made = summary.summarise(journal.read(path))
        assert f"line {damaged + 1} of the journal is damaged" in [stop["message"] for stop in made.stops]
        assert made.exit_code in (1, 2)


def test_first_record_of_another_kind():
    """A first record in which something is missing is no run of this version."""
    with pytest.raises(JournalError, match="first record"):
        summary.summarise([{"event": "run", "time": 0, "rules": []}])
    with pytest.raises(JournalError, match="first record"):
        summary.summarise([])
