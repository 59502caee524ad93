# SPDX-License-Identifier: GPL-2.0-only
"""A run is read from its folder, its journal and its bundle alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from stories import case, ended, run_of, timed, written

from vfio_compliance.bundle.make import make
from vfio_compliance.bundle.opening import opened
from vfio_compliance.cli.main import main
from vfio_compliance.results import journal
from vfio_compliance.results.journal import JournalError
from vfio_compliance.results.writers import FORMATS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run in which one of two rules was broken."""
    made = tmp_path / "run"
    made.mkdir()
    lines = run_of(ended("a[1]", "pass"), ended("b[2]", "fail", expected="this", seen="that"))
    (made / journal.NAME).write_bytes(written(timed(lines)))
    return made


@pytest.fixture
def bundle(folder: Path, tmp_path: Path) -> Path:
    """The bundle of that run."""
    file = tmp_path / "run.tar.gz"
    make(folder, file)
    return file


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_report(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Byte by byte, from each of the three."""
    reports = []
    for place in (folder, folder / journal.NAME, bundle):
        assert main(["report", str(place), "--format", name]) == 1
        reports.append(capsys.readouterr().out)
    assert reports[0] == reports[1] == reports[2]
    assert case("b[2]").rpartition("/")[2] in reports[0]


def test_compared_with_itself(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle is the same run as the folder that it was made from."""
    assert main(["diff", str(folder), str(bundle)]) == 0
    assert "Worse" not in capsys.readouterr().out


def test_waivers_of_a_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["waive", str(bundle)]) == 0
    assert "rule: v1.b" in capsys.readouterr().out


def changed(data: bytes) -> bytes:
    """With one bit flipped in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [changed, lambda data: data[:-20], lambda _: b"\x1f\x8bjunk"], ids=["a byte", "cut", "another file"]
)
def test_a_damaged_bundle_is_not_read(
    bundle: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[bytes], bytes]
) -> None:
    """The message names the file, and no report is printed."""
    bundle.write_bytes(damage(bundle.read_bytes()))
    with pytest.raises(JournalError, match=str(bundle)):
        opened(bundle)
    assert main(["report", str(bundle)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert str(bundle) in printed.err
