# SPDX-License-Identifier: GPL-2.0-only
"""The plan smoke takes what needs no stimulus: tests say of themselves whether they do, and are compared with a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vfio_compliance.results import journal, summary
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict


@pytest.fixture
def silent(tmp_path: Path, project: Path) -> Path:
    """A profile of the reference device that says nothing about a stimulus."""
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    del document["stimulus"]
    path = tmp_path / "silent.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


class _OneOfEachTest:
    """A pytest plugin that leaves one case of each test function, and knows which ask for a stimulus."""

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


def test_what_needs_a_stimulus_is_marked(silent: Path, project: Path, tmp_path: Path) -> None:
    """Exactly the tests that cannot be judged where the profile says nothing of one are marked."""
    path, plugin = tmp_path / journal.NAME, _OneOfEachTest()
    options = ["-qq", "--tb=no", "-p", "no:cacheprovider", f"--rootdir={project}", str(project / "suites")]
    pytest.main([*options, f"--profile={silent}", f"--journal={path}"], plugins=[plugin])
    cases = summarise(journal.read(path)).cases.values()
    silenced = {_test(case.id) for case in cases if case.why.wants.startswith("stimulus") and case.failure}
    judged = {_test(case.id) for case in cases}
    assert silenced == plugin.marked & judged
    assert silenced


def test_smoke(judge_in_process: Callable[..., summary.Summary], silent: Path, tmp_path: Path) -> None:
    """It judges at most one case of each rule, whatever the profile says of a stimulus, and leaves nothing open."""
    summary = judge_in_process(silent, tmp_path, "--plan=smoke")
    rules = [case.rule for case in summary.cases.values()]
    assert len(rules) == len(set(rules)) > 50
    assert {case.verdict for case in summary.cases.values()} <= {Verdict.PASS, Verdict.NOT_APPLICABLE}
    assert summary.exit_code == 0
    (reason,) = summary.scope.left_out
    assert reason == "plan smoke takes no case that needs a stimulus"
    assert not set(summary.scope.left_out[reason]) & set(rules)
