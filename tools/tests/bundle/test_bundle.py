# SPDX-License-Identifier: GPL-2.0-only
"""Bundles: verify finds every change to one, and names the place."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import shutil
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tarfile import TarInfo
from typing import Any

import pytest
from stories import FINISH, RULE, first

from vfio_compliance.bundle import journal as packed_journal
from vfio_compliance.bundle import packing, redact, signature
from vfio_compliance.bundle.contents import Finding
from vfio_compliance.bundle.make import ABOUT, SUMS, BundleError, make
from vfio_compliance.bundle.verify import verify
from vfio_compliance.cli.main import main
from vfio_compliance.results import journal
from vfio_compliance.results.events import End, Environment, Note, Plan, Start
from vfio_compliance.results.journal import Journal
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.rules.version import VERSION, Erratum

PROFILE = b"name: x\nlink: /home/joe/notes.txt\n"
SYSFS = "/sys/bus/pci/devices/0000:65:00.0"
HOST = "lab-seven.example.org"


def content_of(packed: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    """The content of a file in a bundle."""
    found = packed.extractfile(member)
    assert found is not None
    return found.read()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a run of two cases."""
    made = tmp_path / "run"
    (made / "inputs").mkdir(parents=True)
    (made / "inputs" / "profile.yaml").write_bytes(PROFILE)
    (made / "report.junit.xml").write_text('{"path": "/home/joe/x", "ok": true}\n')
    (made / "pytest.log").write_text("not for others\n")
    (made / "data").mkdir()
    (made / "data" / hashlib.sha256(b"secret").hexdigest()).write_bytes(b"secret")
    facts = {"host name": HOST, "rule set": str(VERSION), "device serial": "ABC12345"}
    with Journal(made / journal.NAME) as opened:
        opened.write(first([RULE], {"a.py::one": "v1.one", "a.py::two": "v1.one"}))
        opened.write(Plan((("a.py::one", "v1.one"), ("a.py::two", "v1.one"))))
        inputs = {"/home/joe/profile.yaml": hashlib.sha256(PROFILE).hexdigest()}
        opened.write(Environment(facts, inputs, ("--seed=1",), "/home/joe/work"))
        for case in ("a.py::one", "a.py::two"):
            opened.write(Start(case, "v1.one"))
            opened.write(End(case, "v1.one", Verdict.PASS, 0.1, None, {}, ()))
        opened.write(Note(f"seen on {HOST}, serial number XK-2201, in /home/joe/work and {SYSFS}"))
        opened.write(FINISH)
        opened.end()
    return made


@pytest.fixture
def bundle(folder: Path, tmp_path: Path) -> Path:
    """The bundle of that run."""
    made = tmp_path / "run.tar.gz"
    make(folder, made)
    return made


def wrong(path: Path, **options: Any) -> list[Finding]:
    """Everything wrong with a bundle."""
    return [finding for finding in verify(path, **options) if finding.wrong]


def test_an_unchanged_bundle_is_good(bundle: Path, folder: Path, tmp_path: Path) -> None:
    """It has the same bytes each time, and any tar unpacks it."""
    assert wrong(bundle) == []
    assert signature.UNSIGNED in [finding.text for finding in verify(bundle)]
    make(folder, tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == bundle.read_bytes()
    with tarfile.open(bundle) as unpacked:
        names = [name.partition("/")[2] for name in unpacked.getnames()]
        sums = content_of(unpacked, unpacked.getnames()[-1]).decode()
        text = content_of(unpacked, unpacked.getnames()[names.index(packed_journal.NAME)])
    reports = ["report.html", "report.txt", "report.json", "report.md"]  # new ones: others may be of another journal
    assert names == [ABOUT, "inputs/profile.yaml", *reports, packed_journal.NAME, SUMS]
    assert lzma.decompress(text) == (folder / journal.NAME).read_bytes()
    assert [line.split()[1] for line in sums.splitlines()] == names[:-1]


def test_every_byte(bundle: Path) -> None:
    """A changed byte is found, with its place: each one of the head and of the end, and some of the others."""
    data = bytearray(bundle.read_bytes())
    for place in {*range(64), *range(64, len(data) - 64, 19), *range(len(data) - 64, len(data))}:
        data[place] ^= 1 << place % 8
        bundle.write_bytes(data)
        found = wrong(bundle)
        assert found, place
        assert all(each.text for each in found)
        data[place] ^= 1 << place % 8


def test_every_length(bundle: Path) -> None:
    """A bundle that is cut anywhere, or has data appended, is refused."""
    data = bundle.read_bytes()
    for length in range(0, len(data), 29):
        bundle.write_bytes(data[:length])
        assert wrong(bundle), length
    bundle.write_bytes(data + b"\0")
    assert wrong(bundle)


def repacked(bundle: Path, change: Callable[..., Any]) -> None:
    """The same bundle with its members changed, in gzip and tar as this program writes them."""
    with tarfile.open(bundle) as unpacked:
        members = {each.name.partition("/")[2]: content_of(unpacked, each) for each in unpacked}
    change(members)
    with bundle.open("w+b") as file:
        packer = packing.Packer(file, "run")
        for name, content in members.items():
            packer.add(name, len(content), [content])
        packer.close()


def with_sums(members: dict[str, bytes]) -> None:
    """New sums, as by an attacker who changed a file."""
    members.pop(SUMS, None)
    members[SUMS] = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items()
    ).encode()


