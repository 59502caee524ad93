# SPDX-License-Identifier: GPL-2.0-only
"""Which program a profile starts as the server: its words, and the digest of its code."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..profiles import Profile, VfioUserDevice

#: What the placeholder of this name stands for.
PROJECT = str(Path(__file__).resolve().parents[3])
_PIECE = 1 << 20


def program_facts(profile: Profile) -> dict[str, str]:
    """The program that the profile starts as the server, and its digest; nothing where the server runs already."""
    device = profile.device
    if not isinstance(device, VfioUserDevice) or not device.command:
        return {}
    path = shutil.which(_filled(device.command[0]))
    # As it stands in the profile: the socket's path is another one each time.
    told = {"command": " ".join(device.command)}
    if path is None:
        return told
    try:
        return told | {"program": os.path.realpath(path), "program sha256": _digest([Path(path)])}
    except OSError:
        return told


def code_digest(profile: Profile) -> str:
    """SHA-256 of the server's program and of each file that its command names: a script, or a module after ``-m``.

    Nothing where the profile starts no server. Raises OSError.
    """
    device = profile.device
    if not isinstance(device, VfioUserDevice) or not device.command:
        return ""
    words = [*map(_filled, device.command)]
    program = shutil.which(words[0])
    files = [Path(program)] if program else []
    for before, word in itertools.pairwise(words):
        if before == "-m":
            files += _module_files(word)
        elif os.path.isfile(word):
            files.append(Path(word))
    return _digest(files)


def files_digest(folder: Path, *suffixes: str, below: str = "") -> str:
    """SHA-256 of the names, from ``folder`` on, and contents of the files with these suffixes in it, or ``below`` it.

    Raises OSError.
    """
    start = os.path.join(folder, below)
    files = [
        os.path.join(where, name) for where, _, names in os.walk(start) for name in names if name.endswith(suffixes)
    ]
    whole = hashlib.sha256()
    for parts in sorted(os.path.relpath(path, folder).split(os.sep) for path in files):
        name = "/".join(parts)
        whole.update(f"{name} {_digest([os.path.join(folder, *parts)])}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def text_of(path: Path) -> str:
    """The first bytes of a small file of the kernel, without white space around; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4096).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _filled(word: str) -> str:
    return word.replace("{python}", sys.executable).replace("{project}", PROJECT)


def _module_files(name: str) -> Iterator[Path]:
    """The files of a Python package or module, as far as this interpreter finds it."""
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        return
    if found and found.submodule_search_locations:
        for folder in found.submodule_search_locations:
            yield from sorted(Path(folder).rglob("*.py"))
    elif found and found.origin and os.path.isfile(found.origin):
        yield Path(found.origin)


def _digest(files: Sequence[str | Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()
