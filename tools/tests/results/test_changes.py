# SPDX-License-Identifier: GPL-2.0-only
"""State changes: what was seen of each, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pages import cells, part, text, tree
from stories import case, ended, run_of

from vfio_compliance.interfaces import INTERFACES
from vfio_compliance.migration_v1.interface import MigrationV1
from vfio_compliance.results import summary
from vfio_compliance.results.changes import Seen, changes
from vfio_compliance.results.events import Target
from vfio_compliance.results.flows import ACCEPTED, REFUSED, Measures
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import UsedRegion
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers import render
from vfio_compliance.results.writers.html.pictures.states import HEIGHT, MOST_STATES, WIDTH, diagram

DRAWN = (("running", "stop"), ("running", "stop-and-copy"), ("stop-and-copy", "stop"))


def run(requested: Mapping[str, Any], *failed: str, drawn: tuple[tuple[str, str], ...] = DRAWN) -> Summary:
    """A run in which changes were ``requested`` and the cases ``failed`` failed."""
    made = [replace(ended("a", "pass"), measures=Measures(changes=requested))]
    made += [replace(ended("b", "fail"), case=case(f"b[{name}]")) for name in failed]
    return summarise(run_of(Target({}, (UsedRegion(9, "v1", (), drawn),)), *made))


def seen(summary: Summary) -> dict[str, Seen]:
    """What was seen of each change, by its name."""
    return {change.name: change.seen for change in changes(summary)}


def test_what_was_seen_of_each_change() -> None:
    """Documented or not; accepted, refused or not tried."""
    requested = {
        "running -> stop": {ACCEPTED: 2, REFUSED: 1},
        "stop -> running": {ACCEPTED: 1},
        "stop-and-copy -> running": {REFUSED: 3},
        "running -> stop-and-copy": {REFUSED: 1},
    }
    assert seen(run(requested)) == {
        "running -> stop": Seen.DOCUMENTED,
        "running -> stop-and-copy": Seen.REFUSED,
        "stop -> running": Seen.ACCEPTED,
        "stop -> stop-and-copy": Seen.UNTRIED,
        "stop-and-copy -> running": Seen.REFUSED,
        "stop-and-copy -> stop": Seen.UNSEEN,
    }


def test_a_change_is_broken_if_a_case_that_names_it_failed() -> None:
    """Not if its name is only the beginning of another one; and the rule is named."""
    summary = run({"running -> stop": {ACCEPTED: 1}}, "running -> stop-and-copy")
    assert seen(summary)["running -> stop-and-copy"] is Seen.BROKEN
    assert seen(summary)["running -> stop"] is Seen.DOCUMENTED
    assert next(each.broke for each in changes(summary) if each.seen is Seen.BROKEN) == ["v1.b"]


def test_undrawn_changes_are_only_in_the_table() -> None:
    """Neither changes that the interface does not draw nor writes of the same state are in the diagram."""
    found = changes(run({"running -> error": {REFUSED: 1}, "stop -> stop": {ACCEPTED: 1}}))
    assert {"running -> error", "stop -> stop"} <= {change.name for change in found}
    drawn = diagram(found)
    assert drawn is not None
    assert not {"running -> error", "stop -> stop"} & {arc.change.name for arc in drawn.arcs}


@pytest.mark.parametrize(
    ("requested", "drawn"), [({}, DRAWN), ({"running -> stop": {ACCEPTED: 1}}, ()), ({"odd": {ACCEPTED: 1}}, ())]
)
def test_an_older_journal_has_no_changes(requested: Mapping[str, Any], drawn: tuple[tuple[str, str], ...]) -> None:
    """The page says so, and draws nothing."""
    summary = run(requested, drawn=drawn)
    assert changes(summary) == []
    pictures = part(tree(render("html", summary)), "pictures")
    assert "the journal is of an earlier version that did not record" in text(pictures)
    assert pictures.find(".//svg") is None


def test_a_malformed_name_of_a_change_is_ignored() -> None:
    """A name without an arrow, in a journal that was edited by hand."""
    assert "odd" not in seen(run({"odd": {ACCEPTED: 1}, "running -> stop": {ACCEPTED: 1}}))


@pytest.mark.parametrize("number", [2, 3, 5, 7, MOST_STATES])
def test_the_diagram_holds_all_states(number: int) -> None:
    """No two boxes overlap, all are inside the picture, and every arrow is drawn exactly once."""
    drawn = tuple((f"s{state}", f"s{(state + 1) % number}") for state in range(number))
    found = changes(run({"s0 -> s1": {ACCEPTED: 1}}, drawn=drawn))
    made = diagram(found)
    assert made is not None
    boxes = [(node.left, node.top, node.left + node.width, node.top + node.height) for node in made.nodes]
    assert len(boxes) == number
    assert all(box[0] >= 0 and box[1] >= 0 and box[2] <= WIDTH and box[3] <= HEIGHT for box in boxes)
    pairs = [(one, other) for at, one in enumerate(boxes) for other in boxes[:at]]
    assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for a, b in pairs)
    assert sorted(arc.change.name for arc in made.arcs) == sorted({f"{one} -> {other}" for one, other in drawn})


def test_more_states_than_can_be_drawn() -> None:
    """They are still in the table."""
    drawn = tuple((f"s{state}", f"s{state + 1}") for state in range(MOST_STATES))
    summary = run({"s0 -> s1": {ACCEPTED: 1}}, drawn=drawn)
    assert diagram(changes(summary)) is None
    pictures = part(tree(render("html", summary)), "pictures")
    assert ["s0 -> s1", "documented, and seen", "1", "0"] in [cells(row) for row in pictures.iter("tr")]


def test_arrows_differ_without_colour() -> None:
    """Each kind has its own class, and its meaning is in the legend and in the table."""
    summary = run({"running -> stop": {ACCEPTED: 1}, "stop -> running": {REFUSED: 1}}, "running -> stop-and-copy")
    pictures = part(tree(render("html", summary)), "pictures")
    kinds = {each.get("class") for each in pictures.iter("g")}
    assert kinds == {"arc arc-broken", "arc arc-documented", "arc arc-refused", "arc arc-unseen"}
    legend = next(each for each in pictures.iter("ul") if each.get("class") == "legend")
    assert [text(each) for each in legend.iter("li")] == [
        "broken: a rule about it failed",
        "documented, and seen",
        "documented, and not seen",
        "refused each time",
    ]


@pytest.mark.parametrize("interface", [each for each in INTERFACES if each.drawn], ids=lambda each: each.name)
def test_an_interface_draws_only_named_states(interface: MigrationV1) -> None:
    """The names are those of its registers: they identify changes and appear in the names of cases."""
    names = {name for register in interface.registers for name in register.values.values()}
    assert {state for pair in interface.drawn for state in pair} <= names
    assert len({*interface.drawn}) == len(interface.drawn)


def test_a_run_draws_what_was_seen(
    target: Path, judge_in_process: Callable[..., summary.Summary], tmp_path: Path
) -> None:
    """A run against a real driver shows a documented change and an undocumented one; none is broken."""
    tests = [f"suites/migration_v1/test_transitions.py::test_{name}" for name in ("running_to_stop", "undrawn_safe")]
    found = seen(judge_in_process(target, tmp_path, *tests))
    assert found["running -> stop"] is Seen.DOCUMENTED
    assert found["stop -> running"] is Seen.ACCEPTED
    assert Seen.BROKEN not in found.values()