def edit(members: dict[str, bytes], old: bytes, new: bytes) -> None:
    """A change in the journal, as by an attacker who knows about the sums but not about the chain."""
    text = lzma.decompress(members[packed_journal.NAME])
    assert old in text
    members[packed_journal.NAME] = lzma.compress(text.replace(old, new, 1))
    with_sums(members)


@pytest.mark.parametrize(
    ("change", "about", "words"),
    [
        (lambda members: members.update({"report.txt": b"CONFORMANT\n"}), "report.txt", "its digest is different"),
        (lambda members: members.pop("inputs/profile.yaml"), "inputs/profile.yaml", "missing"),
        (lambda members: members.pop(SUMS), "bundle", f"there is no {SUMS}"),
        (lambda members: members.update({SUMS: b"hello\n"}), "bundle", f"{SUMS}, line 1: not a digest and a name"),
        (lambda members: (members.pop(ABOUT), with_sums(members)), ABOUT, "missing, but required in every bundle"),
        (lambda members: (members.update({ABOUT: b"[]"}), with_sums(members)), ABOUT, "not as bundle writes it"),
        (
            lambda members: (members.update({"inputs/profile.yaml": b"name: y\n"}), with_sums(members)),
            "inputs",
            "/home/joe/profile.yaml is not in it with the content by which the run was judged",
        ),
        (
            lambda members: edit(members, b'"verdict":"pass"', b'"verdict":"n/a"'),
            "journal",
            "line 5: it does not follow from the line before",
        ),
        (
            lambda members: (members.update({"data/" + "0" * 64: b"x"}), with_sums(members)),
            "data/" + "0" * 64,
            "its digest is not its name",
        ),
    ],
    ids=["report", "no profile", "no sums", "other sums", "no about", "other about", "profile", "journal", "data"],
)
def test_changed_member(bundle: Path, change: Callable[..., Any], about: str, words: str) -> None:
    """A file that was changed, removed or added is named; in a journal, its line."""

    def ordered(members: dict[str, bytes]) -> None:
        sums = members.pop(SUMS)
        members[SUMS] = sums
        change(members)
        if SUMS in members:
            members[SUMS] = members.pop(SUMS)

    repacked(bundle, ordered)
    assert (about, words) in [(found.about, found.text[: len(words)]) for found in wrong(bundle)]


def test_cut_journal(bundle: Path) -> None:
    """A journal without its last lines is found even if the sums were made anew."""

    def change(members: dict[str, bytes]) -> None:
        lines = lzma.decompress(members[packed_journal.NAME]).splitlines(keepends=True)
        members[packed_journal.NAME] = lzma.compress(b"".join(lines[:-2]))
        with_sums(members)

    repacked(bundle, change)
    assert "the journal was not closed" in wrong(bundle)[0].text


def test_journal_without_chain(bundle: Path) -> None:
    """Removing the chain hides nothing."""

    def change(members: dict[str, bytes]) -> None:
        lines = lzma.decompress(members[packed_journal.NAME]).splitlines()
        members[packed_journal.NAME] = lzma.compress(
            b"".join(line.partition(b',"chain"')[0] + b"}\n" for line in lines)
        )
        with_sums(members)

    repacked(bundle, change)
    assert "line 1: it is not part of the chain" in wrong(bundle)[0].text


