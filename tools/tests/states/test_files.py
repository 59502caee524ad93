# SPDX-License-Identifier: GPL-2.0-only
"""A state file is read whole or not at all: for any damage, the answer is one line that says what is wrong."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.states.archive import StateError, StateFile, new_file, write
from vfio_compliance.states.manifest import Buffer, Manifest, Shown

DATA = [bytes(range(256)) * 2, b"x" * 77]
LARGEST = 1 << 20


def manifest_of(data: Sequence[bytes]) -> Manifest:
    buffers = [Buffer(len(each), hashlib.sha256(each).hexdigest(), 4096, "stop-and-copy") for each in data]
    return Manifest("an_interface", {"name": "a device"}, tuple(buffers), Shown.of("0" * 64, [1, 1 << 200]))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A good file."""
    path = tmp_path / "good.state"
    with new_file(path) as file:
        write(file, manifest_of(DATA), DATA)
    return path


def reads(path: Path, largest: int = LARGEST) -> tuple[Manifest, list[bytes]]:
    """Its manifest and its buffers."""
    with StateFile(path, largest) as state:
        return state.manifest, [b"".join(state.pieces(index)) for index in range(len(state.manifest.buffers))]


def refused(path: Path, largest: int = LARGEST) -> str:
    """The message of the refusal: one line that begins with the path."""
    with pytest.raises(StateError) as caught:
        reads(path, largest)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300, message
    return message


def forged(path: Path, manifest: Mapping[str, Any] | bytes, data: bytes, size: int | None = None) -> Path:
    """A file with right digests and any manifest."""
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    sums = "".join(
        f"{hashlib.sha256(each).hexdigest()}  {name}\n" for each, name in ((text, "manifest.json"), (data, "data"))
    )
    with path.open("wb") as file:
        for name, each in (("manifest.json", text), ("data", data), ("SHA256SUMS", sums.encode())):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uname, info.gname = len(each), 0o600, "root", "root"
            if name == "data" and size is not None:
                info.size = size
            file.write(info.tobuf(tarfile.GNU_FORMAT) + each + bytes(-len(each) % 512))
        file.write(bytes(1024))
    return path


def plain(data: Sequence[bytes] = DATA) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(manifest_of(data).to_bytes())
    return made


def test_file_is_read_as_it_was_written(good: Path) -> None:
    """Buffers, manifest and shown values."""
    assert reads(good)[1] == DATA
    assert reads(good)[0].buffers == manifest_of(DATA).buffers
    shown = reads(good)[0].shown
    assert shown is not None
    assert shown.numbers() == [1, 1 << 200]


def test_forgery_without_a_lie_is_read(tmp_path: Path) -> None:
    """The forged files below are refused only for their lies."""
    assert reads(forged(tmp_path / "f", plain(), b"".join(DATA)))[1] == DATA


def test_standard_tools_can_open_it(good: Path, tmp_path: Path) -> None:
    """tar extracts it, and sha256sum confirms it."""
    with tarfile.open(good) as archive:
        assert archive.getnames() == ["manifest.json", "data", "SHA256SUMS"]
    subprocess.run(["tar", "xf", good, "--no-same-owner"], cwd=tmp_path, check=True)
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0
    assert checked.stdout.count(": OK") == 2


def test_only_its_owner_may_read_it(good: Path) -> None:
    """Mode 0600."""
    assert stat.S_IMODE(good.stat().st_mode) == 0o600


def test_truncated_file_is_refused(good: Path, tmp_path: Path) -> None:
    """At any length."""
    whole, cut = good.read_bytes(), tmp_path / "cut"
    cut.write_bytes(whole)
    for length in reversed(range(len(whole))):
        os.truncate(cut, length)
        refused(cut)


def test_edited_file_is_refused(good: Path, tmp_path: Path) -> None:
    """Each byte is changed, in one bit or in all."""
    whole, edited = bytearray(good.read_bytes()), tmp_path / "edited"
    edited.write_bytes(whole)
    with edited.open("r+b", buffering=0) as file:
        for place, byte in enumerate(whole):
            os.pwrite(file.fileno(), bytes([byte ^ (0x01, 0x80, 0xFF)[place % 3]]), place)
            refused(edited)
            os.pwrite(file.fileno(), bytes([byte]), place)
    assert reads(edited)[1] == DATA


def test_file_with_a_trailing_byte_is_refused(good: Path) -> None:
    """The message says so."""
    with good.open("ab") as file:
        file.write(b"\0")
    assert "followed by something else" in refused(good)


