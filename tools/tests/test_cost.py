# SPDX-License-Identifier: GPL-2.0-only
"""The cost of a run of all rules, in numbers that do not depend on the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_compliance.results import summary
from vfio_compliance.results.verdict import Verdict


@pytest.fixture(scope="module")
def whole_run(
    judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path_factory: pytest.TempPathFactory
) -> summary.Summary:
    """A run of every rule on the reference driver."""
    return judge_in_process(project / "profiles/reference.yaml", tmp_path_factory.mktemp("cost"))


#: Rules that need a kernel: two devices in a container, and an address that cannot be written.
KERNELS_ALONE = {"dirty.bitmap.all-devices", "dirty.history.failed-query-keeps"}


def test_every_rule_holds(whole_run: summary.Summary) -> None:
    """The numbers below are those of a run in which everything was judged."""
    assert set(whole_run.verdicts) == {rule.id for rule in whole_run.rules.values() if not rule.on_request}
    assert {rule for rule, verdict in whole_run.verdicts.items() if verdict is not Verdict.PASS} == KERNELS_ALONE
    assert {whole_run.verdicts[rule] for rule in KERNELS_ALONE} == {Verdict.NOT_APPLICABLE}


def test_few_resets(whole_run: summary.Summary) -> None:
    """One before each case that follows a change of the device, and those that are the subject of a case."""
    assert whole_run.totals["resets"] <= 0.85 * len(whole_run.cases)
