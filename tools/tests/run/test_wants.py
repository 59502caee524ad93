# SPDX-License-Identifier: GPL-2.0-only
"""A rule says which keys of a profile it wants, and a run without one of them leaves exactly these rules unjudged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vfio_compliance import rules
from vfio_compliance.results import summary

CATALOGUE = rules.load(Path(__file__).parents[3] / "suites")

#: What only a kernel's container is asked for.
OF_KERNELS = {"device.second"}

KEYS = sorted({key for rule in CATALOGUE for key in rule.wants} - OF_KERNELS)


@pytest.fixture
def lacking(project: Path, tmp_path: Path) -> Callable[..., Path]:
    """The profile of the reference device without one key."""

    def made(key: str) -> Path:
        document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
        around: Any = document
        *path, last = key.split(".")
        for name in path:
            around = around[name]
        del around[last]
        if last == "pin":
            del around["unpin"]
        file = tmp_path / "lacking.yaml"
        file.write_text(yaml.safe_dump(document, sort_keys=False))
        return file

    return made


@pytest.mark.proof
@pytest.mark.parametrize("key", KEYS)
def test_a_run_without_it(
    judge_in_process: Callable[..., summary.Summary],
    lacking: Callable[..., Path],
    pytestconfig: pytest.Config,
    tmp_path: Path,
    key: str,
) -> None:
    """All cases of the rules that want it are run, and of others one; all of those as well with --whole."""
    wanting = {rule.id for rule in CATALOGUE if key in rule.wants}
    most = None if pytestconfig.getoption("--whole") else 1
    summary = judge_in_process(lacking(key), tmp_path, most=most, whole=wanting)
    assert {case.rule for case in summary.cases.values() if case.why.wants == key} == wanting