# -- hostile bundles --------------------------------------------------------------------------------------------------


def packed(path: Path, tar: bytes) -> Path:
    """A tar file in gzip as a bundle has it, with the right digest."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    tail = deflate.compress(tar) + deflate.flush() + struct.pack("<II", zlib.crc32(tar), len(tar) & 0xFFFFFFFF)
    path.write_bytes(packing._HEAD + hashlib.sha256(tail).digest() + tail)
    return path


def tar_of(info: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """A tar file of one member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as made:
        made.addfile(info, io.BytesIO(content))
    return file.getvalue()


def member(name: str, **fields: Any) -> tarfile.TarInfo:
    """A header as in a bundle, except for these fields."""
    info = tarfile.TarInfo(name)
    info.mode, info.uname, info.gname = 0o600, "root", "root"
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (member("/etc/passwd"), "whose name is not allowed in a bundle"),
        (member("run/../../x"), "whose name is not allowed in a bundle"),
        (member("../run/x"), "whose name is not allowed in a bundle"),
        (member("run/a/b/c/d"), "whose name is not allowed in a bundle"),
        (member("run/\x1b[2J"), "whose name is not allowed in a bundle"),
        (member("run/" + "x" * 99), "whose name is not allowed in a bundle"),
        (member("run/x", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "not a file, but a link"),
        (member("run/x", type=tarfile.LNKTYPE, linkname="run/y"), "not a file, but a link"),
        (member("run/x", type=tarfile.CHRTYPE), "not a file, but a link"),
        (member("run/x", type=tarfile.DIRTYPE), "not a file, but a link"),
        (member("run/x", mode=0o4755), "its header is not as bundle writes it"),
        (member("run/x", mtime=1), "its header is not as bundle writes it"),
    ],
    ids=[
        "absolute",
        "dots",
        "dots first",
        "deep",
        "escape",
        "long",
        "symlink",
        "link",
        "device",
        "folder",
        "mode",
        "time",
    ],
)
def test_hostile_member(tmp_path: Path, info: TarInfo, words: str) -> None:
    """A name or a kind that leads out of the bundle is refused; nothing is put on the disk."""
    path = packed(tmp_path / "x.tar.gz", tar_of(info))
    assert words in wrong(path)[0].text
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("size", "words"),
    [(1 << 20, "too early"), (1 << 31, "too large for a run"), (1 << 60, "its header is not"), (3, "padding")],
    ids=["larger", "bomb", "absurd", "smaller"],
)
def test_wrong_sizes(tmp_path: Path, size: int, words: str) -> None:
    """A size that does not fit the data is refused before anything is unpacked."""
    header = member("run/x", size=size).tobuf(tarfile.GNU_FORMAT)
    path = packed(tmp_path / "x.tar.gz", header + b"x" * 2048 + bytes(1024))
    assert words in wrong(path)[0].text


def test_bombs(tmp_path: Path) -> None:
    """Data that would fill the memory is refused by its size, or as soon as it exceeds that of a journal."""
    inner = lzma.compress(bytes(80 << 20), preset=0)
    tar = tar_of(member(f"run/{packed_journal.NAME}", size=len(inner)), inner)
    found = wrong(packed(tmp_path / "x.tar.gz", tar))
    assert "too large for a journal" in found[0].text


def test_duplicate_member(bundle: Path) -> None:
    """Two members of one name are refused: readers differ in which one they use."""
    data = gzip.decompress(bundle.read_bytes())
    first_member = 512 + -(-len(data[512:].partition(b"\0")[0]) // 512) * 512
    packed(bundle, data[:first_member] + data)
    assert f"{ABOUT}: present twice" in wrong(bundle)[0].text


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8b", b"PK\3\4" + bytes(99), gzip.compress(b"hello", mtime=0), b"x" * 4096],
    ids=["empty", "two bytes of gzip", "zip", "gzip of a text", "text"],
)
def test_other_kinds_of_file(tmp_path: Path, content: bytes) -> None:
    """They are refused."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    assert wrong(path)


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file has exit code 2, unlike a changed bundle."""
    assert main(["verify", str(tmp_path / "none")]) == 2
    assert "none: No such file or directory" in capsys.readouterr().err
    assert main(["bundle", str(tmp_path), "--output", str(tmp_path / "x")]) == 2
    assert "journal.jsonl: No such file" in capsys.readouterr().err


