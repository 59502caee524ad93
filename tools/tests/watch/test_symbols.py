# SPDX-License-Identifier: GPL-2.0-only
"""Places in modules as file and line, tested with an object linked like a module."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vfio_compliance.watch.symbols import VARIABLE, Symbols

SOURCE = """
int other(int number) { return number * 3; }
__attribute__((section(".text.unlikely"), noinline)) int cold(volatile int *place)
{
    place[0] = 1;
    place[1] = 2;
    return place[2];
}
"""

#: A note of another kind; its name and content do not fill whole words.
NOTE = """__attribute__((section(".note.other"), used))
static const struct { unsigned sizes[3]; char name[8], content[4]; } note = {{6, 3, 3}, "Linux", "abc"};"""

#: Static functions of the same name and size.
TWIN = "static __attribute__((noinline, used)) int twin(volatile int *place) { return *place; }"


def build(folder: Path, name: str, source: Sequence[str]) -> Path:
    """The path of a relocatable object with debug information and a build ID."""
    parts = []
    for number, text in enumerate(source):
        (folder / f"part{number}.c").write_text(text)
        command = ["gcc", "-g", "-O1", "-c", f"part{number}.c", "-o", f"part{number}.o"]
        subprocess.run(command, cwd=folder, check=True)
        parts.append(f"part{number}.o")
    subprocess.run(["ld", "-r", "--build-id=sha1", "-o", name, *parts], cwd=folder, check=True)
    return folder / name


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[[Path, str], None]:
    """Makes sysfs look as if this module were loaded."""

    def load(path: Path, module: str) -> None:
        notes = tmp_path / "sys/module" / module / "notes"
        notes.mkdir(parents=True)
        subprocess.run(
            ["objcopy", "-O", "binary", "--only-section=.note.gnu.build-id", path, notes / ".note.gnu.build-id"],
            check=True,
        )

    return load


@pytest.fixture
def module(tmp_path: Path, loaded: Callable[[Path, str], None]) -> Path:
    """A loaded module; its name has a dash where the kernel has an underscore."""
    path = build(tmp_path, "my-driver.ko", [SOURCE, TWIN, f"\n{TWIN}"])
    loaded(path, "my_driver")
    return path


def symbols(tmp_path: Path, *places: Path) -> Symbols:
    return Symbols(places, tmp_path / "sys")


def size_of(path: Path, function: str) -> int:
    table = subprocess.run(["objdump", "--syms", path], capture_output=True, text=True, check=True).stdout
    return int(next(line.split()[4] for line in table.splitlines() if line.endswith(f" {function}")), 16)


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A program that acts as the running kernel: it has addresses, and a note before its build ID."""
    (tmp_path / "kernel.c").write_text(f"{SOURCE}\n{NOTE}\nint main(void) {{ int a[2]; return cold(a) + other(1); }}")
    command = ["gcc", "-g", "-O1", "-static", "-no-pie", "-Wl,--build-id=sha1", "kernel.c", "-o", "vmlinux"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "sys/kernel").mkdir(parents=True)
    parts = []
    for name in (".note.other", ".note.gnu.build-id"):
        part = tmp_path / name
        subprocess.run(
            ["objcopy", "-O", "binary", f"--only-section={name}", tmp_path / "vmlinux", part],
            check=True,
        )
        parts.append(part.read_bytes())
    (tmp_path / "sys/kernel/notes").write_bytes(b"".join(parts))
    return tmp_path / "vmlinux"


def test_the_kernel_itself(tmp_path: Path, kernel: Path) -> None:
    """A place without a module, in a kernel given by its folder, by its path, or as distributions name it."""
    line = f"  in cold+0x0/{size_of(kernel, 'cold'):#x}"
    named = tmp_path / "debug" / f"vmlinux-{os.uname().release}"
    named.parent.mkdir()
    named.symlink_to(kernel)
    for place in (tmp_path, kernel, named.parent):
        assert symbols(tmp_path, place).decoded(line) == f"{line} {tmp_path}/kernel.c:5"


@pytest.mark.parametrize("notes", [None, b"", b"\0" * 11, b"\xff" * 64, bytes(64)], ids=str)
def test_another_kernel(tmp_path: Path, kernel: Path, notes: bytes | None) -> None:
    """If the notes are of another build, cut, invalid or missing, the line is unchanged."""
    (tmp_path / "sys/kernel/notes").unlink()
    if notes is not None:
        (tmp_path / "sys/kernel/notes").write_bytes(notes)
    line = f"  in cold+0x0/{size_of(kernel, 'cold'):#x}"
    assert symbols(tmp_path, kernel).decoded(line) == line


