# SPDX-License-Identifier: GPL-2.0-only
"""Plans: what loading one gives, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_compliance.interfaces import PROFILE
from vfio_compliance.profiles import ProfileError, load, plan
from vfio_compliance.profiles.plan import LeftOut

FULL = """\
format: 1
name: no-faults
description: For devices in production
leave_out:
  - {rule: v1.error, reason: fused off}
  - rule: v1.error.surfaces
    reason: >
      two lines
      of text
  - {rule: dirty, reason: no tracking}
"""
RULES = ["v1.error.surfaces", "v1.error-state.left", "v1.errors.known", "dirty.unmap.plain", "v1.dirty.pages"]


def loaded(folder: Path, text: str = FULL) -> plan.Plan:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return plan.load(path)


def complaints(folder: Path, text: str) -> list[str]:
    """What is said about a plan, without the name of its file."""
    with pytest.raises(ProfileError) as caught:
        loaded(folder, text)
    return [str(problem).removeprefix(f"{folder}/plan.yaml:") for problem in caught.value.problems]


def test_every_key_arrives(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert (found.name, found.path) == ("no-faults", str(tmp_path / "plan.yaml"))
    assert found.left_out == (
        LeftOut(rule="v1.error", reason="fused off"),
        LeftOut(rule="v1.error.surfaces", reason="two lines of text"),
        LeftOut(rule="dirty", reason="no tracking"),
    )


def test_the_default_plan_leaves_out_nothing() -> None:
    assert (plan.DEFAULT.name, plan.DEFAULT.path, plan.DEFAULT.left_out) == ("default", "", ())
    assert plan.DEFAULT.leaves_out("v1.error.surfaces") is None
    assert plan.DEFAULT.problems(RULES) == []


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("v1.error.surfaces", "two lines of text"),
        ("v1.error.other", "fused off"),
        ("v1.error", "fused off"),
        ("v1.error-state.left", "fused off"),
        ("v1.errors.known", None),
        ("v1", None),
        ("dirty.unmap.plain", "no tracking"),
        ("v1.dirty.pages", None),
    ],
)
def test_a_rule_is_left_out_by_its_beginning_up_to_a_word(tmp_path: Path, rule: str, reason: str | None) -> None:
    assert loaded(tmp_path).leaves_out(rule) == reason


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("v1.error.surface", "there is no rule `v1.error.surface`; did you mean `v1.error.surfaces`?"),
        ("v1.eror", "there is no rule `v1.eror`; did you mean `v1.error`?"),
        ("v1.error-stat", "there is no rule `v1.error-stat`; did you mean `v1.error-state`?"),
        ("quite-another", "there is no rule `quite-another`"),
    ],
)
def test_an_unknown_rule_has_its_place(tmp_path: Path, rule: str, message: str) -> None:
    found = loaded(tmp_path, FULL.replace("rule: dirty", f"rule: {rule}"))
    assert [str(problem) for problem in found.problems(RULES)] == [f"{tmp_path}/plan.yaml:10:12: {message}"]
    assert found.problems(RULES)[0].text == f"  - {{rule: {rule}, reason: no tracking}}"


def test_known_rules_and_beginnings_are_no_problem(tmp_path: Path) -> None:
    assert loaded(tmp_path).problems(RULES) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("format: 1", "format: 2", "1:9: format `2` is unknown; this version reads 1"),
        ("name: no-faults", "name: no faults", "2:7: expected a name of letters, digits, `.`, `_` and `-`"),
        ("leave_out:", "leaf_out:", "4:1: unknown key `leaf_out`; did you mean `leave_out`?"),
        ("description", "device", "3:1: unknown key `device`; it belongs to a profile"),
        ("reason: fused off", "why: fused off", "5:5: the key `reason` is missing"),
        ("rule: dirty,", "rule: DS-08,", "10:12: expected a rule such as `v1.reserved.reads-zero`, or its beginning"),
        ("rule: dirty,", "rule: v1.,", "10:12: expected a rule such as"),
        ("rule: dirty,", "rule: 1,", "10:12: YAML reads `1` as a number"),
        ("reason: no tracking", 'reason: " "', "10:27: expected text, found blank text"),
        ("rule: dirty,", "rule: v1.error,", "10:12: `v1.error` is left out already"),
        ("rule: dirty,", "rule: &a dirty,", "10:12: anchors such as `&a` are not used"),
    ],
)
def test_a_mistake_is_named_where_it_is(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert any(said.startswith(complaint) for said in complaints(tmp_path, FULL.replace(old, new)))


def test_what_is_no_plan_is_named(tmp_path: Path) -> None:
    hint = "it needs `format: 1`, `name` and `leave_out`"
    assert complaints(tmp_path, "") == [f"1:1: the file holds no plan; {hint}"]
    assert complaints(tmp_path, FULL + "---\n") == ["11:1: a second document starts here; a file holds one plan"]
    assert complaints(tmp_path, "just words") == ["1:1: expected a mapping (`key: value`), found `just words`"]
    with pytest.raises(ProfileError, match=r"none\.yaml: cannot be read: No such file"):
        plan.load(tmp_path / "none.yaml")


def test_the_list_may_be_empty_but_is_not_left_out(tmp_path: Path) -> None:
    assert loaded(tmp_path, "format: 1\nname: all\nleave_out: []\n").left_out == ()
    assert complaints(tmp_path, "format: 1\nname: all\n") == ["1:1: the key `leave_out` is missing"]


def test_the_plan_in_the_template_is_one(tmp_path: Path) -> None:
    lines = (Path(__file__).parents[3] / "profiles" / "template.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index("#   format: 1")
    text = "\n".join(line[4:].removesuffix("(optional)") for line in lines[start : lines.index("", start)])
    assert len(loaded(tmp_path, text).left_out) == 1


def test_profiles_and_plans_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    for text, expected in (
        (FULL, True),
        (FULL.replace("leave_out", "leave-out"), True),
        (FULL + "interfaces: [migration_v1]\n", False),
        ("format: 1\nname: a\n", False),
        ("[", False),
        ("", False),
        ("- leave_out\n", False),
        ("? [leave_out]\n: a\n", False),
    ):
        path.write_text(text, encoding="utf-8")
        assert plan.is_plan(path) is expected, text
    with pytest.raises(ProfileError):
        load(path, PROFILE)
