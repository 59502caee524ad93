# SPDX-License-Identifier: GPL-2.0-only
"""Profiles that somebody has damaged."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml
from campaign import Campaign
from text_mutation import mutate_text, mutate_tree

from vfio_compliance.profiles import ProfileError, load
from vfio_compliance.profiles.command import check
from vfio_compliance.profiles.document import LARGEST_FILE, WHOLE_FILE

#: Characters that a message may have: a reader is to be told what is wrong, not to be shown all of it.
_LONGEST = 2000

_Dumper = getattr(yaml, "CDumper", yaml.Dumper)


def test_profiles(campaign: Callable[[str, str], Campaign], project: Path, tmp_path: Path) -> None:
    """A profile loads, or each of its problems has a place in the file and fits a line."""
    counted = campaign("profiles", "damaged_profiles")
    texts = [path.read_text(encoding="utf-8") for path in sorted((project / "profiles").glob("*.yaml"))]
    trees = [yaml.safe_load(text) for text in texts]
    path = tmp_path / "p.yaml"

    def trial(rng: Random) -> None:
        if rng.random() < 0.5:
            kind, data = mutate_text(rng, rng.choice(texts))
        else:
            kind, tree = mutate_tree(rng, rng.choice(trees))
            kind, data = f"tree {kind}", _dump(tree)
        path.write_bytes(data)
        counted.gave(kind, data.decode(errors="backslashreplace"))
        try:
            load(path)
            counted.came("a profile")
        except ProfileError as error:
            _check_problems(error, path, data)
            counted.came(f"{min(len(error.problems), 10)} problem(s)")
        if rng.random() < 0.1:
            _check_command(path)

    counted.run(1000, trial)


def _dump(tree: Any) -> bytes:
    try:
        text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False)
    except UnicodeEncodeError:  # half a surrogate is too much for the quicker one
        text = yaml.dump(tree, sort_keys=False)
    return text.encode()


def _check_problems(error: ProfileError, path: Path, data: bytes) -> None:
    assert error.problems
    lines = len(re.split("\r\n|[\n\r\x85\u2028\u2029]", data.decode(errors="replace")))
    for problem in error.problems:
        text = str(problem)
        assert text.isprintable(), f"not on one line: {text!r}"
        assert len(problem.message) < _LONGEST, f"a message of {len(problem.message)} characters"
        if problem.place == WHOLE_FILE:
            assert len(data) > LARGEST_FILE
            continue
        line, column = problem.place
        assert text.startswith(f"{path}:{line}:{column}: ")
        assert 1 <= line <= lines
        assert 1 <= column <= (len(problem.text) or len(data)) + 1, f"column {column} of {problem.text!r}"


def _check_command(path: Path) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = check([str(path)])
    assert (code, said.getvalue().endswith(": ok\n")) in ((0, True), (2, False))