def test_place(tmp_path: Path, module: Path) -> None:
    """A place in a separate section, in a module given by its folder or by its path; twice."""
    line = f"  in cold+0x0/{size_of(module, 'cold'):#x} [my_driver]"
    for place in (tmp_path, module):
        known = symbols(tmp_path, place)
        assert [known.decoded(line) for _ in range(2)] == [f"{line} {tmp_path}/part0.c:5"] * 2


def test_identity_in_the_line(tmp_path: Path, module: Path) -> None:
    """Some kernels print the build ID; padding up to the next function counts as part of the size."""
    line = f"  in cold+0x0/{size_of(module, 'cold') + 8:#x} [my_driver 0123456789abcdef]"
    assert symbols(tmp_path, module).decoded(line) == f"{line} {tmp_path}/part0.c:5"


def test_caller(tmp_path: Path, module: Path) -> None:
    """A caller is shown at the line of the call, which is before its return address."""
    size = size_of(module, "cold")
    offsets = [
        (at, symbols(tmp_path, module).decoded(f"  in cold+{at:#x}/{size:#x} [my_driver]")) for at in range(size)
    ]
    after = next(at for at, line in offsets if not line.endswith(offsets[0][1][-2:]))
    known = symbols(tmp_path, module)
    assert known.decoded(f"  in cold+{after:#x}/{size:#x} [my_driver]").endswith("part0.c:6")
    assert known.decoded(f"  called from cold+{after:#x}/{size:#x} [my_driver]").endswith("part0.c:5")


@pytest.mark.parametrize(
    "line",
    [
        "BUG: kernel NULL pointer dereference",
        "  in cold+0x0/0x10",
        "  in nothing+0x0/0x10 [my_driver]",
        "  in cold+0x0/0x1 [my_driver]",
        "  in cold+0xffff/0x10000 [my_driver]",
        "  in cold+0x0/0x100 [not_loaded]",
        "  in twin+0x0/0x100 [my_driver]",
        "  in cold+0x0/0x100 [../../my_driver]",
    ],
)
def test_unknown_places(tmp_path: Path, module: Path, line: str) -> None:
    """A place without a module, in a missing one, or in one of two functions is unchanged."""
    assert symbols(tmp_path, module).decoded(line) == line


def test_another_build(tmp_path: Path, module: Path) -> None:
    """A file of the same name from another build is ignored, as its lines would be wrong."""
    (tmp_path / "other").mkdir()
    other = build(tmp_path / "other", "my-driver.ko", [SOURCE.replace("* 3", "* 5")])
    line = f"  in cold+0x0/{size_of(module, 'cold'):#x} [my_driver]"
    assert symbols(tmp_path, other).decoded(line) == line
    assert symbols(tmp_path, other, module).decoded(line) != line


def test_no_debug_information(tmp_path: Path, module: Path) -> None:
    """A stripped module has its functions, but no lines."""
    line = f"  in cold+0x0/{size_of(module, 'cold'):#x} [my_driver]"
    subprocess.run(["strip", "--strip-debug", module], check=True)
    assert symbols(tmp_path, module).decoded(line) == line


def test_missing_tools(tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, there is no line number."""
    line = f"  in cold+0x0/{size_of(module, 'cold'):#x} [my_driver]"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert symbols(tmp_path, module).decoded(line) == line


@pytest.mark.parametrize(
    "script", ["exit 1", "head -c 999 /dev/urandom", "exec sleep 60"], ids=["failing", "garbage", "slow"]
)
def test_broken_tools(tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """If tools fail, print garbage or never end, there is no line number, and little time is lost."""
    monkeypatch.setattr("vfio_compliance.watch.symbols._PATIENCE", 0.2)
    line = f"  in cold+0x0/{size_of(module, 'cold'):#x} [my_driver]"
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("readelf", "objdump", "addr2line"):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    for name in ("head", "sleep"):
        (tools / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    assert symbols(tmp_path, module).decoded(line) == line


def test_bounded(tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time spent on a driver that never stops complaining is limited; after that, places are unchanged."""
    size = size_of(module, "cold")
    known = symbols(tmp_path, module)
    lines = [f"  in cold+{number:#x}/{size:#x} [my_driver]" for number in range(2)]
    assert known.decoded(lines[0]) != lines[0]
    monkeypatch.setattr("vfio_compliance.watch.symbols._TOGETHER", 1e-6)
    assert known.decoded(lines[1]) == lines[1]


def test_places_in_the_environment(tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user can name modules there."""
    monkeypatch.setenv(VARIABLE, f"/nowhere:{module}")
    line = f"  in cold+0x0/{size_of(module, 'cold'):#x} [my_driver]"
    assert Symbols(sys=tmp_path / "sys").decoded(line) == f"{line} {tmp_path}/part0.c:5"
