# SPDX-License-Identifier: GPL-2.0-only
"""Which program a profile starts as the server: its command, and the digest of its code."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ..common.origin import file_digest
from ..common.project import PROJECT
from ..profiles import Profile, VfioUserDevice


def program_facts(profile: Profile) -> dict[str, str]:
    """The program that the profile starts as the server, and its digest; empty if the server is already running."""
    device = profile.device
    if not isinstance(device, VfioUserDevice) or not device.command:
        return {}
    path = shutil.which(_filled(device.command[0]))
    # As written in the profile: the socket's path differs each time.
    facts = {"command": " ".join(device.command)}
    if path is None:
        return facts
    try:
        return facts | {"program": os.path.realpath(path), "program sha256": file_digest(path)}
    except OSError:
        return facts


def code_digest(profile: Profile) -> str:
    """SHA-256 of the server's program and of each file that its command names: a script, or a module after ``-m``.

    Empty if the profile starts no server. Raises OSError.
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
    return file_digest(*files)


def text_of(path: Path) -> str:
    """The first bytes of a small file of the kernel, without surrounding white space; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4096).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _filled(word: str) -> str:
    return word.replace("{python}", sys.executable).replace("{project}", str(PROJECT))


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