# -- contents ---------------------------------------------------------------------------------------------------------


def test_data_only_when_asked(folder: Path, tmp_path: Path) -> None:
    """A bundle has a guest's data only if the caller asks for it."""
    make(folder, tmp_path / "with.tar.gz", with_data=True)
    with tarfile.open(tmp_path / "with.tar.gz") as unpacked:
        assert any("/data/" in name for name in unpacked.getnames())
    assert wrong(tmp_path / "with.tar.gz") == []
    with pytest.raises(BundleError, match="cannot be redacted"):
        make(folder, tmp_path / "both.tar.gz", with_data=True, redact=True)
    assert not (tmp_path / "both.tar.gz").exists()


def test_redacted(folder: Path, tmp_path: Path) -> None:
    """Host names, serial numbers and paths are removed everywhere; the rest is chained again, and good."""
    path = tmp_path / "redacted.tar.gz"
    make(folder, path, redact=True)
    assert wrong(path) == []
    assert "redacted" in [finding.about for finding in verify(path)]
    with tarfile.open(path) as unpacked:
        contents = [content_of(unpacked, each) for each in unpacked]
    text = b"".join(lzma.decompress(each) if each.startswith(b"\xfd7zXZ") else each for each in contents).decode()
    for secret in ("lab-seven", "joe", "XK-2201", "ABC12345"):
        assert secret not in text
    assert SYSFS in text
    assert f"seen on {redact.HOST}, serial number {redact.SERIAL}, in {redact.PATH} and" in text


def test_damage_is_not_redacted_away(folder: Path, tmp_path: Path) -> None:
    """Chaining a damaged journal anew would hide the damage, so it is refused."""
    path = folder / journal.NAME
    path.write_bytes(path.read_bytes().replace(b'"pass"', b'"n/a"', 1))
    with pytest.raises(BundleError, match="line 5 is damaged"):
        make(folder, tmp_path / "x.tar.gz", redact=True)
    make(folder, tmp_path / "x.tar.gz")
    assert "line 5: it does not follow" in wrong(tmp_path / "x.tar.gz")[0].text


def test_an_existing_file_is_not_overwritten(folder: Path, bundle: Path, tmp_path: Path) -> None:
    """A bundle that cannot be created is reported, too."""
    before = bundle.read_bytes()
    with pytest.raises(BundleError, match="exists already"):
        make(folder, bundle)
    assert bundle.read_bytes() == before
    with pytest.raises(BundleError, match="cannot be made"):
        make(folder, tmp_path / "no" / "x.tar.gz")


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    """A link in the folder of a run does not add a file from outside it."""
    (folder / "report.link").symlink_to("/etc/passwd")
    (folder / "inputs" / "link").symlink_to("/etc/passwd")
    make(folder, tmp_path / "x.tar.gz")
    with tarfile.open(tmp_path / "x.tar.gz") as unpacked:
        assert not [name for name in unpacked.getnames() if name.endswith("link")]


def test_errata(bundle: Path) -> None:
    """If a rule is now known to be wrong, verify says so for results that judged it."""
    known = Erratum("v1.one", VERSION, VERSION + 1, "It asked for zero.", "A pass says nothing.")
    (found,) = wrong(bundle, errata=(known,))
    assert found.text == f"version {VERSION} has a known error: v1.one: It asked for zero. A pass says nothing."
    assert wrong(bundle, errata=(known._replace(rule="v1.other"),)) == []
    assert wrong(bundle, errata=(known._replace(since=VERSION + 1, corrected=VERSION + 2),)) == []


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="there is no ssh-keygen (Debian: openssh-client)")
def test_signed(bundle: Path, tmp_path: Path) -> None:
    """OpenSSH checks a signature; if signers are given, an unsigned bundle is wrong."""

    def keygen(*words: object) -> None:
        subprocess.run(["ssh-keygen", "-q", *map(str, words)], check=True, capture_output=True)

    for name in ("lab", "other"):
        keygen("-t", "ed25519", "-N", "", "-f", tmp_path / name)
    lab, other = tmp_path / "signers", tmp_path / "others"
    lab.write_text(f'lab@example.org namespaces="vfio-compliance" {(tmp_path / "lab.pub").read_text()}')
    other.write_text(f"mallory@example.org {(tmp_path / 'other.pub').read_text()}")
    assert "unsigned, but a signer of" in wrong(bundle, signers=lab)[0].text
    keygen("-Y", "sign", "-f", tmp_path / "lab", "-n", signature.NAMESPACE, bundle)
    assert wrong(bundle, signers=lab) == []
    assert "signed by lab@example.org" in [finding.text for finding in verify(bundle, lab)]
    assert "not signed by a signer of" in wrong(bundle, signers=other)[0].text
    assert any("the signer is unknown" in finding.text for finding in verify(bundle))
    repacked(bundle, with_sums)
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    assert "the signature does not match" in wrong(bundle, signers=lab)[-1].text


