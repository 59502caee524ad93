# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance judge` as users see it: exit codes, output, and unsuitable files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from clients import RUNNING, STOP, STOP_AND_COPY, pending, read, resumed, saved, size, to
from stories import chained, first

from vfio_compliance.cli.main import main
from vfio_compliance.clients.trace import Region, Writer
from vfio_compliance.interfaces import CLAUSES
from vfio_compliance.results.events import End, Target
from vfio_compliance.results.journal import line
from vfio_compliance.results.setting import UsedRegion
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.run.client import Access, Bitmap, ContainerCall
from vfio_compliance.uapi.migration_v1 import DATA_OFFSET

MIGRATION = Region(9, 0x5000, (), True)
A, B = b"a" * 100, b"b" * 10
GOOD = [*saved(A, B), *resumed(A, B)]
RUN = first((), {})
DISORDERED = [*saved(A), *to(STOP, RUNNING), *to(RUNNING, STOP_AND_COPY), pending(9), size(8), read(DATA_OFFSET, 64)]

#: Writes a trace, and returns its path.
Record: TypeAlias = Callable[..., str]

#: Runs the command; returns its exit code, stdout and stderr.
Judge: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Writes a trace of these accesses, a millisecond apart; returns its path."""

    def write(
        accesses: Sequence[Access], name: str = "trace", region: Region | None = MIGRATION, maps_seen: bool = True
    ) -> str:
        writer = Writer(tmp_path / name, "a client made up for a test", maps_seen=maps_seen)
        if region:
            writer.region(0.0, region)
        for number, access in enumerate(accesses, 1):
            time = number / 1000
            if access.verb == "gap":
                writer.gap(time)
            elif access.verb in ("open", "close"):
                writer.simple(access.verb, time)
            elif access.verb == "reset":
                writer.reset(time, 1, 5 if access.value < 0 else 0)
            else:
                code = 22 if access.value < 0 else 0
                place = (9, access.offset, access.length)
                writer.access(access.verb, time, 1, place, access.value, code, access.data, access.digest)
        writer.close(len(accesses) / 1000 + 1)
        return str(tmp_path / name)

    return write


@pytest.fixture
def judge(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Runs the command; its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["judge", *words])
        return code, *capsys.readouterr()

    return run


def test_a_good_client(record: Record, judge: Judge) -> None:
    """All exercised clauses were kept: exit code 0, with a line for each clause."""
    code, text, complaint = judge(record(GOOD))
    assert (code, complaint) == (0, "")
    lines = {line.split()[0]: " ".join(line.split()[1:4]) for line in text.splitlines() if line[:2] == "  "}
    assert lines["SAV-11"] == "kept 2 times"
    assert lines["RSM-07"] == "kept 2 times"
    assert lines["SAV-02"] == "kept 1 time"
    assert lines["DS-07"] == "not exercised In"
    assert lines["TR-01c"].startswith("not exercised")
    assert "a client made up for a test" in text
    assert text.endswith("PASS: every clause that was put to the test was kept\n")


def test_a_bad_client(record: Record, judge: Judge) -> None:
    """Exit code 1; an offence has its access, time, expected and seen, and the accesses around it, in words."""
    code, text, _ = judge(record(DISORDERED))
    assert code == 1
    number = len(DISORDERED) - 1
    shown = text.partition("1) ")[2]
    assert shown.startswith(f"BROKEN  SAV-11 at access {number + 1}, {number / 1000:.6f} s\n")
    assert "expected  data_offset (step b) to be read before data_size (step c)" in shown
    assert "seen      data_size was read without data_offset" in shown
    assert f">{number + 1:>6}  read data_size -> 0x8" in shown
    assert f" {number + 2:>6}  read data_offset -> 0x40" in shown
    assert f" {number:>6}  read pending_bytes -> 0x9" in shown
    assert "SAV-11  BROKEN 1 time, kept 1 time " in text
    assert text.endswith("FAIL: the client breaks clauses\n")


def test_many_offences_are_counted(record: Record, judge: Judge) -> None:
    """A repeated offence is shown a few times, then counted."""
    _, text, _ = judge(record([*saved(A), *to(STOP, STOP_AND_COPY), *[pending(0), size(8)] * 20]))
    assert "SAV-02 was broken 17 times more" in text
    assert text.count("BROKEN  SAV-02") == 3


def test_nothing_to_judge(record: Record, judge: Judge) -> None:
    """A trace without any access to the migration region does not pass: exit code 4."""
    code, text, _ = judge(record([]))
    assert code == 4
    assert text.count("not exercised") == len(CLAUSES) + 1


def test_two_traces(record: Record, judge: Judge) -> None:
    """--source names the trace of the client that saved."""
    source, target = record(saved(A, B), "source"), record(resumed(B, A), "target")
    assert judge(target)[0] == 0
    code, text, _ = judge(target, "--source", source)
    assert code == 1
    assert "RSM-05  BROKEN 1 time" in text
    assert judge(record(resumed(A, B), "right"), "--source", source)[0] == 0


def test_a_source_without_a_saved_state(record: Record, judge: Judge) -> None:
    """It is a mistake of the user: exit code 2."""
    code, _, complaint = judge(record(resumed(A)), "--source", record(resumed(A), "source"))
    assert code == 2
    assert "nothing is saved in it" in complaint


def test_region_named_by_the_user(record: Record, judge: Judge) -> None:
    """It is required if the trace does not say which region is for migration."""
    path = record(GOOD, region=None)
    code, text, _ = judge(path)
    assert code == 2
    assert "name it with --region" in " ".join(text.split())
    assert judge(path, "--region", "9")[0] == 0
    assert judge(path, "--region", "8")[0] == 4


def test_mappings_that_were_not_recorded(record: Record, judge: Judge) -> None:
    """If the data section can be mapped and the recorder does not see mappings, the result says what was not judged."""
    unseen = [access for access in GOOD if access.offset != 0x1000 or access.verb not in ("read", "write")]
    region = Region(9, 0x5000, ((0x1000, 0x4000),), True)
    code, text, _ = judge(record(unseen, region=region, maps_seen=False))
    assert code == 0
    assert "may have gone through a mapping" in " ".join(text.split())
    assert judge(record(unseen, "seen", region=region))[0] == 1


@pytest.mark.parametrize(("client", "expected"), [(GOOD, 2), (DISORDERED, 1)], ids=["kept before", "broken before"])
def test_damaged_trace(record: Record, judge: Judge, client: Sequence[Access], expected: int) -> None:
    """A trace is judged up to its damage, which is reported with file and line; earlier offences count."""
    path = record(client)
    with open(path, "a") as file:
        file.write('{"verb": "dance", "time": 0}\n')
    code, text, _ = judge(path)
    assert code == expected
    assert f"{path}:{len(client) + 4}: there is no verb 'dance'" in " ".join(text.split())


def test_trace_without_an_end(record: Record, judge: Judge) -> None:
    """A trace whose recorder was killed is judged, with a note."""
    path = record(GOOD)
    lines = Path(path).read_text().splitlines(keepends=True)
    Path(path).write_text("".join(lines[:-1]))
    code, text, _ = judge(path)
    assert code == 0
    assert "the trace has no end" in text


def journal(*lines: bytes) -> bytes:
    """A journal of these lines after its first one, chained."""
    return b"".join(chained([line(RUN, 1), *lines]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ":1: the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), ":1: not"),
        (b'{"event": "start"}\n', ":1: neither a trace nor the journal of a run"),
        (b'{"event": "run"}\n', "a journal without a version"),
        (b'{"event": "run", "format": 1}\n', "a journal of format 1; this program reads format 3"),
        (b'{"event": "run", "format": 3, "time": 1}\n', "its first record is damaged"),
        (journal(b'{"event": "end", "case": "x"}\n'), ":2: not a record of a journal"),
        (journal(b"{hello}\n"), ":2: not a record of a journal"),
        (journal() + b"hello\n", ":2: not a record of a journal"),
        (journal(), "found no migration region"),
    ],
    ids=[
        *(
            "empty",
            "picture",
            "other JSON",
            "no format",
            "old journal",
            "bare journal",
            "bad case",
            "no record",
            "bad line",
        ),
        "no region",
    ],
)
def test_foreign_files(tmp_path: Path, judge: Judge, content: bytes, words: str) -> None:
    """A file that is neither a trace nor a run is refused with the place and the reason: exit code 2."""
    path = tmp_path / "file"
    path.write_bytes(content)
    code, text, complaint = judge(str(path))
    assert code == 2
    assert words in " ".join((text + complaint).split())


@pytest.mark.parametrize(
    "call",
    [
        {"verb": "read"},
        {"verb": "read", "target": "region 9", "received": "zz"},
        {"verb": "read", "target": "region 9", "number": "0"},
        {"verb": "read", "target": "region 9", "colour": "red"},
        ["read", "region 9", 0, 4],
        "read",
    ],
    ids=str,
)
def test_a_journal_with_a_bad_call(
    tmp_path: Path, judge: Judge, call: Mapping[str, str] | Sequence[str | int] | str
) -> None:
    """A malformed call is reported with its line."""
    target = line(Target({}, (UsedRegion(9, "migration_v1", ()),)), 1)
    calls = json.dumps({"event": "calls", "calls": [call]}, separators=(",", ":"))
    end = line(End("c", "r", Verdict.PASS, 0.5, None, {}), 1)
    (tmp_path / "journal.jsonl").write_bytes(journal(target, f"{calls}\n".encode(), end))
    code, text, _ = judge(str(tmp_path))
    assert code == 2
    assert "journal.jsonl:4: not a record of a journal" in " ".join(text.split())


def test_missing_file(tmp_path: Path, judge: Judge) -> None:
    """A missing file, or a folder without a run, is named."""
    assert "nowhere: No such file" in judge(str(tmp_path / "nowhere"))[2]
    assert "journal.jsonl: No such file" in judge(str(tmp_path))[2]


def test_the_region_is_found_from_the_source(record: Record, judge: Judge) -> None:
    """If only one of two traces names the migration region, it counts for both."""
    source, target = record(saved(A, B), "source"), record(resumed(B, A), "target", region=None)
    assert judge(target)[0] == 2
    assert judge(target, "--source", source)[0] == 1
    source, target = record(saved(A, B), "unnamed", region=None), record(resumed(B, A), "named")
    assert judge(target, "--source", source)[0] == 1
    unnamed = record(resumed(A), "unnamed too", region=None)
    assert "name it with --region" in judge(unnamed, "--source", record(saved(A), "unnamed source", region=None))[2]


def put(writer: Writer, accesses: Sequence[Access], region: int = 9, device: int = 0) -> None:
    """Write accesses of one device."""
    for number, access in enumerate(accesses):
        if access.verb in ("open", "close"):
            writer.simple(access.verb, number, device)
        elif access.verb == "reset":
            writer.reset(number, 1, 0, device)
        else:
            place = (region, access.offset, access.length)
            writer.access(access.verb, number, 1, place, access.value, 0, access.data, access.digest, device=device)


def test_several_devices(tmp_path: Path, judge: Judge) -> None:
    """The first device with a migration region is judged, the others are named, and --device chooses."""
    writer = Writer(tmp_path / "trace", "three devices", maps_seen=True)
    writer.region(0, Region(2, 4096, (), False), 0)
    writer.region(0, MIGRATION, 4)
    writer.region(0, Region(7, 4096, (), True), 6)
    put(writer, saved(A), 2, 0)
    put(writer, GOOD, 9, 4)
    put(writer, DISORDERED, 7, 6)
    writer.close(99)
    code, text, _ = judge(str(tmp_path / "trace"))
    assert code == 0
    assert "device 4 was judged" in text
    assert "(choose one with --device): 0, 6" in " ".join(text.split())
    assert judge(str(tmp_path / "trace"), "--device", "6")[0] == 1
    assert judge(str(tmp_path / "trace"), "--device", "0")[0] == 2
    assert judge(str(tmp_path / "trace"), "--device", "0", "--region", "2")[0] == 0
    assert judge(str(tmp_path / "trace"), "--region", "9")[0] == 0


def test_a_trace_that_ends_early(tmp_path: Path, record: Record, judge: Judge) -> None:
    """If the missing rest might excuse an access, a clause is unclear, not broken."""
    left = [*to(RUNNING, STOP_AND_COPY), pending(9), *to(STOP_AND_COPY, STOP)]
    assert judge(record(left))[0] == 1
    lines = Path(record(left, "short")).read_text().splitlines(keepends=True)[:-1]
    for name, end, expected in (("cut", "", 0), ("torn", '{"verb":', 2), ("edited", '{"verb":"dance","time":9}\n', 2)):
        (tmp_path / name).write_text("".join([*lines, end]))
        code, text, _ = judge(str(tmp_path / name))
        assert code == expected
        assert "SAV-13  unclear 1 time" in text


@pytest.mark.parametrize("columns", ["60", "100"])
def test_unclear_clauses(tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """The report has the reason and the number of times, in lines that fit the window."""
    monkeypatch.setenv("COLUMNS", columns)
    writer = Writer(tmp_path / "trace", "hidden", maps_seen=True)
    writer.region(0, MIGRATION)
    writer.simple("open", 0)
    for verb in ("read", "write"):
        writer.access(verb, 1, 1, (9, 0, 4), 4, 0, b"", unknown=True)
    writer.called("dirty", 2, 1, ContainerCall(48, 4, 0, 1 << 30, Bitmap(4096, 8)), 0, 0)
    writer.called("dirty", 2, 1, ContainerCall(8, 1), 0, 0)
    writer.called("dma-unmap", 2, 1, ContainerCall(24, 0, 0, 1 << 30), 0, 0)
    writer.close(3)
    code, text, _ = judge(str(tmp_path / "trace"))
    output = " ".join(text.split())
    assert code == 1
    assert "DS-15 unclear 1 time" in output
    assert "unclear DS-07 (1 time), DS-15 (1 time): the trace does not have the value of device_state" in output
    assert "BROKEN DRT-08" in output
    assert "expected 32768 bytes at least" in output
    assert "memory was unmapped while its pages were tracked" in output
    assert "read device_state -> (not in the trace)" in output
    assert max(map(len, text.splitlines()[1:])) <= int(columns)  # the first has the file's path


def test_why_accesses_are_missing(tmp_path: Path, judge: Judge) -> None:
    """The report has the reasons of the first gaps, escaped, and the number of gaps."""
    writer = Writer(tmp_path / "trace", "hid\x1b[2Jden", maps_seen=True)
    writer.region(0, MIGRATION)
    for number in range(5):
        writer.gap(number, f"reason\x07{number}")
    writer.close(6)
    code, text, _ = judge(str(tmp_path / "trace"))
    output = " ".join(text.split())
    assert code == 4
    for number in range(3):
        assert f"gap at access {number + 2}: reason\\x07{number}" in output
    assert "reason\\x073" not in output
    assert "5 gaps in all" in output
    assert text.replace("\n", "").isprintable()


def test_a_narrow_window(tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the counts of a clause take much of the window, its sentence is below them."""
    monkeypatch.setenv("COLUMNS", "60")
    writer = Writer(tmp_path / "trace", "both", maps_seen=True)
    writer.called("dirty", 2, 1, ContainerCall(48, 4, 0, 4096, Bitmap(4096, 8, True)), 0, 0)
    writer.called("dirty", 2, 1, ContainerCall(), 0, 0)
    writer.region(0, MIGRATION)
    writer.close(3)
    _, text, _ = judge(str(tmp_path / "trace"))
    assert "  DRT-12  kept 1 time, unclear 1 time\n          argsz of a request covers argsz and flags.\n" in text
    assert max(map(len, text.splitlines()[1:])) <= 60


def test_files_to_import_and_pipes(tmp_path: Path, judge: Judge) -> None:
    """Files of strace or QEMU have to be imported first; a pipe is refused, because it cannot be read twice."""
    (tmp_path / "strace").write_text("163 close(3) = 0\n")
    code, _, complaint = judge(str(tmp_path / "strace"))
    assert (code, "vfio-compliance import makes one" in complaint) == (2, True)
    os.mkfifo(tmp_path / "pipe")
    code, _, complaint = judge(str(tmp_path / "pipe"))
    assert (code, "a pipe, but this has to be read twice" in complaint) == (2, True)
