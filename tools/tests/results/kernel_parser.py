# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own KTAP parser, as fetch_kunit gets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vfio_compliance.common.project import cache

#: Reads a file as `kunit.py parse` does, and prints the counts of its results.
_PARSE = """
import sys
from kunit_parser import parse_run_tests
counts = parse_run_tests(open(sys.argv[1], encoding="utf-8").read().splitlines()).counts
print(counts.passed, counts.failed, counts.crashed, counts.skipped, counts.errors)
"""


def counts(text: str, scratch: Path) -> list[int]:
    """What it counts: passed, failed, crashed, skipped, errors. Skips the test if the parser was not fetched."""
    folder = cache() / "kunit"
    if not (folder / "kunit_parser.py").is_file():
        pytest.skip("tools/tests/results/fetch_kunit gets the kernel's parser")
    file = scratch / "it.ktap"
    file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-c", _PARSE, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(folder)})
    assert done.returncode == 0, done.stderr
    return [*map(int, done.stdout.splitlines()[-1].split())]
