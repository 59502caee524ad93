# SPDX-License-Identifier: GPL-2.0-only
"""Data kept in the folder of a run."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from vfio_compliance.results.data import DataStore

DATA = b"the state of a guest" * 100
DIGEST = sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path / "data")


def test_each_content_once(store: DataStore, tmp_path: Path) -> None:
    """Named by its digest, readable by its owner alone; another process of the run continues with the same folder."""
    store.keep(DIGEST, DATA)
    written = (tmp_path / "data" / DIGEST).stat().st_mtime_ns
    DataStore(tmp_path / "data").keep(DIGEST, DATA)
    (file,) = (tmp_path / "data").iterdir()
    assert (file.name, file.read_bytes(), file.stat().st_mtime_ns) == (DIGEST, DATA, written)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not store.complaint


def test_a_nearly_full_disk(store: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some space is left for others. The loss is reported once, and nothing more is tried."""
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=(256 << 20) + len(DATA) - 1, f_frsize=1))
    store.keep(DIGEST, DATA)
    assert "no data was kept" in store.complaint
    assert "256 MiB free, of which 256 are left to others" in store.complaint
    monkeypatch.undo()
    store.keep(DIGEST, DATA)
    assert not list((tmp_path / "data").iterdir())


def test_a_folder_that_cannot_be_written(store: DataStore, tmp_path: Path) -> None:
    """The data is not kept, and the store says so."""
    (tmp_path / "data").rmdir()
    (tmp_path / "data").write_text("not a folder")
    store.keep(DIGEST, DATA)
    assert "no data was kept" in store.complaint
