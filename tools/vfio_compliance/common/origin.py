# SPDX-License-Identifier: GPL-2.0-only
"""Which version of the program this is: its commit, and whether anything was changed since.

A checkout asks git. An archive of the source and an installation have a record, written by the build.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from .. import __version__
from .project import INSTALLED, PACKAGE, PROJECT, SHIPPED, SUITES

#: The path of the record in the tree.
RECORD: Final = Path("tools", "packaging", "built.json")

_YES, _NO, _UNKNOWN = "yes", "no", "unknown"
#: Folders in which a new file is a change of the suite, not a note or profile of the user's.
_OURS: Final = ("suites/", "tools/")
_PIECE: Final = 1 << 20


class Built(NamedTuple):
    """What was built: the commit, empty if unknown; whether it was modified; the digest of what judges."""

    commit: str
    modified: str
    digest: str
    #: SHA-256 of each file, by its path in the folder that has the package; empty in an archive of the source.
    files: Mapping[str, str] = {}


def facts() -> dict[str, str]:
    """Version, digest of what judges, commit, and whether anything was changed; unknown facts are left out."""
    try:
        digest = suite_digest()
    except OSError:
        digest = ""
    found = {"suite": __version__, "suite digest": digest}
    if (PROJECT / ".git").exists():
        return found | _from_git()
    if (made := record()) is None or not made.commit:
        return found
    modified = made.modified if digest == made.digest else _YES
    return found | {"suite commit": made.commit, "suite modified": modified}


def record() -> Built | None:
    """The record written by the build; None in a checkout, or if it cannot be read."""
    try:
        read: Any = json.loads((PROJECT / RECORD).read_text(encoding="utf-8"))
        made = Built(**read)
        texts = (made.commit, made.modified, made.digest, *made.files, *made.files.values())
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return made if all(isinstance(text, str) for text in texts) else None


def built() -> Built:
    """The record for a build that starts now."""
    found = facts()
    return Built(found.get("suite commit", ""), found.get("suite modified", _UNKNOWN), found["suite digest"])


def suite_digest() -> str:
    """Digest of the code and rules that judge; the same in a checkout and in its installation. Raises OSError."""
    code = files_digest(PACKAGE.parent, ".py", below=PACKAGE.name, without=SHIPPED.name)
    return code + files_digest(SUITES, ".py", ".yaml")


def files_digest(folder: Path, *suffixes: str, below: str = "", without: str = "") -> str:
    """SHA-256 of the names, relative to ``folder``, and contents of files with these suffixes in it or in ``below``.

    The folder ``without``, directly in that folder, is left out. Raises OSError.
    """
    whole = hashlib.sha256()
    start = os.path.join(folder, below)
    for parts in sorted(os.path.relpath(path, folder).split(os.sep) for path in _files(start, suffixes, without)):
        name = "/".join(parts)
        whole.update(f"{name} {file_digest(os.path.join(folder, *parts))}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _files(start: str, suffixes: tuple[str, ...], without: str) -> Iterator[str]:
    for where, folders, names in os.walk(start):
        if where == start and without in folders:
            folders.remove(without)
        yield from (os.path.join(where, name) for name in names if name.endswith(suffixes))


def file_digest(*files: str | Path) -> str:
    """SHA-256 of the contents of files, one after another. Raises OSError."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def damage() -> list[str]:
    """What differs from the record of the build, a line for each file; empty in a checkout, which has no record."""
    made = record() if INSTALLED else None
    if made is None:
        return [f"{PROJECT / RECORD}: missing or damaged"] if INSTALLED else []
    lines = []
    for name, digest in made.files.items():
        path = PACKAGE.parent / name
        try:
            if file_digest(path) != digest:
                lines.append(f"{path}: changed since it was built")
        except (OSError, ValueError) as error:
            lines.append(f"{path}: {getattr(error, 'strerror', error)}")
    # An added test would be run, too.
    return lines or ([] if suite_digest() == made.digest else [f"{PROJECT}: there are files that were not built"])


def _from_git() -> dict[str, str]:
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    lines = _git("status", "--porcelain")
    if lines is None:
        return {"suite commit": commit, "suite modified": _UNKNOWN}
    changed = any(line[:2] != "??" or line[3:].startswith(_OURS) for line in lines.splitlines())
    return {"suite commit": commit, "suite modified": _YES if changed else _NO}


def _git(*words: str) -> str | None:
    import subprocess

    command = ["git", "--no-optional-locks", "-C", str(PROJECT), *words]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip() if done.returncode == 0 else None
