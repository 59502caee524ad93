# SPDX-License-Identifier: GPL-2.0-only
"""The version of the suite: by git in a checkout, by the record of the build elsewhere, or unknown."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.common import origin, project
from vfio_compliance.rules.version import described

GOOD = {"commit": "a" * 40, "modified": "no", "digest": "0"}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree in place of the project."""
    folder = tmp_path / "tree"
    for name in ("suites/a/rules.yaml", "tools/x.py", "profiles/a.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1\n")
    monkeypatch.setattr(origin, "PROJECT", folder)
    monkeypatch.setattr(origin, "suite_digest", lambda: "0")
    return folder


def git(folder: Path, *words: str) -> str:
    """The output of git."""
    if not shutil.which("git"):
        pytest.skip("there is no git")
    who = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def commit(tree: Path) -> str:
    """The commit of the tree, made a checkout."""
    git(tree, "init", "-q")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "one")
    return git(tree, "rev-parse", "HEAD")


def write(tree: Path, content: Mapping[str, Any] | bytes) -> None:
    """Writes the record of a build."""
    path = tree / origin.RECORD
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.mark.parametrize(
    ("changed", "modified"),
    [
        (None, "no"),
        ("suites/a/rules.yaml", "yes"),
        ("profiles/a.yaml", "yes"),
        ("suites/a/test_new.py", "yes"),
        ("profiles/mine.yaml", "no"),
        ("notes.txt", "no"),
    ],
)
def test_checkout(tree: Path, commit: str, changed: str | None, modified: str) -> None:
    """A changed file counts anywhere; a new one counts if the suite looks there for tests and code."""
    if changed:
        (tree / changed).write_text("2\n")
    assert origin.facts() | {"suite": ""} == {
        "suite": "",
        "suite digest": "0",
        "suite commit": commit,
        "suite modified": modified,
    }


def test_tree_inside_another_checkout(tree: Path, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit of a surrounding tree, such as one with a virtual environment in it, is not the suite's."""
    inner = tree / "venv"
    inner.mkdir()
    monkeypatch.setattr(origin, "PROJECT", inner)
    assert "suite commit" not in origin.facts()
    write(inner, GOOD)
    assert origin.facts()["suite commit"] == "a" * 40


@pytest.mark.parametrize(
    ("digest", "modified", "expected"), [("0", "no", "no"), ("0", "yes", "yes"), ("1", "no", "yes")]
)
def test_record(tree: Path, digest: str, modified: str, expected: str) -> None:
    """It describes the build; the suite that runs is compared with it."""
    write(tree, GOOD | {"digest": digest, "modified": modified})
    assert origin.facts()["suite modified"] == expected


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"{", b"1", b"null", b"\xff\xfe", b"[" * 200_000, b'"' + b"x" * 5_000_000),
        GOOD | {"commit": 1},
        GOOD | {"files": 3},
        GOOD | {"files": ["a"]},
        GOOD | {"files": {"a": None}},
        GOOD | {"more": ""},
        {"commit": ""},
    ],
    ids=lambda content: repr(content)[:40],
)
def test_damaged_record(tree: Path, content: bytes | Mapping[str, Any]) -> None:
    """It is ignored."""
    write(tree, content)
    assert origin.record() is None
    assert "suite commit" not in origin.facts()


def test_record_without_a_commit(tree: Path) -> None:
    """Built from an archive without git's record."""
    write(tree, GOOD | {"commit": ""})
    assert "suite commit" not in origin.facts()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "1 (commit unknown, rule set 2)"),
        ({"suite commit": "b" * 40, "suite modified": "no"}, "1 (commit bbbbbbbbbbbb, rule set 2)"),
        ({"suite commit": "b" * 40, "suite modified": "yes"}, "1 (commit bbbbbbbbbbbb+modified, rule set 2)"),
        ({"suite commit": "b" * 40, "suite modified": "unknown"}, "1 (commit bbbbbbbbbbbb, rule set 2)"),
    ],
)
def test_in_words(facts: Mapping[str, str], words: str) -> None:
    """Short, with everything that affects a verdict."""
    assert described({"suite": "1", "rule set": "2", **facts}) == words


def test_hints_fit_the_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the checkout's folder with short paths, elsewhere with whole ones; for an installation with its name."""
    monkeypatch.chdir(project.PROJECT)
    assert project.at("profiles/template.yaml") == "profiles/template.yaml"
    assert project.pip("vm") == "pip install -e '.[vm]'"
    monkeypatch.chdir(tmp_path)
    assert project.at("profiles/template.yaml") == str(project.PROJECT / "profiles" / "template.yaml")
    assert project.pip("vm") == f"pip install -e '{project.PROJECT}[vm]'"
    here = tmp_path / "gone"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert project.at("profiles/template.yaml") == str(project.PROJECT / "profiles" / "template.yaml")
    monkeypatch.setattr(project, "INSTALLED", True)
    assert project.pip("vm") == "pip install 'vfio_compliance[vm]'"


@pytest.mark.parametrize(("base", "folder"), [("/c", "/c"), ("c", "/home/a/.cache"), ("", "/home/a/.cache")])
def test_cache(monkeypatch: pytest.MonkeyPatch, base: str, folder: str) -> None:
    """By XDG_CACHE_HOME if that is an absolute path, else in the home."""
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    monkeypatch.setenv("HOME", "/home/a")
    assert str(project.cache()) == f"{folder}/vfio-compliance"
