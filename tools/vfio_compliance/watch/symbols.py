# SPDX-License-Identifier: GPL-2.0-only
"""Where in the source a place in a module stands, as far as its debug information is there and binutils are."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ..common.kernel_modules import kernel_name
from ..results.kernel_log import INDENT

#: Files or folders that hold modules with debug information, with colons between them.
VARIABLE: Final = "VFIO_DEBUG_INFO"

#: Seconds that a run waits for a tool at most, and for all of them together.
_PATIENCE = 10.0
_TOGETHER = 30.0

_PLACE = re.compile(
    rf"({INDENT}(in|called from) ([\w.$]+)\+0x([0-9a-f]+)/0x([0-9a-f]+) \[(\w+)(?: [0-9a-f]+)?\])", re.ASCII
)
#: A function in the table of symbols that objdump prints: value, flags, section, size, name.
_FUNCTION = re.compile(r"([0-9a-f]+) .{6}F (\S+)\t([0-9a-f]+) (?:\.hidden )?(\S+)", re.ASCII)
_BUILD_ID = re.compile(r"Build ID: ([0-9a-f]+)")


class _Function(NamedTuple):
    section: str
    #: Bytes from the start of the section, and of the function.
    start: int
    size: int


class Symbols:
    """Adds file and line to places in modules. What cannot be found out is left as it is."""

    def __init__(
        self,
        places: Sequence[Path] | None = None,
        modules: Path = Path("/sys/module"),
        files: Mapping[str, Path] | None = None,
    ) -> None:
        """``places`` are files or folders that may hold the modules; else those of this machine and environment.

        ``files`` are the files of some modules, by name, of which it is known that they were loaded.
        """
        self._places = list(_usual() if places is None else places)
        self._modules = modules
        self._files: dict[str, Path | None] = dict(files or {})
        #: Seconds that were spent on tools.
        self._spent = 0.0

    def decoded(self, line: str) -> str:
        """The line, with file and line number after the place that it tells of."""
        if not (found := _PLACE.fullmatch(line)):
            return line
        whole, how, function, offset, size, module = found.groups()
        # A caller goes on after the call, which may be in another line already.
        at = self._source(module, function, int(offset, 16) - (how != "in"), int(size, 16))
        return f"{whole} {at}" if at else line

    def _source(self, module: str, function: str, offset: int, size: int) -> str:
        if (path := self._file(module)) is None:
            return ""
        # The kernel counts what fills the gap before the next function, too.
        fitting = [each for each in self._functions(path).get(function, ()) if offset < each.size <= size]
        if len(fitting) != 1:
            return ""
        told = self._tell("addr2line", "-e", str(path), "-j", fitting[0].section, hex(fitting[0].start + offset))
        text = told.strip().partition(" (discriminator")[0]
        return "" if text.startswith("?") or text.endswith(("?", ":0")) else text

    @functools.cache  # noqa: B019 (there is one of these in a run)
    def _functions(self, path: Path) -> dict[str, list[_Function]]:
        """The functions of a module by name; static ones of several files may share one."""
        functions: dict[str, list[_Function]] = {}
        for line in self._tell("objdump", "--syms", str(path)).splitlines():
            if found := _FUNCTION.match(line):
                start, section, size, name = found.groups()
                functions.setdefault(name, []).append(_Function(section, int(start, 16), int(size, 16)))
        return functions

    def _file(self, module: str) -> Path | None:
        """The file of a loaded module, and of no other build of it."""
        if module not in self._files:
            self._files[module] = self._find(module) if (self._modules / module).is_dir() else None
        return self._files[module]

    def _find(self, module: str) -> Path | None:
        loaded = _build_id(self._modules / module / "notes/.note.gnu.build-id")
        for path in _candidates(self._places, module):
            found = _BUILD_ID.search(self._tell("readelf", "--notes", str(path)))
            if loaded and found and found[1] == loaded:
                return path
        return None

    def _tell(self, *command: str) -> str:
        """What a tool of binutils prints; nothing where it fails, is missing, or takes long."""
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
    """What the user names, then where distributions and kernel builds have modules."""
    yield from (Path(place) for place in os.environ.get(VARIABLE, "").split(":") if place)
    release = os.uname().release
    yield from (Path("/usr/lib/debug/lib/modules", release), Path("/lib/modules", release))


def _candidates(places: Sequence[Path], module: str) -> Iterator[Path]:
    """Files that are called as a module is, where a dash may stand for an underscore."""
    names = {f"{module}{end}" for end in (".ko", ".ko.debug")}
    for place in places:
        if place.is_dir():
            yield from sorted(path for path in place.rglob("*.ko*") if kernel_name(path.name) in names)
        elif kernel_name(place.name) in names:
            yield place


def _build_id(note: Path) -> str:
    """The identity of a build, from the note that the kernel keeps of a module; empty where there is none."""
    try:
        data = note.read_bytes()
    except OSError:
        return ""
    # Three words (sizes of name and content, type), the name "GNU", the content.
    return data[16:].hex()
