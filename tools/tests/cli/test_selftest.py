# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance selftest` says of each part in a line whether it works; tests/installed has whole ones."""

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
    ("part", "code", "said"),
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
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: Callable[..., Any], code: int, said: str
) -> None:
    """It is broken where it says so or cannot be done; what it says harms no terminal. The next part has its turn."""
    monkeypatch.setattr(selftest, "_PARTS", {"files": part, "next": lambda: selftest.Found(True, "well")})
    assert main(["selftest"]) == code
    assert capsys.readouterr() == (f"{said}ok      next      well\n", "")


def test_defect_that_nobody_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that passes all the same is what this part is there to find."""
    monkeypatch.setattr(selftest, "_run", lambda *_: (0, "CONFORMANT", None))
    assert selftest._defect() == (False, "reserved-garbage was not caught: CONFORMANT")


def test_reference_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line of its run is shown."""
    monkeypatch.setattr(selftest, "_run", lambda *_: (1, "NOT CONFORMANT", None))
    assert selftest._reference() == (False, "NOT CONFORMANT")
