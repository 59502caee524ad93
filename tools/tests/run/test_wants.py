# SPDX-License-Identifier: GPL-2.0-only
"""A rule lists the profile keys that it wants; a run without such a key leaves exactly its rules unjudged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance import rules
from vfio_compliance.results import summary

CATALOGUE = rules.load(Path(__file__).parents[3] / "suites")

#: Keys that only rules of a kernel's container want.
OF_KERNELS = {"device.second"}

KEYS = sorted({key for rule in CATALOGUE for key in rule.wants} - OF_KERNELS)


@pytest.fixture
def lacking(document: Any, save_profile: Callable[[Any], Path]) -> Callable[..., Path]:
    """The profile of the reference device without one key."""

    def made(key: str) -> Path:
        around: Any = document
        *path, last = key.split(".")
        for name in path:
            around = around[name]
        del around[last]
        if last == "pin":
            del around["unpin"]
        return save_profile(document)

    return made


@pytest.mark.proof
@pytest.mark.parametrize("key", KEYS)
def test_a_run_without_a_key(
    judge_in_process: Callable[..., summary.Summary],
    lacking: Callable[..., Path],
    pytestconfig: pytest.Config,
    tmp_path: Path,
    key: str,
) -> None:
    """All cases of the rules that want it are run, and one of each other rule; with --complete, all cases."""
    wanting = {rule.id for rule in CATALOGUE if key in rule.wants}
    most = None if pytestconfig.getoption("--complete") else 1
    summary = judge_in_process(lacking(key), tmp_path, most=most, whole=wanting)
    assert {case.rule for case in summary.cases.values() if case.why.wants == key} == wanting