def test_swapped_buffers_are_refused(tmp_path: Path) -> None:
    """All data is there, but in another order."""
    assert "buffer 1 was changed" in refused(forged(tmp_path / "f", plain(), DATA[1] + DATA[0]))


LIES = {
    "larger buffer": lambda fields: fields["buffers"][0].update(size=513),
    "smaller buffer": lambda fields: fields["buffers"][0].update(size=511),
    "empty buffer": lambda fields: fields["buffers"][0].update(size=0),
    "negative size": lambda fields: fields["buffers"][0].update(size=-512),
    "2^63 bytes": lambda fields: fields["buffers"][0].update(size=1 << 63),
    "more than 64 bits": lambda fields: fields["buffers"][0].update(size=1 << 70),
    "Boolean as size": lambda fields: fields["buffers"][0].update(size=True),
    "string as size": lambda fields: fields["buffers"][0].update(size="512"),
    "no size": lambda fields: fields["buffers"][0].pop("size"),
    "no buffers": lambda fields: fields.update(buffers=[]),
    "missing buffer": lambda fields: fields["buffers"].pop(),
    "too many buffers": lambda fields: fields.update(buffers=fields["buffers"] * (1 << 17 | 1)),
    "digest of another length": lambda fields: fields["buffers"][0].update(sha256="00"),
    "no interface": lambda fields: fields.pop("interface"),
    "identity of numbers": lambda fields: fields.update(identity={"name": 1}),
    "thousand facts": lambda fields: fields.update(identity={str(n): "x" for n in range(1000)}),
    "number as shown": lambda fields: fields.update(shown=7),
    "invalid shown values": lambda fields: fields["shown"].update(values=["-1"]),
    "other format": lambda fields: fields.update(format="tape"),
    "later version": lambda fields: fields.update(version=2),
    "version one half": lambda fields: fields.update(version=0.5),
    "version true": lambda fields: fields.update(version=True),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_manifest_is_refused(tmp_path: Path, lie: str) -> None:
    """Although its digests are right."""
    fields = plain()
    LIES[lie](fields)
    refused(forged(tmp_path / "f", fields, b"".join(DATA)))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000], ids=len
)
def test_invalid_manifest_is_refused(tmp_path: Path, text: bytes) -> None:
    """Not JSON, or not an object."""
    refused(forged(tmp_path / "f", text, b""))


def test_other_version_is_named(tmp_path: Path) -> None:
    """With the version that is needed."""
    message = refused(forged(tmp_path / "f", plain() | {"version": 2}, b"".join(DATA)))
    assert "version 2" in message
    assert "reads version 1" in message


def test_state_larger_than_the_limit_is_refused(good: Path) -> None:
    """The message names the limit."""
    assert "limits.largest_state" in refused(good, largest=100)


@pytest.mark.parametrize("size", [0, 588, 590, 1 << 20, 1 << 40, (1 << 63) - 1])
def test_data_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    """The header of the data has a wrong size."""
    refused(forged(tmp_path / "f", plain(), b"".join(DATA), size))


