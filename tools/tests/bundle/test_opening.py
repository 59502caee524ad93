# SPDX-License-Identifier: GPL-2.0-only
"""A run is read from its folder, its journal and its bundle alike."""

from __future__ import annotations

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
    """A run in which one rule was broken and one was not."""
    made = tmp_path / "run"
    made.mkdir()
    lines = run_of(ended("a[1]", "pass"), ended("b[2]", "fail", expected="this", seen="that"))
    (made / journal.NAME).write_bytes(written(timed(lines)))
    return made


@pytest.fixture
def bundle(folder: Path, tmp_path: Path) -> Path:
    """Of that run."""
    file = tmp_path / "run.tar.gz"
    make(folder, file)
    return file


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_report(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Whatever the run is read from, byte by byte."""
    said = []
    for place in (folder, folder / journal.NAME, bundle):
        assert main(["report", str(place), "--format", name]) == 1
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    assert case("b[2]").rpartition("/")[2] in said[0]


def test_compared_with_itself(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle is no other run than the folder that it was made from."""
    assert main(["diff", str(folder), str(bundle)]) == 0
    assert "Worse" not in capsys.readouterr().out


def test_waivers_of_a_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["waive", str(bundle)]) == 0
    assert "rule: v1.b" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["a byte", "cut", "no bundle"])
def test_what_was_changed_is_not_read(bundle: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    """It is told which file that is, and the report says nothing else."""
    data = bytearray(bundle.read_bytes())
    if damage == "a byte":
        data[len(data) // 2] ^= 1
    bundle.write_bytes(data[:-20] if damage == "cut" else b"\x1f\x8bjunk" if damage == "no bundle" else data)
    with pytest.raises(JournalError, match=str(bundle)):
        opened(bundle)
    assert main(["report", str(bundle)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert str(bundle) in printed.err
