# SPDX-License-Identifier: GPL-2.0-only
"""The calls around the one that shows a failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from stories import RULE, first, recorded

from vfio_compliance.common.calls import Call, Span
from vfio_compliance.results.case import Case
from vfio_compliance.results.excerpt import excerpt
from vfio_compliance.results.reading import summarise


def call(serial: int, part: str = "body", times: int = 1) -> Call:
    return Call("read", "region 0", serial, 4, value=-1, errno=5, serial=serial, part=part, times=times)


def case(name: str, calls: Sequence[Call], **more: Any) -> Case:
    return Case(f"suites/s/{name}", "v1.one", calls=calls, **more)


def shown(failing: Case, *others: Case, most: int = 8, opening: tuple[()] | Sequence[Call] = ()) -> list[str]:
    """The marks, numbers and remarks of an excerpt."""
    summary = summarise([*recorded(first([RULE], {}))])
    summary.cases, summary.opening = {each.id: each for each in (failing, *others)}, tuple(opening)
    return [line.mark.strip() or line.text for line in excerpt(failing, summary, most)]


def test_the_call_is_marked_among_its_neighbours() -> None:
    """With twice as many before it as after it, and the number of those left out on each side."""
    lines = shown(case("x", [call(serial) for serial in range(101, 121)], failed_call=110))
    numbers = ["105", "106", "107", "108", "109", ">   110", "111", "112"]
    assert lines == ["(4 before these)", "body:", *numbers, "(8 after these)"]


def test_each_part_has_a_heading() -> None:
    """A short list of calls is shown in full."""
    lines = shown(case("x", [call(1, "set-up"), call(2), call(3), call(4, "clean-up")], failed_call=3))
    assert lines == ["set-up:", "1", "body:", "2", ">     3", "clean-up:", "4"]


def test_folded_calls_are_marked_as_one() -> None:
    """If the failing call is one of them."""
    assert shown(case("x", [call(1, times=9), call(10)], failed_call=5)) == ["body:", ">     1", "10"]


@pytest.mark.parametrize("failed", [0, 99])
def test_without_a_failing_call_the_end_of_the_body_is_shown(failed: int) -> None:
    """The clean-up comes after the failure, so it is shown only if there is nothing else."""
    calls = [*map(call, range(1, 11)), call(11, "clean-up")]
    numbers = [str(number) for number in range(3, 11)]
    assert shown(case("x", calls, failed_call=failed)) == ["(2 before these)", "body:", *numbers, "(1 after these)"]
    assert shown(case("x", calls[-1:], failed_call=failed)) == ["clean-up:", "11"]
    assert shown(case("x", [])) == []


def test_calls_of_a_flow_are_shown_where_they_were_made() -> None:
    """In the case that drove it, among its other calls; adjacent ranges are merged."""
    first = case("x", [call(1, "set-up"), call(2), call(3), call(4)])
    spans = [Span(2, 2, first.id), Span(3, 4, first.id), Span(9, 9, "suites/s/y")]
    judged = case("z", [call(20, "set-up")], failed_call=3, stands_on=spans)
    standing = ["based on calls 2 to 4 of x", "based on calls 9 to 9 of y"]
    assert shown(judged, first) == [*standing, "in x:", "set-up:", "1", "body:", "2", ">     3", "4"]
    assert shown(judged) == [*standing, "set-up:", "20"]


def test_a_call_of_the_opening() -> None:
    """A refusal that was recorded when the device was opened."""
    lines = shown(case("x", [call(7)], failed_call=2), opening=[call(1, "opening"), call(2, "opening")])
    assert lines == ["in the opening of the device:", "opening:", "1", ">     2"]


def test_a_case_is_searched_before_the_opening_of_another_process() -> None:
    """Each test process numbers its calls from 1, and the recorded opening is that of the last process."""
    assert shown(case("x", [call(7)], failed_call=7), opening=[call(7, "opening")]) == ["body:", ">     7"]
