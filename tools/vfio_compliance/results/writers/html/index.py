# SPDX-License-Identifier: GPL-2.0-only
"""Many runs as one page of rules by runs, those on which runs differ first; each verdict links into its report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ...matrix import by_target, ordered, unlike_answers
from ...merging import MergedRun
from .page import rendered


class Linked(NamedTuple):
    """A run, and the address of its report, relative to the page; empty without one."""

    run: MergedRun
    report: str


class Group(NamedTuple):
    """Rules under one heading."""

    title: str
    rules: Sequence[str]


def link(report: Path, page: Path) -> str:
    """The address of a report relative to a page, so that both can be moved together."""
    return quote(os.fsencode(os.path.relpath(report, page.parent)))


def render(runs: Sequence[Linked], unread: Sequence[str]) -> str:
    """``runs`` have their names; ``unread`` has the reason for each run that could not be read."""
    places = {id(each.run.column): each for each in runs}
    columns = by_target(each.run.column for each in runs)
    unlike, other, passing = ordered(columns)
    groups = [
        Group("The runs differ", unlike),
        Group("The same in all runs", other),
        Group("Pass in all runs", passing),
    ]
    return rendered(
        "index.html",
        runs=[places[id(column)] for column in columns],
        targets=[(name, len([*group])) for name, group in groupby(columns, key=lambda each: each.target)],
        groups=[group for group in groups if group.rules],
        says={rule: text for each in runs for rule, text in each.run.says.items()},
        unread=unread,
        answers=[*unlike_answers(columns)],
    )