def test_exit_codes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 for an unchanged bundle, else 1; each line names its subject."""
    path = tmp_path / "x.tar.gz"
    assert main(["bundle", str(folder), "--output", str(path)]) == 0
    assert main(["verify", str(path)]) == 0
    output = capsys.readouterr().out
    assert signature.UNSIGNED in " ".join(output.split())
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["verify", str(path)]) == 1
    assert capsys.readouterr().out.startswith("WRONG ")


def test_about_is_json(bundle: Path) -> None:
    """The facts of the run, for a reader without this program."""
    with tarfile.open(bundle) as unpacked:
        about = json.loads(content_of(unpacked, f"p/{ABOUT}"))
    assert about["facts"]["rule set"] == str(VERSION)
    assert about["redacted"] is False


def test_partial_data_of_a_killed_run_is_not_packed(folder: Path, tmp_path: Path) -> None:
    """Nor is a report that may be of another journal."""
    (folder / "data" / ".half.123").write_bytes(b"half")
    (folder / "report.xml").write_text("<all failures='0'/>")
    make(folder, tmp_path / "it.tar.gz", with_data=True)
    assert wrong(tmp_path / "it.tar.gz") == []
    with tarfile.open(tmp_path / "it.tar.gz") as unpacked:
        assert not [name for name in unpacked.getnames() if "half" in name or name.endswith("xml")]


def test_a_configuration_of_another_kernel(folder: Path, tmp_path: Path) -> None:
    """It is found by the digest that the run recorded."""
    (folder / "inputs" / "kernel-config").write_text("CONFIG_X=y\n")
    make(folder, tmp_path / "it.tar.gz")
    assert "not the configuration that the run was made with" in wrong(tmp_path / "it.tar.gz")[0].text


def test_a_run_without_an_end(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its bundle can be made, and its report says INCOMPLETE; verify and bundle say that the journal has no end."""
    path = folder / journal.NAME
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    out = tmp_path / "it.tar.gz"
    assert main(["bundle", str(folder), "--output", str(out)]) == 2
    assert "verify will report: journal: the journal was not closed" in capsys.readouterr().err
    assert main(["report", str(out)]) == 2
    assert "INCOMPLETE" in capsys.readouterr().out.splitlines()[-1]
    assert main(["verify", str(out)]) == 1


@pytest.mark.parametrize(
    ("note", "secret"),
    [
        ("it said:\n/home/bob/dev.c:12:3: runtime error", "bob"),
        ('{"serial": "SN12345678"}', "SN12345678"),
        ("serial `SN12345678`", "SN12345678"),
        (f"{HOST}\n{HOST}", "lab-seven"),
    ],
)
def test_redacted_in_every_format(folder: Path, tmp_path: Path, note: str, secret: str) -> None:
    """Reports are made from the redacted journal, so their escapes cannot hide a name."""
    with Journal(folder / journal.NAME) as opened:
        opened.write(Note(note))
        opened.end()
    make(folder, tmp_path / "it.tar.gz", redact=True)
    assert wrong(tmp_path / "it.tar.gz") == []
    with tarfile.open(tmp_path / "it.tar.gz") as unpacked:
        for member in unpacked:
            data = content_of(unpacked, member)
            assert secret.encode() not in (lzma.decompress(data) if member.name.endswith(".xz") else data), member.name
