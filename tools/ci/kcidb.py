#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Prints one submission for KCIDB, of many runs, under the sender's origin in the database.

    tools/ci/kcidb.py ORIGIN RUN... > submission.json

It sends nothing: README.md beside this file says how to.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vfio_compliance.bundle.opening import opened
from vfio_compliance.results.journal import JournalError
from vfio_compliance.results.writers import render

#: A valid origin, by KCIDB's schema.
_ORIGIN = re.compile(r"[a-z0-9_]+")


def submission(origin: str, places: list[Path]) -> dict[str, Any]:
    """All runs together. Raises JournalError for a run that cannot be read."""
    whole: dict[str, Any] = {}
    for place in places:
        for name, part in json.loads(render("kcidb", opened(place))).items():
            if name == "version":
                whole[name] = part
            else:  # several runs have the same kernel, which is listed once
                whole.setdefault(name, {}).update({each["id"]: each for each in _renamed(part, origin)})
    return {name: part if name == "version" else [*part.values()] for name, part in whole.items()}


def _renamed(objects: list[dict[str, Any]], origin: str) -> list[dict[str, Any]]:
    """The same with another origin, which is also the prefix of each id."""
    return [
        {
            name: f"{origin}:{value.partition(':')[2]}" if name == "id" or name.endswith("_id") else value
            for name, value in {**each, "origin": origin}.items()
        }
        for each in objects
    ]


def main(words: list[str]) -> int:
    """Exit code: 0, or 2 for arguments or a run that cannot be used."""
    if len(words) < 2 or not _ORIGIN.fullmatch(words[0]):
        print("usage: kcidb.py ORIGIN RUN...; an ORIGIN has small letters, digits and _", file=sys.stderr)
        return 2
    try:
        print(json.dumps(submission(words[0], [Path(word) for word in words[1:]])))
    except JournalError as error:
        print(f"kcidb.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
