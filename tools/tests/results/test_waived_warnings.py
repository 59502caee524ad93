# SPDX-License-Identifier: GPL-2.0-only
"""Which warnings of the kernel a waiver excuses and which it never does, and when it is stale."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pytest
from stories import case, ended, run_of

from vfio_compliance.results.conclusion import conclude
from vfio_compliance.results.events import Event, Hang, Kernel, Note, Start, Target
from vfio_compliance.results.kernel_log import UNWATCHED
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import KernelWarning, Selection
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers import json as json_writer
from vfio_compliance.results.writers import junit, kcidb, ktap
from vfio_compliance.results.writers.terminal import render

TODAY = date(2027, 1, 15)
FILE, FUNCTION = "drivers/vfio/vfio_main.c", "vfio_do"
LINE = f"WARNING: CPU: 0 PID: 233 at {FILE}:77 {FUNCTION}+0x1f/0x40 [vfio]"
PLACE = "  called from vfio_write+0x5f/0xb0 [vfio]"
TAINT = "the kernel got tainted: W"
OTHER = "WARNING: CPU: 0 PID: 233 at drivers/vfio/other.c:7 other+0x1f/0x40 [vfio]"
TARGET = Target({"transport": "kernel-group"})


def listed(**keys: Any) -> KernelWarning:
    """A waiver of the warning in LINE."""
    given = {"file": FILE, "function": FUNCTION, "reason": "known", "expires": date(2027, 1, 31)}
    return KernelWarning(**{**given, **keys})


def judged(*events: Event, waivers: Sequence[KernelWarning] | None = None, **run: Any) -> Summary:
    """A complete run on a kernel driver."""
    given = (listed(),) if waivers is None else tuple(waivers)
    return summarise(run_of(TARGET, *events, kernel_warnings=given, **run), TODAY)


def warned(*lines: str, name: str | None = "a") -> Kernel:
    """The kernel prints these lines, in a case or outside of any."""
    return Kernel(lines, name and case(name))


def verdict(made: Summary, name: str = "a") -> str:
    return made.cases[case(name)].verdict.value


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        f"WARNING: {FILE}:77 at {FUNCTION}+0x1f/0x40 [vfio], CPU#0: python/233",
        LINE.replace(FILE, f"/build/linux-6.12/{FILE}"),
    ],
)
@pytest.mark.parametrize("lines", [[], [PLACE], [PLACE, TAINT], [TAINT]], ids=lambda lines: f"{len(lines)} more")
def test_waived(line: str, lines: Sequence[str]) -> None:
    """The warning itself, with its places and the taint that it alone causes."""
    made = judged(ended("a", "pass"), warned(line, *lines))
    assert (verdict(made), made.exit_code) == ("waived", 0)
    assert made.cases[case("a")].why.waiver == "known"
    assert conclude(made).word == "CONFORMANT WITH WAIVERS (1)"
    for width in (60, 100):
        text = render(made, width)
        assert "waived: the kernel's warning at drivers/vfio/vfio_main.c," in " ".join(text.split())
        assert max(map(len, text.splitlines())) <= max(width, len(line) + 30)


@pytest.mark.parametrize(
    "lines",
    [
        [OTHER],
        [LINE, OTHER],
        [OTHER, LINE, TAINT],
        [LINE.replace(FUNCTION, "vfio_do_more")],
        [LINE.replace(FUNCTION, "do")],
        [LINE.replace(FILE, "drivers/vfio/my_vfio_main.c")],
        [LINE, "the kernel got tainted: DW"],
        [LINE, "the kernel got tainted: I"],
        [LINE, "the kernel got tainted: [20]"],
        ["the kernel got tainted: D"],
        [LINE, "BUG: kernel NULL pointer dereference, address: 0000000000000000"],
        [LINE, "Oops: general protection fault"],
        [LINE, "BUG: KASAN: slab-use-after-free in vfio_do+0x1f/0x40"],
        [LINE, "UBSAN: shift-out-of-bounds in drivers/vfio/vfio_main.c:77:3"],
        [LINE, "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!"],
        [LINE, "INFO: task python:233 blocked for more than 120 seconds."],
        [LINE, "WARNING: possible circular locking dependency detected"],
        [LINE, "refcount_t: underflow; use-after-free."],
        [LINE, "Kernel panic - not syncing: panic_on_warn set"],
    ],
)
@pytest.mark.parametrize(("found", "becomes"), [("pass", "kernel"), ("n/a", "kernel"), ("fail", "fail")])
def test_not_waived(lines: Sequence[str], found: str, becomes: str) -> None:
    """Another warning, or anything graver beside it, counts; all lines are shown."""
    made = judged(ended("a", found), warned(*lines))
    assert (verdict(made), made.exit_code) == (becomes, 1)
    shown = f"{made.cases[case('a')].why.seen}\n{made.cases[case('a')].why.kernel}"
    assert all(line in shown for line in lines)


@pytest.mark.parametrize(
    ("file", "function"),
    [
        ("lib/refcount.c", "refcount_warn_saturate"),
        ("lib/list_debug.c", "__list_add_valid_or_report"),
        ("mm/kfence/core.c", "kfence_protect"),
        ("kernel/locking/lockdep.c", "__lock_acquire"),
    ],
)
def test_never_waived(file: str, function: str) -> None:
    """A WARN statement that reports corruption is not waived, even if an edited journal lists it."""
    line = f"WARNING: CPU: 0 PID: 233 at {file}:28 {function}+0x1f/0x40"
    made = judged(ended("a", "pass"), warned(line), waivers=[listed(file=file, function=function)])
    assert (verdict(made), made.exit_code) == ("kernel", 1)


def test_taint_without_a_warning_of_its_case() -> None:
    """A taint counts unless an excused warning of the same case explains it."""
    made = judged(ended("a", "pass"), warned(LINE), ended("b", "pass"), warned(TAINT, name="b"))
    assert (verdict(made), verdict(made, "b"), made.exit_code) == ("waived", "kernel", 1)


@pytest.mark.parametrize(
    ("found", "exit_code"), [("fail", 1), ("hang", 3), ("broken", 2), ("not-run", 2)], ids=lambda each: str(each)
)
def test_another_failure_stays(found: str, exit_code: int) -> None:
    """A case that did not pass keeps its verdict, and shows the warning."""
    made = judged(ended("a", found), warned(LINE, TAINT))
    assert (verdict(made), made.exit_code) == (found, exit_code)
    assert made.cases[case("a")].why.kernel == f"{LINE}\n{TAINT}\n  waived: known"


def test_a_hang_recorded_by_the_watcher() -> None:
    """The watcher ended the test process."""
    hang = Hang("no progress", "find out why", case("a"))
    made = judged(Start(case("a"), "v1.a"), warned(LINE), hang, planned=("a",))
    assert (verdict(made), made.exit_code) == ("hang", 3)


def test_a_waiver_is_valid_on_its_last_day() -> None:
    made = judged(ended("a", "pass"), warned(LINE), waivers=[listed(expires=TODAY)])
    assert (verdict(made), made.exit_code) == ("waived", 0)


def test_an_expired_waiver() -> None:
    """Its case is stale, but the verdict is that a rule is broken, as the warning came."""
    made = judged(ended("a", "pass"), warned(LINE), waivers=[listed(expires=date(2027, 1, 14))])
    assert (verdict(made), made.exit_code) == ("stale", 1)
    assert made.cases[case("a")].why.waiver == "waived until 2027-01-14 only: known"
    assert "stale" not in conclude(made).detail


@pytest.mark.parametrize(
    ("name", "expires", "log", "exit_code"),
    [(None, 31, [], 0), (None, 1, [LINE, PLACE], 1)],
)
def test_outside_of_any_rule(name: None, expires: int, log: Sequence[str], exit_code: int) -> None:
    """A waived warning becomes a note there; with an expired waiver, it counts."""
    waivers = [listed(expires=date(2027, 1, expires))]
    made = judged(ended("a", "pass"), warned(LINE, PLACE, name=name), waivers=waivers)
    assert (made.kernel_log, made.exit_code) == (log, exit_code)
    assert bool(made.notes) is not bool(log)
    assert not made.stale_warnings


def test_in_a_case_of_the_suite_itself() -> None:
    """It is not a verdict on such a rule, and becomes a note."""
    made = judged(ended("a", "pass"), ended("b", "pass"), warned(LINE), rules={"v1.a": {"side": "client"}})
    assert (verdict(made), made.exit_code, len(made.notes)) == ("pass", 0, 1)


@pytest.mark.parametrize(
    ("waiver", "why"),
    [
        ({}, "the warning did not come; remove it"),
        ({"expires": date(2027, 1, 1)}, "and the waiver has expired on 2027-01-01; remove it"),
    ],
    ids=["valid", "expired"],
)
def test_stale(waiver: Mapping[str, Any], why: str) -> None:
    """If the warning could have come and did not, the run fails, as for any stale waiver."""
    made = judged(ended("a", "pass"), waivers=[listed(**waiver)])
    (used,) = made.warnings
    assert (used.stale, made.exit_code) == (True, 1)
    assert why in used.unused
    assert "a waiver of a warning of the kernel is stale" in str(conclude(made))
    assert f"stale: the kernel's warning at {FILE}, {FUNCTION}, because" in " ".join(render(made, 100).split())


@pytest.mark.parametrize(
    ("waiver", "run", "events", "why", "code"),
    [
        ({"sometimes": True}, {}, [], "the warning did not come in what was judged", 0),
        ({}, {"selection": Selection(("v1.a",), (), 1, 1)}, [], "in what was judged", 0),
        ({}, {"planned": ("b",)}, [], "in what was judged", 2),
        ({}, {}, [Note(f"{UNWATCHED}: Permission denied; run as root")], UNWATCHED, 0),
        ({}, {}, [Target({"transport": "vfio-user"})], "no kernel is judged", 0),
        ({"kernel": "<6"}, {"kernel": "Linux 6.12.9"}, [], "it holds for kernel <6, and this is 6.12.9", 0),
    ],
    ids=["sometimes", "selection", "incomplete", "unwatched", "server", "another kernel"],
)
def test_unused_but_not_stale(
    waiver: Mapping[str, Any], run: Mapping[str, Any], events: Sequence[Event], why: str, code: int
) -> None:
    """The warning might not have come, or not have been seen."""
    made = judged(*events, ended("a", "pass"), waivers=[listed(**waiver)], **run)
    (used,) = made.warnings
    assert (used.stale, made.exit_code) == (False, code)
    assert why in used.unused
    text = " ".join(render(made, 100).split())
    assert f"waiver not used: the kernel's warning at {FILE}, {FUNCTION}, because" in text


def test_other_kernels() -> None:
    """A waiver for other kernels excuses nothing here; one for this kernel does."""
    for held, becomes in (("<6", "kernel"), (">=6", "waived")):
        made = judged(ended("a", "pass"), warned(LINE), waivers=[listed(kernel=held)], kernel="Linux 6.12.9")
        assert verdict(made) == becomes


def test_every_report_shows_a_stale_waiver() -> None:
    """Including formats that only have tests."""
    made = judged(ended("a", "pass"))
    assert "stale: waiver of the kernel's warning" in junit.render(made)
    assert "not ok 2 outside of any rule" in ktap.render(made)
    assert json.loads(kcidb.render(made))["tests"][-1]["status"] == "FAIL"
    assert json.loads(json_writer.render(made))["kernel_warnings"][0]["function"] == FUNCTION


def test_several_waivers() -> None:
    """Each waiver lists its cases; a case may need several waivers."""
    second = listed(file="vfio/other.c", function="other", reason="also known")
    made = judged(
        ended("a", "pass"), warned(LINE, TAINT, OTHER), ended("b", "pass"), warned(OTHER, name="b"),
        waivers=[listed(), second],
    )  # fmt: skip
    assert [[each.id for each in used.cases] for used in made.warnings] == [[case("a")], [case("a"), case("b")]]
    assert made.cases[case("a")].why.waiver == "known; also known"
    assert made.exit_code == 0


def test_without_a_waiver() -> None:
    """The warning counts."""
    made = judged(ended("a", "pass"), warned(LINE, TAINT), waivers=[])
    assert (verdict(made), made.exit_code) == ("kernel", 1)
