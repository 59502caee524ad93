# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns, whose counts are shown at the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import Campaign


@pytest.fixture
def campaign(
    pytestconfig: pytest.Config, count: Callable[..., None], report_line: Callable[[str], None]
) -> Callable[[str, str], Campaign]:
    """Makes a campaign of some name, with the seed and factor of the command line.

    The number of its inputs, named by the second word, is among the totals at the end of the run, with a line below.
    """
    seed, factor, only = (pytestconfig.getoption(name) for name in ("--fuzz-seed", "--fuzz", "--fuzz-case"))

    def make(name: str, what: str) -> Campaign:
        def end(made: Campaign) -> None:
            count(**{what: made.sent.total()})
            report_line(made.lines())

        return Campaign(name, seed, factor, only, end)

    return make


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A campaign has its own deadlines, one for each case."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(0))