def test_sparse_file_is_refused(tmp_path: Path) -> None:
    """A file of 1 TiB without data takes no time."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(path)


def compressed(path: Path, whole: bytes) -> None:
    path.write_bytes(gzip.compress(whole))


def zipped(path: Path, whole: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(10 << 20))


def tarred(**changes: Any) -> Callable[..., None]:
    def make(path: Path, whole: bytes) -> None:
        info = tarfile.TarInfo("manifest.json")
        info.mode, info.uname, info.gname = 0o600, "root", "root"
        for name, value in changes.items():
            setattr(info, name, value)
        path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + whole[512:])

    return make


FOREIGN: dict[str, Callable[[Path, bytes], object]] = {
    "empty": lambda path, whole: path.write_bytes(b""),
    "text": lambda path, whole: path.write_text("a state\n" * 400),
    "zeros": lambda path, whole: path.write_bytes(bytes(10240)),
    "gzip": compressed,
    "zip": zipped,
    "folder": lambda path, whole: path.mkdir(),
    "pipe": lambda path, whole: os.mkfifo(path),
    "device": lambda path, whole: path.symlink_to("/dev/zero"),
    "broken link": lambda path, whole: path.symlink_to("nowhere"),
    "missing": lambda path, whole: None,
    "link inside": tarred(type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link inside": tarred(type=tarfile.LNKTYPE, linkname="data"),
    "device inside": tarred(type=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "sparse member": tarred(type=tarfile.GNUTYPE_SPARSE, size=100),
    "path to the parent folder": tarred(name="../manifest.json"),
    "absolute path": tarred(name="/manifest.json"),
    "other owner": tarred(uid=1000),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_refused(good: Path, tmp_path: Path, kind: str) -> None:
    """Anything that is not a state file."""
    path = tmp_path / "other"
    FOREIGN[kind](path, good.read_bytes())
    refused(path)


def test_change_while_it_is_read_is_detected(good: Path) -> None:
    """The device gets only data that was checked."""
    with StateFile(good, LARGEST) as state:
        place = good.read_bytes().index(DATA[1])
        with good.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), b"y", place)
        assert b"".join(state.pieces(0)) == DATA[0]
        with pytest.raises(StateError, match="changed while it was read"):
            list(state.pieces(1))


def test_existing_file_is_not_replaced(tmp_path: Path) -> None:
    """Its content is kept."""
    path = tmp_path / "there"
    path.write_text("precious")
    with pytest.raises(StateError, match="exists already"), new_file(path):
        pytest.fail("it was opened")
    assert path.read_text() == "precious"


def test_broken_link_is_not_replaced(tmp_path: Path) -> None:
    """It still leads nowhere."""
    path = tmp_path / "there"
    path.symlink_to("nowhere")
    with pytest.raises(StateError, match="exists already"), new_file(path):
        pytest.fail("it was opened")
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_appears_in_the_meantime_is_not_replaced(tmp_path: Path) -> None:
    """And the new one is discarded."""
    path = tmp_path / "there"

    def write_late() -> None:
        with new_file(path) as file:
            file.write(b"new")
            path.write_text("precious")

    with pytest.raises(StateError, match="exists already"):
        write_late()
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), ValueError])
def test_write_that_fails_leaves_no_file(tmp_path: Path, error: type[BaseException] | OSError) -> None:
    """Whatever ends it."""

    def write_half() -> None:
        with new_file(tmp_path / "new") as file:
            file.write(b"half")
            raise error

    with pytest.raises((KeyboardInterrupt, StateError, ValueError)):
        write_half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["nowhere/new", "a\0b", "n" * 300])
def test_impossible_path_is_refused(tmp_path: Path, path: str) -> None:
    """Nothing is created."""
    with pytest.raises(StateError), new_file(tmp_path / path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_manifest_too_large_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its objects would take thirty times the memory."""
    monkeypatch.setattr(json, "loads", lambda *_: pytest.fail("it was read"))
    assert "too large for a state" in refused(forged(tmp_path / "f", b"[" + b"[]," * (8 << 20) + b"[]]", b""))


@pytest.mark.parametrize("fact", ["two\nlines", "\x1b[31mred", "x" * 4097], ids=["lines", "escape", "long"])
def test_fact_must_be_one_short_line(tmp_path: Path, fact: str) -> None:
    """Without control characters, as a name and as a value."""
    for facts in ({"driver": fact}, {fact: "a driver"}):
        assert "a fact is one line" in refused(forged(tmp_path / "f", plain() | {"identity": facts}, b"".join(DATA)))


def test_size_limit_counts_one_step(tmp_path: Path) -> None:
    """Data of pre-copy is saved again after it, so both together may exceed the limit."""
    fields = plain([b"x" * 600, b"y" * 700])
    assert "more than limits.largest_state" in refused(forged(tmp_path / "f", fields, b"x" * 600 + b"y" * 700), 1000)
    fields["buffers"][0]["read_in"] = "pre-copy"
    assert reads(forged(tmp_path / "f", fields, b"x" * 600 + b"y" * 700), 1000)


def test_state_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    """It has more buffers than a file may have."""
    manifest = manifest_of([b"x"])
    whole = Manifest(manifest.interface, manifest.identity, manifest.buffers * ((1 << 18) + 1))
    with pytest.raises(StateError, match="262145 buffers"), new_file(tmp_path / "new") as file:
        write(file, whole, [b"x"] * len(whole.buffers))
    assert list(tmp_path.iterdir()) == []


def unsupported(*_: str | Path) -> None:
    """In place of os.link, on a file system without hard links."""
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def test_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file gets its name in another way."""
    path = tmp_path / "new"
    monkeypatch.setattr(os, "link", unsupported)
    with new_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_file_system_without_links_replaces_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that appears in the meantime."""
    path = tmp_path / "new"

    def link(*_: str | Path) -> None:
        path.write_text("precious")
        unsupported()

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StateError), new_file(path):
        pass
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]
