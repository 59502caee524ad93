# SPDX-License-Identifier: GPL-2.0-only
"""Waivers of kernel warnings: loading them, and mistakes in them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from waiver_texts import SMALL, complaints, written

from vfio_compliance.profiles import ProfileError, load, waiver_files
from vfio_compliance.profiles.command import check
from vfio_compliance.profiles.kernel_warning import KernelWarning
from vfio_compliance.sections import PROFILE

FULL = """\
format: 1
waivers: []
kernel_warnings:
  - file: drivers/vfio/vfio_main.c
    function: vfio_do
    reason: known
    expires: 2999-01-31
    link: https://bugs.example/1
    owner: Ann
    kernel: ">=6.1, <6.13"
    sometimes: true
"""
NEEDED: dict[str, Any] = {"reason": "a", "expires": datetime.date(2999, 1, 31)}


def test_every_key_is_loaded(tmp_path: Path) -> None:
    """From a file of waivers and from a profile, each with its place."""
    expected = KernelWarning(
        file="drivers/vfio/vfio_main.c",
        function="vfio_do",
        reason="known",
        expires=datetime.date(2999, 1, 31),
        link="https://bugs.example/1",
        owner="Ann",
        kernel=">=6.1, <6.13",
        sometimes=True,
    )
    file = waiver_files.load(written(tmp_path, FULL))
    other = FULL.partition("waivers: []\n")[2].replace("vfio_do", "vfio_undo")
    profile = load(written(tmp_path, SMALL + other, "p.yaml"), PROFILE)
    found = waiver_files.warnings_together(profile, [file])
    assert [each.warning.function for each in found] == ["vfio_undo", "vfio_do"]
    assert found[1].warning == expected
    assert [each.where for each in found] == [f"{tmp_path}/p.yaml:6:5", f"{tmp_path}/w.yaml:4:5"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("    expires: 2999-01-31\n", "", "4:5: the key `expires` is missing"),
        ("    reason: known\n", "", "4:5: the key `reason` is missing"),
        ("    function: vfio_do\n", "", "4:5: the key `function` is missing"),
        ("file: drivers/vfio/vfio_main.c", "file: vfio_main", "4:11: expected the path of a source file"),
        (
            "vfio_do",
            "vfio_do+0x1f/0x40",
            "5:15: expected the name of a function as the warning has it; only",
        ),
        ("function: vfio_do", 'function: "tainted: W"', "only what a WARN statement prints"),
        ("function: vfio_do", 'function: "BUG: KASAN: it"', "only what a WARN statement prints"),
        ("vfio_do", "kasan_report", "5:15: `kasan_report` reports what a sanitizer found, which is never waived"),
        ("vfio_do", "__ubsan_handle_shift", "what a sanitizer found, which is never waived"),
        ("vfio_do", "refcount_warn_saturate", "a corrupted reference count or list, which is never waived"),
        ("vfio_do", "__list_del_entry_valid", "a corrupted reference count or list, which is never waived"),
        ("vfio_do", "add_taint", "a taint, which is never waived"),
        ("vfio_do", "oops_end", "an oops, which is never waived"),
        ("vfio_do", "panic", "an oops, which is never waived"),
        ("vfio_do", "watchdog_timer_fn", "a lockup or a stall, which is never waived"),
        ("vfio_do", "__lock_acquire.constprop.0", "what lockdep found, which is never waived"),
        ("drivers/vfio/vfio_main.c", "kernel/locking/lockdep.c", "4:11: `kernel/locking/lockdep.c` reports"),
        ("drivers/vfio/vfio_main.c", "mm/kasan/report.c", "what a sanitizer found, which is never waived"),
        ("drivers/vfio/vfio_main.c", "/build/linux/lib/refcount.c", "which is never waived"),
        ("drivers/vfio/vfio_main.c", "kernel/rcu/tree_stall.h", "a lockup or a stall, which is never waived"),
    ],
)
def test_a_mistake_is_named_where_it_is(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in FULL
    assert any(complaint in each for each in complaints(written(tmp_path, FULL.replace(old, new))))


@pytest.mark.parametrize("name", ["lock_device", "vfio_panic_handler", "mlx5_die_later", "nv_refcount", "do_list_add"])
def test_names_like_those_of_reports_are_allowed(tmp_path: Path, name: str) -> None:
    """A driver may choose any names for its functions."""
    assert waiver_files.load(written(tmp_path, FULL.replace("vfio_do", name))).kernel_warnings[0].function == name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({}, {"file": "a.c"}, True),
        ({}, {"file": "v/a.c"}, True),
        ({}, {"file": "x/a.c"}, False),
        ({}, {"file": "va.c"}, False),
        ({}, {"function": "g"}, False),
        ({"kernel": "<6"}, {"kernel": ">=6"}, False),
        ({"kernel": "<6"}, {}, True),
    ],
)
def test_two_waivers_of_one_warning(tmp_path: Path, one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    """Both are allowed only if no warning fits both."""
    given = [KernelWarning(**{**NEEDED, "file": "drivers/v/a.c", "function": "f", **each}) for each in (one, other)]
    assert given[0].same_warning(given[1]) is same
    assert given[1].same_warning(given[0]) is same


def test_duplicate_waiver(tmp_path: Path) -> None:
    """In one file, and in two: both places are named."""
    again = FULL + FULL.partition("kernel_warnings:\n")[2]
    assert complaints(written(tmp_path, again)) == ["13:15: the warning in `vfio_do` is waived already"]
    file = waiver_files.load(written(tmp_path, FULL))
    with pytest.raises(ProfileError) as caught:
        waiver_files.warnings_together(load(written(tmp_path, SMALL, "p.yaml"), PROFILE), [file, file])
    place = f"{tmp_path}/w.yaml"
    message = f"{place}:5:15: the warning in `vfio_do` is waived already, at {place}:4:5"
    assert [str(each) for each in caught.value.problems] == [message]


def test_check_reports_expired_waivers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for waivers of rules."""
    assert check([str(written(tmp_path, FULL))], PROFILE) == 0
    path = written(tmp_path, FULL.replace("2999", "2001"))
    assert check([str(path)], PROFILE) == 2
    assert f"{path}:7:14: the waiver of `vfio_do` has expired; renew or remove it" in capsys.readouterr().out
