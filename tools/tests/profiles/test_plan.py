# SPDX-License-Identifier: GPL-2.0-only
"""Plans: loading one, and mistakes in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfio_compliance.profiles import ProfileError, plan
from vfio_compliance.profiles.plan import LeftOut, NotBlocking
from vfio_compliance.profiles.which import Which, which

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
depth: quick
not_blocking:
  - {level: may, reason: not needed}
  - {rule: v1.errors, reason: known since spring}
"""
RULES = ["v1.error.surfaces", "v1.error-state.left", "v1.errors.known", "dirty.unmap.plain", "v1.dirty.pages"]


def loaded(folder: Path, text: str = FULL) -> plan.Plan:
    path = folder / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    return plan.load(path)


def complaints(folder: Path, text: str) -> list[str]:
    """The problems of a plan, without the name of its file."""
    with pytest.raises(ProfileError) as caught:
        loaded(folder, text)
    return [str(problem).removeprefix(f"{folder}/plan.yaml:") for problem in caught.value.problems]


def test_every_key_is_loaded(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert (found.name, found.given, found.depth) == ("no-faults", str(tmp_path / "plan.yaml"), "quick")
    assert found.not_blocking == (
        NotBlocking(level="may", reason="not needed"),
        NotBlocking(rule="v1.errors", reason="known since spring"),
    )
    assert found.left_out == (
        LeftOut(rule="v1.error", reason="fused off"),
        LeftOut(rule="v1.error.surfaces", reason="two lines of text"),
        LeftOut(rule="dirty", reason="no tracking"),
    )


PROJECT = Path(__file__).parents[3]


def test_the_plans_of_the_project() -> None:
    """Three leave out nothing; the fourth leaves out rules that make a kernel report a warning."""
    known = {path.stem: plan.load(path) for path in plan.FOLDER.glob("*.yaml")}
    assert {name: each.name for name, each in known.items()} == {name: name for name in known}
    assert {name: each.depth for name, each in known.items()} == {
        "smoke": "quick",
        "ci": "default",
        "certification": "full",
        "qemu-edu": "default",
    }
    assert [name for name, each in known.items() if each.left_out or each.not_blocking] == ["qemu-edu"]


@pytest.mark.parametrize(
    ("word", "name", "given"),
    [(None, "ci", ""), ("smoke", "smoke", "smoke"), ("profiles/plans/ci.yaml", "ci", "profiles/plans/ci.yaml")],
)
def test_a_plan_is_chosen_by_name_or_path(
    word: str | None, name: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    found = plan.chosen(word)
    assert (found.name, found.given) == (name, given)


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("certificaton", "--plan: there is no plan `certificaton`; did you mean `certification`?"),
        ("xyz", "--plan: there is no plan `xyz`; expected certification, ci, qemu-edu, smoke, or the path of a file"),
        ("none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("../plans/ci", "../plans/ci: cannot be read: No such file or directory"),
        ("", "--plan: there is no plan ``; expected certification, ci, qemu-edu, smoke, or the path of a file"),
    ],
)
def test_a_plan_that_does_not_exist(word: str, complaint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        plan.chosen(word)
    assert str(caught.value) == complaint


def test_a_plan_that_leaves_out_every_rule(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, "format: 1\nname: none\nleave_out:\n  - {rule: v1, reason: a}\n  - {rule: dirty, reason: a}\n"
    )
    assert [str(each) for each in found.problems(RULES)] == [
        f"{tmp_path}/plan.yaml:4:3: every rule is left out; at least one has to be judged"
    ]


@pytest.mark.parametrize(
    ("level", "of", "covered"),
    [("should", "must", False), ("should", "should", True), ("should", "may", True), ("may", "should", False)],
)
def test_weaker_levels_do_not_block_either(level: str, of: str, covered: bool) -> None:
    assert NotBlocking(level=level, reason="a").covers("v1.a", of) is covered


@pytest.mark.parametrize(
    ("kernel", "left_out"),
    [("6.12.117+deb12-amd64", {"a"}), ("7.3.4-amd64", {"a", "b"}), ("7.3.0-rc2", {"a"}), ("mine", {"a"})],
)
def test_left_out_on_some_kernels(tmp_path: Path, kernel: str, left_out: set[str]) -> None:
    """An entry with a range leaves nothing out on other kernels, nor if the kernel's version is unknown."""
    entries = '  - {rule: a, reason: r}\n  - {rule: b, reason: r, kernel: ">=7.3"}\n'
    found = loaded(tmp_path, f"format: 1\nname: some\nleave_out:\n{entries}").on(kernel)
    assert {rule for rule in ("a", "b", "c") if found.leaves_out(rule)} == left_out


def test_a_malformed_range_of_kernels(tmp_path: Path) -> None:
    entry = '  - {rule: a, reason: r, kernel: "new ones"}\n'
    (complaint,) = complaints(tmp_path, f"format: 1\nname: some\nleave_out:\n{entry}")
    assert complaint.startswith('4:34: expected a range of versions such as ">=6.1, <6.13", found `new ones`')


def test_without_should(tmp_path: Path) -> None:
    chosen = loaded(tmp_path, "format: 1\nname: all\nleave_out: []\n").without_should()
    assert chosen.not_blocking == (NotBlocking(level="should", reason="--no-should"),)


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
def test_a_rule_is_left_out_by_its_first_words(tmp_path: Path, rule: str, reason: str | None) -> None:
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


def test_known_rules_and_beginnings_are_accepted(tmp_path: Path) -> None:
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
        ("depth: quick", "depth: deep", "11:8: expected `quick`, `default` or `full`, found `deep`"),
        ("level: may,", "level: must,", "13:13: expected `should` or `may`, found `must`"),
        ("level: may,", "level: may, rule: v1,", "13:6: `rule` and `level` exclude each other"),
        ("level: may, ", "", "13:5: the key `rule` or `level` is missing"),
        ("rule: v1.errors,", "rule: v1.error.surfaces,", "14:12: `v1.error.surfaces` is left out, so it cannot block"),
        ("rule: v1.errors,", "level: may,", "14:5: `may` does not block already"),
    ],
)
def test_a_mistake_is_named_where_it_is(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert any(each.startswith(complaint) for each in complaints(tmp_path, FULL.replace(old, new)))


def test_files_without_a_plan(tmp_path: Path) -> None:
    hint = "it needs `format: 1`, `name` and `leave_out`"
    assert complaints(tmp_path, "") == [f"1:1: the file holds no plan; {hint}"]
    assert complaints(tmp_path, FULL + "---\n") == ["15:1: a second document starts here; a file holds one plan"]
    assert complaints(tmp_path, "just words") == ["1:1: expected a mapping (`key: value`), found `just words`"]
    with pytest.raises(ProfileError, match=r"none\.yaml: cannot be read: No such file"):
        plan.load(tmp_path / "none.yaml")


def test_leave_out_may_be_empty_but_not_missing(tmp_path: Path) -> None:
    found = loaded(tmp_path, "format: 1\nname: all\nleave_out: []\n")
    assert (found.left_out, found.not_blocking, found.depth) == ((), (), "default")
    assert complaints(tmp_path, "format: 1\nname: all\n") == ["1:1: the key `leave_out` is missing"]


def test_the_plan_in_the_template_is_valid(tmp_path: Path) -> None:
    lines = (Path(__file__).parents[3] / "profiles" / "template.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index("#   format: 1")
    text = "\n".join(line[4:].removesuffix("(optional)") for line in lines[start : lines.index("", start)])
    assert len(loaded(tmp_path, text).left_out) == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (FULL, Which.PLAN),
        (FULL.replace("leave_out", "leave-out"), Which.PLAN),
        (FULL + "waivers: []\n", Which.PLAN),
        (FULL + "interfaces: [migration_v1]\n", Which.PROFILE),
        ("format: 1\nwaivers: []\n", Which.WAIVERS),
        ("format: 1\nwaiver: []\n", Which.WAIVERS),
        ("format: 1\ndevice: {}\nwaivers: []\n", Which.PROFILE),
        ("format: 1\nname: a\n", Which.PROFILE),
        ("[", Which.PROFILE),
        ("", Which.PROFILE),
        ("- leave_out\n", Which.PROFILE),
        ("? [leave_out]\n: a\n", Which.PROFILE),
    ],
)
def test_profiles_plans_and_waivers_are_distinguished(tmp_path: Path, text: str, kind: Which) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    assert which(path) is kind
