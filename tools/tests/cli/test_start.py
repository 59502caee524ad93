# SPDX-License-Identifier: GPL-2.0-only
"""What a command loads before it does anything: seconds are lost there unnoticed."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: No call loads these unless it needs them.
HEAVY = {"pytest", "cffi", "_cffi_backend", "hypothesis", "subprocess", "vfio_compliance.transport"}

SCRIPT = """\
import contextlib, os, sys
from vfio_compliance.cli.main import main
with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("--help", ["yaml", "dataclasses"]),
        ("--version", ["yaml", "dataclasses"]),
        ("run --help", ["yaml", "dataclasses"]),
        ("vm --help", ["yaml", "dataclasses"]),
        ("list", ["vfio_compliance.profiles", "difflib"]),
        ("list --defects", ["vfio_compliance.profiles", "vfio_compliance.rules.tests"]),
        ("explain v1.reserved", ["vfio_compliance.profiles", "difflib"]),
    ],
)
def test_loads_little(project, words, more):
    """Only what it needs."""
    call = [sys.executable, "-c", SCRIPT, *words.split()]
    ended = subprocess.run(call, capture_output=True, text=True, cwd=project, check=True)
    assert set(ended.stdout.split()) & {*HEAVY, *more} == set()
