# SPDX-License-Identifier: GPL-2.0-only
"""The trace format: records are read as they were written, and everything read is checked."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.clients.trace import Reader, Record, Region, TraceError, Writer
from vfio_compliance.run.client import Bitmap, ContainerCall

MIGRATION = Region(9, 0x5000, ((0x1000, 0x4000),), True)
DIGEST = "0123456789abcdef" * 4

HEADER = {"trace": "vfio-compliance", "version": 2, "recorded": "by hand", "maps": "seen"}
READ = {"verb": "read", "time": 0, "region": 9, "offset": 0, "length": 4, "value": 4, "errno": 0, "data": "01000000"}
LONG = {"verb": "write", "time": 1, "region": 9, "offset": 64, "length": 65, "value": 65, "errno": 0, "sha256": DIGEST}
GET = {
    **{"verb": "dirty", "time": 0, "argsz": 48, "flags": 4, "iova": 0, "size": 4096, "value": 0, "errno": 0},
    "bitmap": {"pgsize": 4096, "size": 8, "zero": True},
}
ABOUT = {"verb": "region", "time": 0, "region": 9, "size": 4096, "areas": [[0, 4096]], "migration": True}


def put(path: Path, *lines: str | Mapping[str, Any]) -> Path:
    """A file of these lines; a mapping becomes JSON."""
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in text))
    return path


def test_round_trip(tmp_path: Path) -> None:
    """Every kind of record is read as it was written."""
    path = tmp_path / "trace"
    writer = Writer(path, "a test", maps_seen=True)
    assert path.stat().st_mode & 0o777 == 0o600  # the data in it is its owner's
    writer.region(0.25, MIGRATION)
    writer.simple("open", 0.5)
    writer.access("read", 1.0, 12, (9, 0, 4), 4, 0, b"\1\0\0\0")
    writer.access("read", 1.5, 12, (9, 0, 4), -1, 22, b"")
    writer.access("write", 2.0, 7, (9, 0x1000, 100), 100, 0, b"", DIGEST)
    writer.access("map", 2.5, 0, (9, 0x1000, 0x4000), 0, 0, b"")
    writer.reset(3.0, 5, 0)
    writer.reset(3.5, 5, 5)
    writer.gap(4.0)
    writer.gap(4.0, "the recorder slept")
    writer.access("write", 4.0, 7, (9, 0x1000, 100), 100, 0, b"ab", unknown=True, device=1)
    writer.access("read", 4.0, 7, (9, 0, 4), 4, 0, b"", unknown=True)
    writer.called("dma-map", 4.0, 1, ContainerCall(32, 3, 0, 4096), 0, 0)
    writer.called("dma-unmap", 4.0, 1, ContainerCall(48, 1, 0, 4096, Bitmap(4096, 8)), -1, 22, 2)
    writer.called("dirty", 4.0, 1, ContainerCall(48, 4, 0, 4096, Bitmap(4096, 8, False)), 0, 0)
    writer.called("dirty", 4.0, 1, ContainerCall(4), -1, 22)
    writer.region(4.0, MIGRATION, 3)
    writer.reset(4.0, 1, 0, 3)
    writer.simple("close", 4.5, 3)
    writer.close(5.0)
    reader = Reader(path)
    assert reader.header == ("a test", True, "kernel")
    assert list(reader) == [
        Record(2, "region", 0.25, about=MIGRATION),
        Record(3, "open", 0.5),
        Record(4, "read", 1.0, 9, 0, 4, 4, 0, b"\1\0\0\0", took=12),
        Record(5, "read", 1.5, 9, 0, 4, -1, 22, took=12),
        Record(6, "write", 2.0, 9, 0x1000, 100, 100, 0, sha256=DIGEST, took=7),
        Record(7, "map", 2.5, 9, 0x1000, 0x4000),
        Record(8, "reset", 3.0, took=5),
        Record(9, "reset", 3.5, value=-1, errno=5, took=5),
        Record(10, "gap", 4.0),
        Record(11, "gap", 4.0, why="the recorder slept"),
        Record(12, "write", 4.0, 9, 0x1000, 100, 100, 0, b"ab", took=7, unknown=True, device=1),
        Record(13, "read", 4.0, 9, 0, 4, 4, took=7, unknown=True),
        Record(14, "dma-map", 4.0, took=1, called=ContainerCall(32, 3, 0, 4096)),
        Record(
            15,
            "dma-unmap",
            4.0,
            value=-1,
            errno=22,
            took=1,
            container=2,
            called=ContainerCall(48, 1, 0, 4096, Bitmap(4096, 8)),
        ),
        Record(16, "dirty", 4.0, took=1, called=ContainerCall(48, 4, 0, 4096, Bitmap(4096, 8, False))),
        Record(17, "dirty", 4.0, value=-1, errno=22, took=1, called=ContainerCall(4)),
        Record(18, "region", 4.0, about=MIGRATION, device=3),
        Record(19, "reset", 4.0, took=1, device=3),
        Record(20, "close", 4.5, device=3),
        Record(21, "end", 5.0),
    ]


def test_each_record_is_on_disk_at_once(tmp_path: Path) -> None:
    """Records can be read while the writer is open."""
    writer = Writer(tmp_path / "trace", "a test", maps_seen=False)
    writer.simple("open", 0.0)
    assert [record.verb for record in Reader(tmp_path / "trace")] == ["open"]
    writer.close(0.0)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """An existing file stays as it is."""
    path = tmp_path / "trace"
    path.write_text("mine")
    with pytest.raises(TraceError, match="exists already"):
        Writer(path, "a test", maps_seen=True)
    assert path.read_text() == "mine"


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    """The error names the file."""
    writer = Writer(tmp_path / "trace", "a test", maps_seen=True)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limit[1]))
    try:
        with pytest.raises(TraceError, match="trace takes no more: File too large"):
            writer.access("write", 0.0, 0, (9, 0, 64), 64, 0, bytes(64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    with pytest.raises(TraceError, match=r":\d+: the file ends inside this line"):
        list(Reader(tmp_path / "trace"))


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("", "not JSON"),
        ("hello", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("9" * 10_000, "not JSON"),
        ({"event": "run"}, 'lacks "trace"'),
        (HEADER | {"version": 1}, "version 1 of the format; this program reads 2"),
        (HEADER | {"version": [2]}, "version [2] of the format"),
        (HEADER | {"protocol": "telepathy"}, '"protocol" is'),
        (HEADER | {"protocol": [1]}, '"protocol" is'),
        (HEADER | {"maps": "perhaps"}, '"maps" is'),
        (HEADER | {"recorded": 3}, '"recorded" is a text'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_foreign_files(tmp_path: Path, first: str | Mapping[str, Any], words: str) -> None:
    """A file that is not a trace is refused at its first line."""
    path = put(tmp_path / "trace", first)
    with pytest.raises(TraceError) as caught:
        Reader(path)
    assert str(caught.value).startswith(f"{path}:1: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF\x02\x01\x01\0\n", b"\xff" * (2 << 20)], ids=["empty", "binary", "no lines"]
)
def test_files_without_text(tmp_path: Path, content: bytes) -> None:
    """An empty file, a program and one endless line do no harm."""
    path = tmp_path / "trace"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r":1: (the file is empty|not JSON|a line of more than)"):
        Reader(path)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("{", "not JSON"),
        ("3", "not a JSON object"),
        ({}, '"verb" is a text'),
        ({"verb": "dance", "time": 0}, "no verb 'dance'"),
        ({"verb": "open"}, '"time" is'),
        ({"verb": "open", "time": -1}, '"time" is'),
        ({"verb": "open", "time": True}, '"time" is'),
        ('{"verb": "open", "time": NaN}', '"time" is'),
        ('{"verb": "open", "time": Infinity}', '"time" is'),
        (READ | {"region": "9"}, '"region" is a whole number'),
        (READ | {"region": -1}, '"region" is a whole number'),
        (READ | {"offset": 1 << 64}, '"offset" is a whole number'),
        (READ | {"length": 2.5}, '"length" is a whole number'),
        (READ | {"value": 5}, '"value" is a whole number'),
        (READ | {"value": True}, '"value" is a whole number'),
        (READ | {"value": -2}, '"value" is a whole number'),
        (READ | {"value": int("9" * 300)}, "not a larger one"),
        (READ | {"errno": 22}, "do not go together"),
        (READ | {"errno": 5000}, '"errno" is a whole number'),
        (READ | {"data": "01"}, '"data" is 4 bytes'),
        (READ | {"data": "0100000g"}, '"data" is 4 bytes'),
        (READ | {"data": 1}, '"data" is a text'),
        (READ | {"took": -1}, '"took" is a whole number'),
        ({key: value for key, value in READ.items() if key != "data"}, '"data" is a text, not missing'),
        (LONG | {"sha256": "ab"}, '"sha256" is 64'),
        (LONG | {"sha256": 7}, '"sha256" is 64'),
        (ABOUT | {"areas": 7}, '"areas" is a list'),
        (ABOUT | {"areas": [[1]]}, "an area is"),
        (ABOUT | {"areas": [[1, -1]]}, "an area is"),
        (ABOUT | {"areas": [[0, 0]] * 2000}, '"areas" is a list'),
        (ABOUT | {"migration": 1}, '"migration" is true or false'),
        (ABOUT | {"size": None}, '"size" is a whole number'),
        ({"verb": "reset", "time": 0, "value": 1, "errno": 0}, '"value" is a whole number'),
        (READ | {"unknown": 1}, '"unknown" is true or false'),
        (READ | {"unknown": True, "data": "0"}, '"data" is at most 4 bytes'),
        (READ | {"unknown": True, "data": "00" * 5}, '"data" is at most 4 bytes'),
        (LONG | {"unknown": True, "data": "00" * 65}, '"data" is at most 64 bytes'),
        (READ | {"device": -1}, '"device" is a whole number'),
        (READ | {"device": 1 << 40}, '"device" is a whole number'),
        ({"verb": "open", "time": 0, "device": "a"}, '"device" is a whole number'),
        ({"verb": "gap", "time": 0, "why": 3}, '"why" is a text'),
        (GET | {"argsz": None}, '"argsz" is a whole number'),
        (GET | {"argsz": 1 << 32}, '"argsz" is a whole number'),
        (GET | {"flags": -1}, '"flags" is a whole number'),
        (GET | {"iova": 1 << 64}, '"iova" is a whole number'),
        (GET | {"size": 2.0}, '"size" is a whole number'),
        (GET | {"value": 1}, '"value" is a whole number'),
        (GET | {"container": []}, '"container" is a whole number'),
        (GET | {"bitmap": 3}, '"bitmap" is an object'),
        (GET | {"bitmap": {"pgsize": -1}}, '"pgsize" is a whole number'),
        (GET | {"bitmap": {"size": "8"}}, '"size" is a whole number'),
        (GET | {"bitmap": {"zero": 0}}, '"zero" is true or false'),
    ],
    ids=lambda value: str(value)[:50],
)
def test_malformed_records(tmp_path: Path, bad: str | Mapping[str, Any], words: str) -> None:
    """A malformed record is refused with its line, after those before it were returned."""
    path = put(tmp_path / "trace", HEADER, READ, bad, READ)
    records = iter(Reader(path))
    assert next(records).data == b"\1\0\0\0"
    with pytest.raises(TraceError) as caught:
        next(records)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert words in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 200


def test_optional_and_unknown_keys(tmp_path: Path) -> None:
    """Unknown keys, data of a failed read, and a missing digest do no harm."""
    failed = READ | {"value": -1, "errno": 22, "colour": "red"}
    bare = {key: value for key, value in LONG.items() if key != "sha256"}
    records = list(Reader(put(tmp_path / "trace", HEADER | {"more": 1}, failed, bare)))
    assert [(record.value, record.data, record.sha256) for record in records] == [(-1, b"", ""), (65, b"", "")]
    assert [record.unknown for record in records] == [False, True]


def test_a_complete_record_is_never_unknown(tmp_path: Path) -> None:
    """If a record is marked as unknown but has all its data, it counts as complete."""
    (record,) = Reader(put(tmp_path / "trace", HEADER, READ | {"unknown": True}))
    assert (record.data, record.unknown) == (b"\1\0\0\0", False)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_cut_short(tmp_path: Path, cut: int) -> None:
    """A file that ends inside a line says so."""
    path = put(tmp_path / "trace", HEADER, READ)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(TraceError, match=":2: the file ends inside this line"):
        list(Reader(path))


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(TraceError, match="nowhere: No such file"):
        Reader(tmp_path / "nowhere")
