# SPDX-License-Identifier: GPL-2.0-only
"""Files that this program wrote, or that belong to it, after somebody has damaged them."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from campaign import Campaign
from text_mutation import mutate_text, mutate_tree

from vfio_compliance import spec
from vfio_compliance.__main__ import main
from vfio_compliance.judge.trace import Region, Writer
from vfio_compliance.results import journal, matrix, summary

_Dumper = getattr(yaml, "CDumper", yaml.Dumper)

#: Lines of a file that are given: the more, the slower.
_LINES = 60


def _damaged(rng: Random, lines: list[str]) -> tuple[str, bytes]:
    """A file of JSON lines with one of them changed, in its text or in what it says; or with lines changed."""
    if rng.random() < 0.3:
        return mutate_text(rng, "".join(lines))
    at = rng.randrange(len(lines))
    kind, record = mutate_tree(rng, json.loads(lines[at]))
    return f"record {kind}", "".join([*lines[:at], json.dumps(record) + "\n", *lines[at + 1 :]]).encode()


def _command(*words: str) -> tuple[int, str]:
    """Exit code of a command, and what it said."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(list(words))
    return code, said.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def run(judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The journal of a short run that has something of everything."""
    out = tmp_path_factory.mktemp("run")
    judge_in_process(project / "profiles" / "reference.yaml", out, "--only=v1.reserved", "--defect=reserved-garbage")
    lines = (out / journal.NAME).read_text(encoding="utf-8").splitlines(keepends=True)
    assert 10 < len(lines) < _LINES
    return lines


def test_journals(campaign: Callable[[str], Campaign], run: list[str], tmp_path: Path) -> None:
    """The report of a journal comes to an end with an exit code of its own, and says something."""
    counted = campaign("journals")

    def trial(rng: Random) -> None:
        kind, data = _damaged(rng, run)
        counted.gave(kind, data.decode(errors="backslashreplace"))
        (tmp_path / journal.NAME).write_bytes(data)
        code, said = _command("report", str(tmp_path))
        assert code in range(5)
        assert said.strip()
        counted.came(f"exit code {code}")

    counted.run(500, trial)
