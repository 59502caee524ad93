# SPDX-License-Identifier: GPL-2.0-only
"""Waivers: loading a file of them, mistakes in it, and waivers that exclude each other."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from waiver_texts import SMALL, complaints, written

from vfio_compliance.common import versions
from vfio_compliance.common.rule_names import RENAMED
from vfio_compliance.profiles import ProfileError, Waiver, load, waiver_files
from vfio_compliance.profiles.command import check
from vfio_compliance.profiles.waiver import TELL_APART
from vfio_compliance.sections import PROFILE

FULL = """\
format: 1
waivers:
  - rule: v1.a
    reason: known
    link: https://bugs.example/1
    owner: Ann
    expires: 2999-01-31
    shows: "0xdead"
    case: running
    kernel: ">=6.1, <6.13"
    driver: "~=1.0"
    sometimes: true
  - {rule: v1.b, reason: known}
"""


def test_every_key_is_loaded(tmp_path: Path) -> None:
    found = waiver_files.load(written(tmp_path, FULL))
    assert found.waivers == (
        Waiver(
            rule="v1.a",
            reason="known",
            link="https://bugs.example/1",
            owner="Ann",
            expires=datetime.date(2999, 1, 31),
            shows="0xdead",
            case="running",
            kernel=">=6.1, <6.13",
            driver="~=1.0",
            sometimes=True,
        ),
        Waiver(rule="v1.b", reason="known"),
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("reason: known\n", 'reason: ""\n', "4:13: expected text, found blank text"),
        ("    reason: known\n", "", "3:5: the key `reason` is missing"),
        ("owner: Ann", "owned: Ann", "6:5: unknown key `owned`; did you mean `owner`?"),
        ("format: 1", "format: 1\nname: a", "2:1: unknown key `name`; it belongs to a profile"),
        ("2999-01-31", "2999-02-31", "7:14: `2999-02-31` is not a day of the calendar"),
        ('">=6.1, <6.13"', '">=6.13, <6.1"', "10:13: expected a range of versions such as"),
        ('">=6.1, <6.13"', '">=6.13, <6.1"', "found `>=6.13, <6.1`: no version is in it"),
        ('">=6.1, <6.13"', '"6.1"', "found `6.1`: Invalid specifier: '6.1'"),
        ('">=6.1, <6.13"', '","', "found `,`: it names no version"),
        ('">=6.1, <6.13"', '"===6.1"', "found `===6.1`: it names no version"),
        ('">=6.1, <6.13"', '" "', "found blank text"),
        ('">=6.1, <6.13"', "6.1", "10:13: YAML reads `6.1` as a number"),
        (
            "rule: v1.b",
            "rule: v1.a",
            "13:12: `v1.a` is waived already; make them differ in `case`, `shows`, `kernel` or `driver`",
        ),
    ],
)
def test_a_mistake_is_named_where_it_is(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert any(complaint in each for each in complaints(written(tmp_path, FULL.replace(old, new))))


def test_files_without_waivers(tmp_path: Path) -> None:
    hint = "it needs `format: 1` and `waivers`"
    assert complaints(written(tmp_path, "")) == [f"1:1: the file holds no list of waivers; {hint}"]
    assert complaints(written(tmp_path, "format: 1\n")) == ["1:1: the key `waivers` is missing"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({}, {"case": "run"}, True),
        ({"case": "run"}, {"case": "running"}, True),
        ({"case": "run"}, {"case": "stop"}, False),
        ({"shows": "0x1"}, {"shows": "0x2"}, False),
        ({"shows": "0x1"}, {"case": "stop"}, True),
        ({"kernel": "<6"}, {"kernel": ">=6"}, False),
        ({"kernel": "<6.2"}, {"kernel": ">=6"}, True),
        ({"kernel": "<6"}, {"driver": ">=6"}, True),
        ({"driver": "==1.0"}, {"driver": "==1.1"}, False),
    ],
)
def test_two_waivers_of_one_rule(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    """Both are allowed only if no failure fits both."""
    waivers = [Waiver(rule="v1.a", reason="a", **each) for each in (one, other)]
    assert waivers[0].same_failure(waivers[1]) is same
    assert waivers[1].same_failure(waivers[0]) is same
    assert not waivers[0].same_failure(Waiver(rule="v1.b", reason="a"))


def test_waivers_of_a_profile_and_of_files_together(tmp_path: Path) -> None:
    """Each has its place; two for the same failure are refused with both places."""
    profile = load(written(tmp_path, f"{SMALL}waivers: [{{rule: v1.a, reason: a}}]\n", "p.yaml"), PROFILE)
    other = waiver_files.load(written(tmp_path, "format: 1\nwaivers: [{rule: v1.b, reason: b}]\n"))
    found = waiver_files.together(profile, [other], ["v1.a", "v1.b"])
    assert [(each.waiver.rule, each.where) for each in found] == [
        ("v1.a", f"{tmp_path}/p.yaml:5:11"),
        ("v1.b", f"{tmp_path}/w.yaml:2:11"),
    ]
    with pytest.raises(ProfileError) as caught:
        waiver_files.together(profile, [other, other], ["v1.a"])
    assert [str(each) for each in caught.value.problems] == [
        f"{tmp_path}/w.yaml:2:18: there is no rule `v1.b`; did you mean `v1.a`?",
        f"{tmp_path}/w.yaml:2:18: there is no rule `v1.b`; did you mean `v1.a`?",
        f"{tmp_path}/w.yaml:2:18: `v1.b` is waived already, at {tmp_path}/w.yaml:2:11; {TELL_APART}",
    ]


def test_a_former_id_is_accepted(tmp_path: Path) -> None:
    """A run uses the current one; `check` says which to write."""
    former, now = next(iter(RENAMED.items()))
    profile = load(written(tmp_path, f"{SMALL}waivers: [{{rule: {former}, reason: a}}]\n", "p.yaml"), PROFILE)
    assert [each.waiver.rule for each in waiver_files.together(profile, [], [now])] == [now]
    (problem,) = waiver_files.unknown_rules(profile.source, profile.waivers, [now])
    assert str(problem) == f"{tmp_path}/p.yaml:5:18: `{former}` is called `{now}` now"


def test_check_of_waivers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reports unknown rules and expired waivers, in files of waivers and in profiles."""
    good = written(tmp_path, FULL)
    assert check([str(good)], PROFILE, ["v1.a", "v1.b"]) == 0
    assert capsys.readouterr().out == f"{good}: ok\n"
    assert check([str(good)], PROFILE, ["v1.a"]) == 2
    assert f"{good}:13:12: there is no rule `v1.b`; did you mean `v1.a`?" in capsys.readouterr().out
    old = FULL.replace("2999", "2001")
    for path, line in (
        (written(tmp_path, old, "old.yaml"), 7),
        (written(tmp_path, SMALL + old.partition("\n")[2], "profile.yaml"), 10),
    ):
        assert check([str(path)], PROFILE) == 2
        message = f"{path}:{line}:14: the waiver of `v1.a` has expired; renew or remove it"
        assert message in capsys.readouterr().out


@pytest.mark.parametrize(
    ("held", "version", "inside"),
    [
        (">=6.1", "6.1", True),
        (">=6.1", "6.1.0-rc1", False),
        ("<6.1", "6.1-rc1", False),
        ("<6.1", "6.0.99-foo+bar", True),
        ("<=6.12", "6.12.1", False),
        ("==6.12.*", "6.12.1", True),
        (">1", "v2", True),
        (">1", "535.104.05", True),
        (">1", "2b", None),
        (">1", "", None),
        (">1", "9" * 4000, None),
    ],
)
def test_versions(held: str, version: str, inside: bool | None) -> None:
    assert versions.within(held, version) is inside
