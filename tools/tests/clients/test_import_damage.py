# SPDX-License-Identifier: GPL-2.0-only
"""Cut, mixed, edited or made-up files: an import ends in a readable trace, or an error that names the file."""

from __future__ import annotations

import re
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies._internal.core import DataObject
from strace_text import Options, Text, session

from vfio_compliance.clients.importers.command import import_qemu, import_strace
from vfio_compliance.clients.importers.descriptors import Descriptors, File, Kind
from vfio_compliance.clients.importers.lines import LONGEST, Line, lines
from vfio_compliance.clients.importers.strace import IDLE, NAMES
from vfio_compliance.clients.importers.syscalls import Parser
from vfio_compliance.clients.importers.values import descriptor, number, split, string, unescaped
from vfio_compliance.clients.trace import Reader, TraceError

SAMPLES = Path(__file__).parent / "samples"
IMPORTS = {"strace": import_strace, "log": import_qemu}
KNOWN = {
    kind: [
        *(
            line
            for path in sorted(SAMPLES.glob(f"*.{kind}"))
            for line in path.read_bytes().splitlines(keepends=True)[:90]
        ),
    ]
    for kind in IMPORTS
}
ODD = Text(Options(names="verbose", paths=2, hex=0, split=True)).write(session()).encode().splitlines(keepends=True)
KNOWN["strace"] += ODD

PIECES = st.one_of(
    st.binary(max_size=20),
    st.integers(-(2**70), 2**70).map(lambda value: str(value).encode()),
    st.sampled_from(
        [
            b'"',
            b"\\",
            b"<",
            b">",
            b"(",
            b")",
            b"...",
            b" = ",
            b"?",
            b"-1",
            b"0x",
            b"\n",
            b" <unfinished ...>",
            b"99999999999999999999",
        ]
    ),
)
EASY = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ends_well(kind: str, data: bytes, folder: Path) -> str:
    """Imports the data; "trace" or "error", by the outcome."""
    path, trace = folder / "given", folder / "trace"
    path.write_bytes(data)
    trace.unlink(missing_ok=True)
    try:
        IMPORTS[kind](path, trace)
    except TraceError as error:
        complaint = str(error)
    else:
        complaint = ""
    if complaint:
        assert re.match(rf"{re.escape(str(path))}(:\d+)?: ", complaint)
        assert not trace.exists()
        assert sorted(each.name for each in folder.iterdir()) == ["given"]
        return "error"
    *_, end = Reader(trace)
    assert end.verb == "end"
    assert sorted(each.name for each in folder.iterdir()) == ["given", "trace"]
    return "trace"


@pytest.mark.parametrize("kind", IMPORTS)
@EASY
@given(data=st.data())
def test_lines_mixed_cut_and_edited(tmp_path: Path, kind: str, data: DataObject) -> None:
    """Lines of several files, in any order, some with other data in them."""
    chosen = data.draw(st.lists(st.sampled_from(KNOWN[kind]), max_size=25))
    text = bytearray(b"".join(chosen))
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 30))] = data.draw(PIECES)
    ends_well(kind, bytes(text), tmp_path)


@pytest.mark.parametrize(("kind", "given"), [("strace", ODD), ("log", KNOWN["log"][:40])], ids=IMPORTS)
def test_cut_anywhere(tmp_path: Path, kind: str, given: list[bytes]) -> None:
    """Each beginning of a file gives a trace, or an error."""
    whole = b"".join(given)
    outcomes = {ends_well(kind, whole[:end], tmp_path) for end in range(0, len(whole), 61)}
    assert outcomes == {"error", "trace"}


@EASY
@given(st.binary(max_size=200), st.lists(PIECES, max_size=12))
def test_values_of_anything(data: bytes, pieces: list[bytes]) -> None:
    """A value is parsed or not; nothing is raised, and the result is not longer than the input."""
    for text in (data, b"".join(pieces)):
        assert sum(map(len, split(text))) <= len(text)
        assert len(unescaped(text)) <= len(text)
        for reading in (descriptor, number, string):
            reading(text)


@EASY
@given(st.binary(max_size=100))
def test_strings_are_unescaped(data: bytes) -> None:
    """From each of strace's notations."""
    for hexed in (0, 1, 2):
        text = Text(Options(hex=hexed))
        assert unescaped(text.escaped(data).encode()) == data
        made = string(f'"{text.escaped(data)}"'.encode())
        assert made is not None
        assert made.data == data


@pytest.mark.parametrize(
    "line",
    [
        b"100 pread64(" + b"<" * (1 << 20),
        b"100 " + b" " * (1 << 20) + b"x",
        b"100 ioctl(" + b" = )" * (1 << 18),
        b'100 preadv(14, ["' + b'\\"' * (1 << 19),
        b"100 openat(AT_FDCWD, " + b"{[" * (1 << 19) + b") = 3",
        b"100 dup(" + b"1<->" * (1 << 20) + b") = 3",
        b"[" * (1 << 20),
        b"1" * (1 << 20),
    ],
    ids=range(8),
)
def test_hostile_lines_take_no_longer_than_others(line: bytes) -> None:
    """No regular expression backtracks over a whole line."""
    begin = time.process_time()
    list(Parser(NAMES, IDLE, set()).read([Line(1, line, False)]))
    split(line)
    descriptor(line[8:])
    assert time.process_time() - begin < 10


def test_a_long_line_takes_no_more_memory_than_the_limit(tmp_path: Path) -> None:
    """Of a line of 100 MiB, only the beginning is kept."""
    path = tmp_path / "long"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b"\n100 close(3) = 0\n")
    tracemalloc.start()
    try:
        first, second = lines(path)
        assert tracemalloc.get_traced_memory()[1] < 3 * LONGEST
    finally:
        tracemalloc.stop()
    assert (first.cut, len(first.text)) == (True, LONGEST)
    assert second == (2, b"100 close(3) = 0", False)


def test_many_processes_come_and_go() -> None:
    """Their number in memory is bounded; the latest ones are known."""
    known = Descriptors()
    for pid in range(70_000):
        known.put(pid, pid, File(Kind.DEVICE, pid), True)
    assert len(known._tables) == 1 << 16
    assert len(known.table(69_999).slots) == 1 << 12
    assert len(known.numbers) <= 1 << 16
