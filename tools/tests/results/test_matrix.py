# SPDX-License-Identifier: GPL-2.0-only
"""Runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from stories import event_of

from vfio_compliance.results.events import Run
from vfio_compliance.results.journal import Recorded
from vfio_compliance.results.matrix import Column, column, render
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import Verdict

LONG = "dirty.capability." + "x" * 27


def run(kernel: str, target: str = "edu", answers: Mapping[str, str] | None = None, **verdicts: Any) -> Column:
    """A column; an underscore in a name stands for the dot of a rule's id."""
    return Column(
        (kernel,), target, {name.replace("_", "."): Verdict(word) for name, word in verdicts.items()}, answers or {}
    )


def test_rows_in_which_kernels_differ_come_first() -> None:
    """They are marked. Rules that pass everywhere are only counted; the others come last."""
    same: dict[str, Any] = {"a_pass": "pass", "b_na": "n/a"}
    lines = render([run("5.10", **same, c_odd="pass"), run("7.3", **same, c_odd="fail")], 100)
    assert [line.split() for line in lines] == [
        [],
        ["edu"],
        ["5.10", "7.3"],
        ["!", "c.odd", "pass", "FAIL"],
        ["b.na", "n/a", "n/a"],
        [],
        ["1", "rule:", "pass", "everywhere"],
        ["1", "rule:", "the", "kernels", "differ", "(marked", "!)"],
    ]


def test_a_target_is_only_compared_with_itself() -> None:
    """Two targets with different verdicts are not a difference between kernels."""
    columns = [run("6.1", "edu", d="n/a"), run("6.1", "module", d="pass", m="pass")]
    columns += [run("6.12", "edu", d="n/a"), run("6.12", "module", d="pass", m="pass")]
    lines = render(columns, 100)
    assert [line.split() for line in lines if line] == [
        ["edu", "module"],
        ["6.1", "6.12", "6.1", "6.12"],
        ["d", "n/a", "n/a", "pass", "pass"],
        ["1", "rule:", "pass", "everywhere"],
        ["no", "rule", "on", "which", "the", "kernels", "differ"],
    ]


def test_a_rule_missing_on_one_kernel_is_a_difference() -> None:
    """Its verdict there is a dash."""
    lines = render([run("5.10", a="pass"), run("7.3", a="pass", b="pass")], 100)
    assert ["!", "b", "-", "pass"] in [line.split() for line in lines]


def test_the_whole_table_has_every_row() -> None:
    """It is for the file that is kept."""
    columns = [run("5.10", a="pass", b="pass"), run("7.3", a="pass", b="pass")]
    assert [line.split()[0] for line in render(columns, 100, whole=True) if line][2:4] == ["a", "b"]


@pytest.mark.parametrize("columns", [1, 4, 6, 13])
def test_the_table_fits_the_terminal(columns: int) -> None:
    """Columns that do not fit are in another table below."""
    long: dict[str, Any] = {LONG: "not-run"}
    kernels = [run(f"6.{number}", "refdriver-kernel", **long) for number in range(columns)]
    lines = render(kernels, 100)
    assert max(map(len, lines)) <= 100
    words = [word for line in lines if LONG in line for word in line.split()[1:]]
    assert words == ["not-run"] * columns


def test_one_kernel_alone() -> None:
    """There is no line about differences."""
    assert [line for line in render([run("6.1", a="fail")], 100) if "differ" in line] == []


def test_what_kernels_do_where_the_specification_is_silent() -> None:
    """It is shown only if they differ."""
    columns = [
        run("5.10", answers={"a wrapping range": "EINVAL", "no flag": "EINVAL"}),
        run("6.1", answers={"a wrapping range": "EINVAL", "no flag": "EINVAL"}),
        run("7.3", answers={"a wrapping range": "EOVERFLOW", "no flag": "EINVAL", "more": "yes"}),
    ]
    assert render(columns, 100)[-7:] == [
        "Where the specification is silent, the kernels differ",
        "  edu: a wrapping range",
        "    5.10, 6.1: EINVAL",
        "    7.3: EOVERFLOW",
        "  edu: more",
        "    5.10, 6.1: not asked",
        "    7.3: yes",
    ]


def test_a_column_is_a_run(records: Callable[..., list[Recorded]]) -> None:
    """The name of its profile is the target."""
    made = column("6.1", summarise(records("pass", "fail")))
    assert (made.name, made.verdicts) == (("6.1",), {"v1.one": Verdict.FAIL})
    assert made.target == event_of(records("pass")[0], Run).profile.name
    assert made.answers == {"how": "so"}
