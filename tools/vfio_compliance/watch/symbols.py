# SPDX-License-Identifier: GPL-2.0-only
"""Finds the source line of a place in the kernel or a module, if its debug information and binutils are there."""

from __future__ import annotations

import functools
import os
import re
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ..common.kernel_modules import kernel_name
from ..results.kernel_log import INDENT

#: Files or folders that hold the kernel or modules with debug information, with colons between them.
VARIABLE: Final = "VFIO_DEBUG_INFO"

#: The name of kernels with debug information; in ``files`` it stands for the kernel itself.
KERNEL: Final = "vmlinux"

#: Seconds that a run waits for one tool at most, and for all of them together.
_PATIENCE = 10.0
_TOGETHER = 30.0

_PLACE = re.compile(
    rf"({INDENT}(in|called from) ([\w.$]+)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: \[(\w+)(?: [0-9a-f]+)?\])?)", re.ASCII
)
#: A function in the table of symbols that objdump prints: value, flags, section, size, name.
_FUNCTION = re.compile(r"([0-9a-f]+) .{6}F (\S+)\t([0-9a-f]+) (?:\.hidden )?(\S+)", re.ASCII)
_BUILD_ID = re.compile(r"Build ID: ([0-9a-f]+)")
#: The head of a note: sizes of name and content, and type; and the note that identifies a build.
_NOTE: Final = struct.Struct("=3I")
_IDENTITY: Final = (b"GNU\0", 3)


class _Function(NamedTuple):
    section: str
    #: Bytes from the start of the section, and of the function.
    start: int
    size: int


class Symbols:
    """Adds file and line to places in the kernel and in modules. Unknown places are left as they are."""

    def __init__(
        self,
        places: Sequence[Path] | None = None,
        sys: Path = Path("/sys"),
        files: Mapping[str, Path] | None = None,
    ) -> None:
        """``places`` are files or folders that may hold them; by default those of this machine and environment.

        ``files`` are the files of some modules, by name, that are known to have been loaded.
        """
        self._places = list(_usual() if places is None else places)
        self._sys = sys
        self._files: dict[str, Path | None] = dict(files or {})
        #: Seconds that were spent on tools.
        self._spent = 0.0

    def decoded(self, line: str) -> str:
        """The line, with file and line number after the place that it names."""
        if not (found := _PLACE.fullmatch(line)):
            return line
        whole, how, function, offset, size, module = found.groups()
        # A caller continues after the call, which may already be in another line.
        at = self._source(module or KERNEL, function, int(offset, 16) - (how != "in"), int(size, 16))
        return f"{whole} {at}" if at else line

    def _source(self, module: str, function: str, offset: int, size: int) -> str:
        if (path := self._file(module)) is None:
            return ""
        # The kernel also counts the padding before the next function.
        fitting = [each for each in self._functions(path).get(function, ()) if offset < each.size <= size]
        if len(fitting) != 1:
            return ""
        # In a module, which has no addresses yet, a function's place is relative to its section.
        section = () if module == KERNEL else ("-j", fitting[0].section)
        output = self._output("addr2line", "-e", str(path), *section, hex(fitting[0].start + offset))
        text = output.strip().partition(" (discriminator")[0]
        return "" if text.startswith("?") or text.endswith(("?", ":0")) else text

    @functools.cache  # noqa: B019 (a run has only one of these)
    def _functions(self, path: Path) -> dict[str, list[_Function]]:
        """The functions in a file by name; static ones of several files may share one."""
        functions: dict[str, list[_Function]] = {}
        for line in self._output("objdump", "--syms", str(path)).splitlines():
            if found := _FUNCTION.match(line):
                start, section, size, name = found.groups()
                functions.setdefault(name, []).append(_Function(section, int(start, 16), int(size, 16)))
        return functions

    def _file(self, module: str) -> Path | None:
        """The file of a loaded module or of the kernel, and of no other build of it."""
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def _find(self, module: str) -> Path | None:
        if module == KERNEL:
            loaded, paths = _build_id(self._sys / "kernel/notes"), _kernels(self._places)
        else:
            loaded = _build_id(self._sys / "module" / module / "notes/.note.gnu.build-id")
            paths = _candidates(self._places, module)
        for path in paths if loaded else ():
            found = _BUILD_ID.search(self._output("readelf", "--notes", str(path)))
            if found and found[1] == loaded:
                return path
        return None

    def _output(self, *command: str) -> str:
        """What a tool of binutils prints; nothing if it fails, is missing, or takes too long."""
        if self._spent >= _TOGETHER:
            return ""
        began = time.monotonic()
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE,
                env=os.environ | {"LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        finally:
            self._spent += time.monotonic() - began
        return done.stdout.decode("utf-8", "replace")


def _usual() -> Iterator[Path]:
    """What the user names, then the places where distributions and kernel builds have modules and kernels."""
    yield from (Path(place) for place in os.environ.get(VARIABLE, "").split(":") if place)
    release = os.uname().release
    yield from (Path("/usr/lib/debug/lib/modules", release), Path("/lib/modules", release))
    yield from (Path("/usr/lib/debug/boot"), Path("/lib/modules", release, "build"))


def _kernels(places: Sequence[Path]) -> Iterator[Path]:
    """Files with the name of a kernel with debug information."""
    names = (KERNEL, f"{KERNEL}-{os.uname().release}", f"{KERNEL}.debug")
    for place in places:
        if place.is_dir():
            yield from (place / name for name in names if (place / name).is_file())
        elif place.name.startswith(KERNEL):
            yield place


def _candidates(places: Sequence[Path], module: str) -> Iterator[Path]:
    """Files with the name of a module, in which a dash may stand for an underscore."""
    names = {f"{module}{end}" for end in (".ko", ".ko.debug")}
    for place in places:
        if place.is_dir():
            yield from sorted(path for path in place.rglob("*.ko*") if kernel_name(path.name) in names)
        elif kernel_name(place.name) in names:
            yield place


def _build_id(notes: Path) -> str:
    """The identity of a build, from notes that the kernel keeps; empty without one."""
    try:
        data = notes.read_bytes()
    except OSError:
        return ""
    while len(data) > _NOTE.size:
        name_size, size, kind = _NOTE.unpack_from(data)
        name, rest = data[_NOTE.size :][:name_size], data[_NOTE.size + _padded(name_size) :]
        if (name, kind) == _IDENTITY:
            return rest[:size].hex()
        data = rest[_padded(size) :]
    return ""


def _padded(size: int) -> int:
    """Notes are made of words."""
    return -(-size // 4) * 4
