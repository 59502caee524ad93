# SPDX-License-Identifier: GPL-2.0-only
"""Where a process sleeps, according to /proc."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from vfio_compliance.watch.asleep import seen, words

STATUS = "Name:\tpython\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t12\n"
STACK = "".join(f"[<0>] {name}+0x15f/0x1d0\n" for name in ("wait_a", "b.part.0", "c", "d", "e", "f"))
NAMED = "in state D (disk sleep), in the kernel at wait_a < b.part.0 < c < d < e"


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ({"status": STATUS, "stack": STACK, "syscall": "18 0x3 0x7f 0x10 0x0"}, NAMED),
        (
            {"status": STATUS, "stack": STACK, "syscall": "-1 0x7ffe 0x7f\n"},
            f"{NAMED}, outside any system call: while reading or writing mapped memory",
        ),
        ({"status": "State:\tR (running)\n", "stack": "", "syscall": "running"}, "in state R (running)"),
        ({"status": STATUS, "stack": "not readable: Operation not permitted"}, "in state D (disk sleep)"),
        ({"status": "not readable: No such process"}, ""),
        ({}, ""),
    ],
)
def test_words(process: Mapping[str, str], expected: str) -> None:
    """Unknown parts are left out."""
    assert words(process) == expected


def test_files(tmp_path: Path) -> None:
    """A file that cannot be read is reported as such."""
    (tmp_path / "12").mkdir()
    (tmp_path / "12/status").write_text(STATUS)
    found = seen(12, tmp_path)
    assert found["status"] == STATUS
    assert {found[name] for name in ("wchan", "stack", "syscall")} == {"not readable: No such file or directory"}
