# SPDX-License-Identifier: GPL-2.0-only
"""The plan smoke leaves out tests that are marked as needing a stimulus; a run shows that the marks are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.results import journal, summary
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict


@pytest.fixture
def silent(document: Any, save_profile: Callable[[Any], Path]) -> Path:
    """A profile of the reference device without a stimulus."""
    del document["stimulus"]
    return save_profile(document)


class _OneOfEachTest:
    """A pytest plugin that keeps one case of each test function, and records which are marked."""

    def __init__(self) -> None:
        self.marked: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        first: dict[str, pytest.Item] = {}
        for item in items:
            if not item.get_closest_marker("deep"):
                first.setdefault(_test(item.nodeid), item)
        self.marked = {test for test, item in first.items() if item.get_closest_marker("stimulus")}
        config.hook.pytest_deselected(items=[item for item in items if item not in first.values()])
        items[:] = first.values()


def _test(case: str) -> str:
    return case.partition("[")[0]


def test_tests_that_need_a_stimulus_are_marked(silent: Path, project: Path, tmp_path: Path) -> None:
    """Exactly the tests that cannot be judged without a stimulus are marked."""
    path, plugin = tmp_path / journal.NAME, _OneOfEachTest()
    options = ["-qq", "--tb=no", "-p", "no:cacheprovider", f"--rootdir={project}", str(project / "suites")]
    pytest.main([*options, f"--profile={silent}", f"--journal={path}"], plugins=[plugin])
    cases = summarise(journal.read(path)).cases.values()
    silenced = {_test(case.id) for case in cases if case.why.wants.startswith("stimulus") and case.failure}
    judged = {_test(case.id) for case in cases}
    assert silenced == plugin.marked & judged
    assert silenced


def test_smoke(judge_in_process: Callable[..., summary.Summary], silent: Path, tmp_path: Path) -> None:
    """It judges at most one case of each rule, without a stimulus, and leaves nothing unjudged."""
    summary = judge_in_process(silent, tmp_path, "--plan=smoke")
    rules = [case.rule for case in summary.cases.values()]
    assert len(rules) == len(set(rules)) > 50
    assert {case.verdict for case in summary.cases.values()} <= {Verdict.PASS, Verdict.NOT_APPLICABLE}
    assert summary.exit_code == 0
    (reason,) = summary.scope.left_out
    assert reason == "plan smoke takes no case that needs a stimulus"
    assert not set(summary.scope.left_out[reason]) & set(rules)
