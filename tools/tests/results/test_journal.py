# SPDX-License-Identifier: GPL-2.0-only
"""Writing and reading the journal, including files that were cut or damaged in between."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from stories import CALL, NOON, chained, ended, event_of, first, run_of, timed, waiver, written

from vfio_compliance.common.calls import Call
from vfio_compliance.common.rule_names import RENAMED
from vfio_compliance.results import journal
from vfio_compliance.results.events import Broken, End, Finish, Note, Run, Unwritten
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.journal import FORMAT, Cut, Damaged, Journal, JournalError, Recorded
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers import terminal

RUN = first([], {})


def begun(path: Path, **keywords: Any) -> Journal:
    """A journal with its first event."""
    opened = Journal(path, **keywords)
    opened.write(RUN)
    return opened


def test_round_trip(tmp_path: Path) -> None:
    """Events are read back unchanged, in order, with the times at which they were written."""
    path = tmp_path / journal.NAME
    note = Note("two\nlines, an umlaut ü, a lone surrogate \ud800 and a null \0")
    done = Finish(2**64 - 1, 0, 0, 0, 0, 0)
    with begun(path) as opened:
        opened.write(note)
        opened.write(done)
        opened.end()
    times, events = zip(*journal.read(path), strict=True)
    assert events[:-1] == (RUN, note, done)
    assert list(times) == sorted(times)


def test_former_ids_of_rules(tmp_path: Path) -> None:
    """An old journal is read with the present ids: of its rules, what they depend on, its cases and its waivers."""
    path, former = tmp_path / journal.NAME, "v1.state.write-is-whole"
    now = RENAMED[former]
    rules = {former: {}, "v1.b": {"stands_on": (former,)}}
    events = run_of(
        ended("state.write-is-whole", "fail"), ended("b", "pass"), rules=rules, waivers=[waiver(rule=former)]
    )
    path.write_bytes(written(timed(events)))
    result = summarise(journal.read(path))
    assert set(result.verdicts) == {now, "v1.b"}
    assert result.verdicts[now] is Verdict.WAIVED
    assert result.rules["v1.b"].stands_on == (now,)


def test_many_processes_with_a_separate_lock(tmp_path: Path) -> None:
    """Records do not mix if the processes lock a separate file."""
    path, lock = tmp_path / journal.NAME, os.memfd_create("lock")
    begun(path).close()
    writers = []
    for number in range(4):
        if not (child := os.fork()):
            with Journal(path, lock=lock) as opened:
                for turn in range(50):
                    opened.write(Note(f"{number} {turn} " + "x" * 5000))
            os._exit(0)
        writers.append(child)
    assert [os.waitpid(child, 0)[1] for child in writers] == [0] * 4
    os.close(lock)
    with Journal(path) as opened:
        opened.end()
    assert [line for line in journal.read(path) if not isinstance(line, Recorded)] == []


@pytest.mark.parametrize("sync", [True, False])
def test_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool) -> None:
    """With ``sync``, each record is on the disk before the next call: a device may crash the machine."""
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(os.stat(tmp_path / journal.NAME).st_size))
    sizes = []
    with Journal(tmp_path / journal.NAME, sync=sync) as opened:
        for _ in range(3):
            opened.write(Note("a record"))
            sizes.append(os.stat(tmp_path / journal.NAME).st_size)
    assert synced == (sizes if sync else [])


def test_many_writers(tmp_path: Path) -> None:
    """Records of several writers do not mix or overwrite each other."""
    path = tmp_path / journal.NAME
    begun(path).close()

    def write(writer: int) -> None:
        with Journal(path) as opened:
            for number in range(50):
                opened.write(Note(f"{writer} {number} " + "x" * 5000))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Journal(path) as opened:
        opened.end()
    events = [line.event for line in journal.read(path) if isinstance(line, Recorded)]
    notes = [event.text for event in events if isinstance(event, Note)]
    assert len(notes) == 200
    for writer in range(4):
        of_one = [note.split()[1] for note in notes if note.startswith(f"{writer} ")]
        assert of_one == [str(number) for number in range(50)]


def test_copy(tmp_path: Path) -> None:
    """The watcher gets the same bytes."""
    reading, writing = os.pipe()
    with begun(tmp_path / journal.NAME, copy_to=writing) as opened:
        opened.write(Note("hello"))
    os.close(writing)
    with os.fdopen(reading, "rb") as copied:
        assert copied.read() == (tmp_path / journal.NAME).read_bytes()


def test_watcher_gone(tmp_path: Path) -> None:
    """The writer gets an error once the watcher is gone, after the record is on the disk."""
    reading, writing = os.pipe()
    opened = begun(tmp_path / journal.NAME, copy_to=writing)
    os.close(reading)
    with pytest.raises(JournalError, match="its watcher is gone"):
        opened.write(Note("hello"))
    os.close(writing)
    opened.close()
    first, second, why, end = journal.read(tmp_path / journal.NAME)
    assert (event_of(first, Run), event_of(second, Note)) == (RUN, Note("hello"))
    assert "the process that watched the run ended before it" in event_of(why, Broken).message
    assert isinstance(end, Cut)


CALLS = (CALL, CALL._replace(serial=7), CALL._replace(serial=8, started_ns=9))


def with_calls(path: Path, verdict: str = "pass", calls: tuple[Call, ...] = CALLS, text: bytes | None = None) -> Path:
    """A journal of one case with these calls, or with ``text`` as the line of them."""
    why = None if verdict == "pass" else Failure("doing it")
    end = End("c", "r", Verdict(verdict), 0.1, why, {}, calls)
    made = [journal.line(RUN, NOON), *journal.records(end, NOON + 1)]
    if text is not None:
        made[1] = text
    path.write_bytes(b"".join(chained(made)))
    return path


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("verdict", ["pass", "fail"])
def test_calls_have_a_line_of_their_own(tmp_path: Path, verdict: str, whole: bool) -> None:
    """It comes before the line of the case, and the reader attaches the calls to the case."""
    _, line, end, _ = journal.read(with_calls(tmp_path / journal.NAME, verdict), whole=whole)
    assert line == Recorded(NOON, None)
    ended = event_of(end, End)
    assert (tuple(ended.calls), ended.case) == (CALLS, "c")


def test_no_line_without_calls(tmp_path: Path) -> None:
    """A case without calls has only its own line."""
    path = with_calls(tmp_path / journal.NAME, calls=())
    assert len(path.read_bytes().splitlines()) == 2
    _, end, _ = journal.read(path)
    assert tuple(event_of(end, End).calls) == ()


@pytest.mark.parametrize(
    "calls",
    [b',"x":1}', b',"calls":null}', b',"calls":[[]]}', b',"calls":[{"verb":"read"}]}', b',"calls":' + b"[" * 99_999],
)
def test_calls_that_cannot_be_read(tmp_path: Path, calls: bytes) -> None:
    """If they are needed, their case is damaged; otherwise the case has none, unless everything is read."""
    path = tmp_path / journal.NAME
    text = b'{"event":"calls"' + calls + b"\n"
    for verdict, whole in (("fail", False), ("fail", True), ("pass", True)):
        _, _, end, *_ = journal.read(with_calls(path, verdict, text=text), whole=whole)
        assert isinstance(end, Damaged)
        assert "its calls, in the line before" in end.why
    _, _, end, _ = journal.read(with_calls(path, text=text))
    ended = event_of(end, End)
    assert (ended.verdict, tuple(ended.calls)) == (Verdict.PASS, ())


def test_watcher_gets_no_calls(tmp_path: Path) -> None:
    """It does not need them."""
    reading, writing = os.pipe()
    with begun(tmp_path / journal.NAME, copy_to=writing) as opened:
        opened.write(End("c", "r", Verdict.PASS, 0.1, None, {}, CALLS))
    os.close(writing)
    with os.fdopen(reading, "rb") as copied:
        _, end = copied
    *_, last = (tmp_path / journal.NAME).read_bytes().splitlines(keepends=True)
    assert (end, b"calls" in end) == (last, False)


def test_disk_full() -> None:
    """The file and the reason are named, and the watcher is informed."""
    reading, writing = os.pipe()
    with (
        Journal(Path("/dev/full"), writing) as opened,
        pytest.raises(JournalError, match="/dev/full can no longer be written: No space"),
    ):
        opened.write(RUN)
    os.close(writing)
    with os.fdopen(reading) as copied:
        received = journal.parse(copied.read())
    assert event_of(received, Unwritten) == Unwritten(
        "/dev/full can no longer be written: No space left on device", journal.REMEDY
    )


def test_the_reason_may_still_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room for a record of many calls may have room for the reason, which the report then shows."""
    path, write = tmp_path / journal.NAME, os.write

    def nearly_full(descriptor: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    with Journal(path) as opened:
        opened.write(first([], {}))
        monkeypatch.setattr(os, "write", nearly_full)
        with pytest.raises(JournalError):
            opened.write(Note("x" * 1000))
    (stop,) = summarise(journal.read(path)).stops
    assert stop == (f"{path} can no longer be written: No space left on device", journal.REMEDY)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "ended before anything was recorded"),
        (b'{"event": "run", "for', "ended before anything was recorded"),
        (b"\x7fELF\x01\n\xff\xfe\n", "not a journal"),
        (b'{"event": "run", "format": 1}\n', f"a journal of format 1; this program reads format {FORMAT}"),
        (b'{"event": "run", "format": 99}\n', f"a journal of format 99; this program reads format {FORMAT}"),
        (b'{"event": "run"}\n', "a journal without a version"),
        (b'{"event": "run", "format": ' + b"9" * 999 + b"}\n", "a journal without a version"),
        (b'{"event": "run", "format": %d}\n' % FORMAT, "its first record is damaged: no time"),
        (b"[1, 2]\n", "not a journal"),
        (b"[" * 100_000 + b"\n", "not a journal"),
    ],
    ids=[
        *("missing", "empty", "cut", "binary", "earlier format", "later format", "no format", "a long number"),
        *("bare", "other JSON", "deep JSON"),
    ],
)
def test_not_a_journal(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Such a file is refused, with its name and the reason."""
    path = tmp_path / journal.NAME
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(JournalError, match=words) as raised:
        list(journal.read(path))
    assert str(path) in str(raised.value)


def result(path: Path) -> int:
    """The exit code, once everything was rendered."""
    made = summarise(journal.read(path))
    assert terminal.render(made)
    return made.exit_code


def write(path: Path, lines: Sequence[Recorded]) -> None:
    """A journal of these lines."""
    path.write_bytes(written(timed(lines)))


def test_cut_anywhere(tmp_path: Path, records: Callable[..., list[Recorded]]) -> None:
    """If it is cut after or within any record, the journal still gives a result, which is never a pass."""
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
def test_damaged_anywhere(tmp_path: Path, records: Callable[..., list[Recorded]], line: bytes) -> None:
    """A damaged line makes the result incomplete; the other lines still count."""
    path = tmp_path / journal.NAME
    write(path, records("pass", "fail", "pass"))
    lines = path.read_bytes().splitlines()
    for damaged in range(1, len(lines)):
        path.write_bytes(b"\n".join([*lines[:damaged], line, *lines[damaged + 1 :]]) + b"\n")
        made = summarise(journal.read(path))
        assert [stop.message.partition(":")[0] for stop in made.stops] == [
            f"line {damaged + 1} of the journal is damaged"
        ]
        assert made.exit_code in (1, 2)


def test_a_journal_that_does_not_begin_with_a_run() -> None:
    """It is refused."""
    for lines in ([], [Recorded(0, Note("x"))], [Damaged("why")]):
        with pytest.raises(JournalError, match="does not begin with a run"):
            summarise(lines)


def test_data_after_the_end(tmp_path: Path, records: Callable[..., list[Recorded]]) -> None:
    """A closed journal has nothing after its end; even part of a line is reported."""
    path = tmp_path / journal.NAME
    write(path, records("pass"))
    path.write_bytes(path.read_bytes() + b'{"event":"no')
    assert any("12 bytes after the end of the journal" in stop.message for stop in summarise(journal.read(path)).stops)


def test_very_many_damaged_lines(tmp_path: Path, records: Callable[..., list[Recorded]]) -> None:
    """The first hundred are reported, the others counted."""
    path = tmp_path / journal.NAME
    write(path, records("pass"))
    path.write_bytes(path.read_bytes() + b"\n" * 5000)
    stops = summarise(journal.read(path)).stops
    assert len(stops) == 101
    assert stops[-1].message == "4900 more lines of it are damaged"


@pytest.mark.parametrize("rounds", [0, -1, 1001, 2**63])
def test_an_absurd_number_of_rounds(tmp_path: Path, rounds: int) -> None:
    """The record is damaged, and no memory is allocated for the rounds."""
    path = tmp_path / journal.NAME
    record = journal.line(RUN, NOON).replace(b'"areas"', b'"rounds":%d,"areas"' % rounds)
    path.write_bytes(b"".join(chained([record])))
    with pytest.raises(JournalError, match="its first record is damaged"):
        list(journal.read(path))
