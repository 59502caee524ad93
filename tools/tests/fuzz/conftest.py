# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns, and their counts at the end of the run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "refdriver"))  # for raw_client
sys.path.insert(0, str(Path(__file__).parent))

from campaign import Campaign

_campaigns: list[Campaign] = []


@pytest.fixture
def campaign(pytestconfig: pytest.Config) -> Callable[[str], Campaign]:
    """Makes a campaign of some name, with the seed and factor that were asked for."""
    seed, factor, only = (pytestconfig.getoption(name) for name in ("--fuzz-seed", "--fuzz", "--fuzz-case"))

    def make(name: str) -> Campaign:
        _campaigns.append(Campaign(name, seed, factor, only))
        return _campaigns[-1]

    return make


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A campaign has deadlines of its own, one for each case."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The counts."""
    if _campaigns:
        terminalreporter.section("random inputs")
        for each in _campaigns:
            terminalreporter.write_line(each.line())
