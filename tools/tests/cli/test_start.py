# SPDX-License-Identifier: GPL-2.0-only
"""Modules that a command loads, which cost time at each start; and commands that cannot print their result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

#: Modules that a call must not load unless it needs them.
HEAVY = {"pytest", "cffi", "_cffi_backend", "hypothesis", "subprocess", "vfio_compliance.transport"}

SCRIPT = """\
import contextlib, os, sys
from vfio_compliance.cli.main import main
with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*sys.modules)
"""


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("--help", ["yaml", "dataclasses"]),
        ("run --help", ["yaml", "dataclasses"]),
        ("vm --help", ["yaml", "dataclasses"]),
        ("list", ["vfio_compliance.profiles", "difflib"]),
        ("list --defects", ["vfio_compliance.profiles", "vfio_compliance.rules.tests"]),
        ("explain v1.reserved", ["vfio_compliance.profiles", "difflib"]),
    ],
)
def test_loads_only_what_it_needs(project: Path, words: str, more: Sequence[str]) -> None:
    """Neither the heavy modules nor those in ``more``."""
    call = [sys.executable, "-c", SCRIPT, *words.split()]
    ended = subprocess.run(call, capture_output=True, text=True, cwd=project, check=True)
    assert set(ended.stdout.split()) & {*HEAVY, *more} == set()


def _full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def _reader_gone() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def _terminal_gone() -> int:
    terminal, other = os.openpty()
    os.close(terminal)
    return other


@pytest.mark.parametrize(
    ("opened", "words"),
    [
        (_full, "vfio-compliance: cannot show the result: No space left on device\n"),
        (_reader_gone, ""),
        (_terminal_gone, "vfio-compliance: cannot show the result: Input/output error\n"),
    ],
)
@pytest.mark.parametrize("command", [["list"], ["explain", "v1.reserved"], ["check", "profiles/reference.yaml"]])
def test_result_that_cannot_be_shown(
    project: Path, command: Sequence[str], opened: Callable[..., Any], words: str
) -> None:
    """The command fails, and says why unless its reader has gone."""
    out = opened()
    ended = subprocess.run(
        [sys.executable, "-m", "vfio_compliance", *command], cwd=project, stdout=out, stderr=subprocess.PIPE, text=True
    )
    os.close(out)
    assert (ended.stderr, ended.returncode) == (words, 2)
