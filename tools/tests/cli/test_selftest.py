# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance selftest` reports on each part in a line; tests/installed runs the whole command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vfio_compliance.cli import selftest
from vfio_compliance.cli.checkout import Complaint
from vfio_compliance.cli.main import main


def failing(error: Exception) -> Callable[[], None]:
    """A part that raises."""

    def part() -> None:
        raise error

    return part


@pytest.mark.parametrize(
    ("part", "code", "line"),
    [
        (lambda: selftest.Found(True, "3 files"), 0, "ok      files     3 files\n"),
        (lambda: selftest.Found(False, "a\nb"), 2, "BROKEN  files     a\n                  b\n"),
        (lambda: selftest.Found(False, ""), 2, "BROKEN  files     no output\n"),
        (failing(Complaint("no suites")), 2, "BROKEN  files     no suites\n"),
        (failing(OSError(28, "No space left")), 2, "BROKEN  files     [Errno 28] No space left\n"),
        (lambda: selftest.Found(False, "\x1b[31mred\x00"), 2, "BROKEN  files     \\x1b[31mred\\x00\n"),
    ],
)
def test_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: Callable[..., Any], code: int, line: str
) -> None:
    """It is broken if it says so or raises; its message is escaped. The next part is done nevertheless."""
    monkeypatch.setattr(selftest, "_PARTS", {"files": part, "next": lambda: selftest.Found(True, "well")})
    assert main(["selftest"]) == code
    assert capsys.readouterr() == (f"{line}ok      next      well\n", "")


def test_defect_that_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the run of a broken driver passes, this part fails."""
    monkeypatch.setattr(selftest, "_run", lambda *_: (0, "CONFORMANT", None))
    assert selftest._defect() == (False, "reserved-garbage was not caught: CONFORMANT")


def test_reference_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of its run is shown."""
    monkeypatch.setattr(selftest, "_run", lambda *_: (1, "NOT CONFORMANT", None))
    assert selftest._reference() == (False, "NOT CONFORMANT")
