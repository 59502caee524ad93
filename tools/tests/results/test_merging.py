# SPDX-License-Identifier: GPL-2.0-only
"""Many runs as one table: each column has the shortest unique name, and no run is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from stories import ended, run_of

from vfio_compliance.results.events import Environment, Event, Target
from vfio_compliance.results.merging import merged, named
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import JudgedProfile
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers.merged import render, worst

PLACES = "abcdefgh"


def run(verdict: str = "pass", profile: str = "gpu", defects: Sequence[str] = (), **facts: Any) -> Summary:
    """A run of one rule; the facts of its environment by name, with _ for blanks."""
    known = {name.replace("_", " "): text for name, text in facts.items()}
    events: list[Event] = [Environment(known, {}, (), "/"), Target({}), ended("a[1]", verdict, seen="that")]
    return summarise(run_of(*events, profile=JudgedProfile("p.yaml", profile, "0" * 64), defects=tuple(defects)))


def names(*runs: Summary) -> list[tuple[str, ...]]:
    """The names of their columns."""
    return [each.column.name for each in named([merged("place", each) for each in runs])]


def text(*runs: Summary, unread: int = 0, width: int = 100, whole: bool = False) -> str:
    """The printed table of these runs."""
    merging = [merged(place, each) for place, each in zip(PLACES, runs, strict=False)]
    return render(named(merging), unread, width, whole=whole)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([{"kernel": "6.12.9+deb12-amd64"}], [("6.12.9",)]),
        ([{"kernel": "6.12.9+deb12-amd64"}, {"kernel": "6.1.0-50-amd64"}], [("6.12.9",), ("6.1.0",)]),
        ([{"kernel": "6.1.0-50-amd64"}, {"kernel": "6.1.0-51-amd64"}], [("6.1.0-50",), ("6.1.0-51",)]),
        ([{"kernel": "6.1.0"}, {"kernel": "6.1.0-mine"}], [("6.1.0",), ("6.1.0-mine",)]),
        ([{"driver": "one"}, {"driver": "other"}], [("6", "one"), ("6", "other")]),
        ([{"driver_version": "1.0"}, {"driver_version": "1.1"}], [("6", "1.0"), ("6", "1.1")]),
        (
            [{"driver_srcversion": "0123456789AB"}, {"driver_srcversion": "BA9876543210"}],
            [("6", "01234567"), ("6", "BA987654")],
        ),
        (
            [{"driver_srcversion": "012345678"}, {"driver_srcversion": "012345679"}],
            [("6", "012345678"), ("6", "012345679")],
        ),
        ([{"host_name": "left.lab"}, {"host_name": "right.lab"}], [("6", "left"), ("6", "right")]),
        ([{"host_name": "a.left"}, {"host_name": "a.right"}], [("6", "a.left"), ("6", "a.right")]),
        ([{"defects": ["d"]}, {}], [("6", "d"), ("6", "")]),
        ([{}, {}], [("6", "run 1"), ("6", "run 2")]),
        ([{"host_name": "x" * 30 + "1"}, {"host_name": "x" * 30 + "2"}], [("6", "run 1"), ("6", "run 2")]),
        (
            [{"kernel": "5", "host_name": "left"}, {"kernel": "6", "host_name": "right"}],
            [("5",), ("6",)],
        ),
        (
            [
                {"driver": "one", "host_name": "h"},
                {"driver": "two", "host_name": "h"},
                {"driver": "two", "host_name": "i"},
            ],
            [("6", "one", "h"), ("6", "two", "h"), ("6", "two", "i")],
        ),
    ],
)
def test_names(facts: Sequence[Mapping[str, Any]], expected: Sequence[tuple[str, ...]]) -> None:
    """The kernel, then only as much of driver and host as is needed to tell runs apart; else the number of the run."""
    assert names(*(run(**{"kernel": "6", **each}) for each in facts)) == expected


def test_columns_of_two_targets_may_have_equal_names() -> None:
    """The name of the target is above them."""
    assert names(run(profile="gpu", kernel="6"), run(profile="nic", kernel="6")) == [("6",), ("6",)]


def test_kernel_of_a_run_without_facts() -> None:
    """It is taken from the first event."""
    bare = summarise(run_of(ended("a[1]", "pass"), kernel="Linux 5.10.0-1"))
    assert names(bare) == [("5.10.0",)]
    assert "  release  5.10.0-1\n  driver   unknown\n  host     unknown\n" in text(bare)


def test_rules_that_pass_everywhere_are_counted() -> None:
    """All others have a row; with ``whole``, these have one, too."""
    both = [run(kernel="5"), run(kernel="6")]
    assert text(*both).startswith("1 rule: pass everywhere\nno rule on which the runs differ\n")
    assert ["v1.a", "pass", "pass"] in [line.split() for line in text(*both, whole=True).splitlines()]


@pytest.mark.parametrize("width", [60, 100])
def test_the_table_and_its_runs(width: int) -> None:
    """The table with its marks, the facts and the verdict of each run, and the worst exit code."""
    runs = [run(kernel="5.10.0-1", driver="gpu", driver_version="2", host_name="lab")]
    runs += [run("fail", kernel="6.1.0-1", driver="gpu", host_name="lab", driver_srcversion="AB", defects=["d"])]
    lines = text(*runs, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split() for line in lines[:4]] == [
        ["gpu"],
        ["5.10.0", "6.1.0"],
        ["!", "v1.a", "pass", "FAIL"],
        ["1", "rule:", "the", "runs", "differ", "(marked", "!)"],
    ]
    shown = " ".join(" ".join(lines).split())
    assert "gpu: 5.10.0 run a release 5.10.0-1 driver gpu, 2 host lab time 5.0 s verdict CONFORMANT" in shown
    assert "gpu: 6.1.0 run b release 6.1.0-1 driver gpu, srcversion AB, broken on purpose d host lab" in shown
    assert "1 rule broken (exit code 1)" in shown
    assert lines[-1] == "2 runs: exit code 1"


@pytest.mark.parametrize(
    ("verdicts", "unread", "code"),
    [
        (["pass", "pass"], 0, 0),
        (["pass"], 1, 2),
        (["fail", "pass"], 1, 1),
        (["hang", "broken"], 0, 3),
        (["n/a"], 0, 4),
        (["n/a", "pass"], 0, 4),
    ],
)
def test_exit_code(verdicts: Sequence[str], unread: int, code: int) -> None:
    """The worst of all runs; a run that cannot be read counts as not judged."""
    runs = [merged("p", run(verdict, kernel="6")) for verdict in verdicts]
    assert worst(runs, unread) == code
    total = len(verdicts) + unread
    how = f", {unread} not readable" if unread else ""
    assert render(named(runs), unread, 100).splitlines()[-1] == f"{total} run{'s' * (total > 1)}{how}: exit code {code}"


def test_a_run_with_control_characters() -> None:
    """They are escaped, and break no line."""
    evil = "x\x1b[2J\ny"
    shown = text(run(kernel=evil, driver=evil, host_name=evil, profile=evil), run("fail", kernel=evil, profile=evil))
    assert "\x1b" not in shown
    assert "\ny" not in shown


def test_the_run_itself_is_not_kept() -> None:
    """Only what the table needs is kept of each run, as there may be many."""
    whole = run(kernel="6")
    kept = merged("p", whole)
    assert not any(value is whole or value is whole.cases for value in vars(kept).values())
