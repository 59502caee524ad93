# SPDX-License-Identifier: GPL-2.0-only
"""Several test processes, dead servers, and waivers: what is decided once the whole journal was read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from stories import NOON, case, ended, run_of, waiver

from vfio_compliance.results.events import Broken, Death, End, Event, Finish, Hang, Kernel, Lost, Process, Start
from vfio_compliance.results.failure import Failure, Further
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.setting import Selection
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.writers.terminal import render

PROCESS = Process(2, "the first one hung")
FINISH = Finish(calls=10, opens=1, resets=1, bytes_read=1, bytes_written=1, passes=0)


def start(name: str) -> Start:
    """A case begins."""
    return Start(case(name), f"v1.{name.partition('[')[0]}")


def hang(name: str) -> Hang:
    """A call hung, in a case or outside of any."""
    return Hang("no progress", "find out why", name and case(name))


def broken(name: str) -> Broken:
    """The test process ended, in a case or outside of any."""
    return Broken("the process ended", "see the log", name and case(name))


def death(name: str | None, when: str = "during read of pending_bytes", *, asked: bool = True) -> Death:
    """A server was killed."""
    return Death("the server", "was killed by SIGSEGV; its last line was: oops", when, asked, name and case(name))


DIED = "during read of pending_bytes, the server was killed by SIGSEGV; its last line was: oops"


def verdicts(summary: Summary) -> dict[str, str]:
    """The verdict on each case, by its short name."""
    return {id_.rpartition("test_")[2]: each.verdict.value for id_, each in summary.cases.items()}


# -- several test processes -------------------------------------------------------------------------------------------


def test_a_run_continues_after_hangs() -> None:
    """Each case that hung has a verdict; the rest was judged, and the run is complete."""
    made = summarise(
        run_of(start("a"), hang("a"), PROCESS, start("b"), hang("b"), PROCESS, ended("c", "pass"), planned=("a", "b"))
    )
    assert verdicts(made) == {"a": "hang", "b": "hang", "c": "pass"}
    assert (made.stops, made.hangs, made.exit_code) == ([], [], 3)
    assert "a new test process was started 2 times:" in render(made)


@pytest.mark.parametrize(("kernel", "verdict", "code"), [(False, "broken", 2), (True, "kernel", 1)])
@pytest.mark.parametrize("first", [True, False])
def test_a_case_that_ended_its_process(kernel: bool, verdict: str, code: int, first: bool) -> None:
    """It is broken, or has a complaint of the kernel, whichever was recorded first. The run does not stop."""
    complaint: list[Event] = [Kernel(("BUG: it",), case("a"))] if kernel else []
    events: list[Event] = [start("a"), *(complaint if first else []), broken("a"), *([] if first else complaint)]
    made = summarise(run_of(*events, PROCESS, ended("b", "pass"), planned=("a",)))
    assert verdicts(made) == {"a": verdict, "b": "pass"}
    assert (made.stops, made.exit_code) == ([], code)
    assert "the process ended" in render(made)


@pytest.mark.parametrize("cut", [hang, broken])
def test_a_run_that_was_not_continued(cut: Callable[..., Any]) -> None:
    """If a case was left, the report says at the end why it was not run. Otherwise nothing is missing."""
    *records, _ = run_of(start("a"), cut("a"), planned=("a", "b"))
    made = summarise(records)
    assert [stop.message for stop in made.stops] == [cut("a").message]
    *records, _ = run_of(start("a"), cut("a"), planned=("a",))
    assert summarise(records).stops == []


@pytest.mark.parametrize(("events", "stops"), [([PROCESS, ended("a", "pass")], []), ([], ["no way is left"])])
def test_a_process_that_lost_the_device(events: Sequence[Event], stops: Sequence[str]) -> None:
    """It reports this and finishes; the run has stopped unless another process continues it."""
    lost = Lost("no way is left")
    made = summarise(run_of(start("a"), lost, FINISH, *events, planned=("a",)))
    assert [stop.message for stop in made.stops] == stops


def test_a_process_that_ends_without_a_record() -> None:
    """The journal ends within the second process, although the first one finished."""
    *records, _ = run_of(ended("a", "pass"), FINISH, PROCESS, start("b"), planned=("b",))
    assert [stop.message for stop in summarise(records).stops] == ["the journal ends before the run did"]


def test_totals_of_all_processes() -> None:
    """The counts of the processes that finished, else those of their cases."""
    made = summarise(run_of(ended("a", "pass"), FINISH, PROCESS, ended("b", "pass"), start("c"), hang("c"), PROCESS))
    assert made.totals["calls"] == 10 + 15 * 3 + 1
    assert made.totals["bytes_read"] == 1 + 15 * 3 * 8 + 1


def test_a_hang_after_a_failure() -> None:
    """The failure of the rule stays; the hang is reported beside it."""
    made = summarise(run_of(ended("a", "fail", expected="x", seen="y"), hang("a")))
    assert verdicts(made) == {"a": "fail"}
    assert "   then      no progress" in render(made).splitlines()


def test_a_task_that_the_kernel_reports_as_hung() -> None:
    """It is the same hang, seen by the kernel; any other complaint is more than that."""
    for line, verdict in (("INFO: task pytest:1 blocked for more than 120 seconds.", "hang"), ("BUG: it", "kernel")):
        complaint = Kernel((line,), case("a"))
        assert verdicts(summarise(run_of(start("a"), hang("a"), complaint, planned=("a",)))) == {"a": verdict}


# -- servers that died ------------------------------------------------------------------------------------------------


def test_a_death_is_a_failure() -> None:
    """Of the rule in whose case it was seen; an earlier message about the case stays."""
    for before, also in (("pass", ""), ("broken", "the pipe broke")):
        made = summarise(run_of(ended("a", before, what="the pipe broke"), death("a")))
        assert verdicts(made) == {"a": "fail"}
        failure = made.cases[case("a")].failure
        assert failure == Failure("watching the server", "it keeps running", DIED, also=also)
        assert made.exit_code == 1


@pytest.mark.parametrize("verdict", ["fail", "hang"])
def test_a_death_beside_a_failure(verdict: str) -> None:
    """They are one failure, and the death is a line of it. The order of the records does not matter."""
    for events in ((ended("a", verdict), death("a")), (death("a"), ended("a", verdict))):
        made = summarise(run_of(*events))
        assert verdicts(made) == {"a": verdict}
        failure = made.cases[case("a")].failure
        assert failure is not None
        assert failure.server == DIED


def test_a_death_with_its_cause_elsewhere() -> None:
    """A note names the rule that failed, which may be several steps away; the case keeps its verdict."""
    rules: dict[str, dict[str, Any]] = {"v1.c": {"stands_on": ("v1.b",)}, "v1.b": {"stands_on": ("v1.a",)}, "v1.a": {}}
    events: list[Event] = [
        ended("c", "not-run", what="b"),
        death("c"),
        ended("a", "pass"),
        death("a"),
        ended("b", "pass"),
    ]
    made = summarise(run_of(*events, rules=rules))
    assert verdicts(made) == {"c": "not-run", "a": "fail", "b": "pass"}
    assert f"test_it.py::test_c: {DIED}; this is attributed to v1.a, which failed" in made.notes


def test_a_death_in_a_set_up() -> None:
    """It is not a verdict on the rule of the case, but it counts, and is shown at the end."""
    made = summarise(run_of(ended("a", "pass"), ended("b", "not-run", what="going there"), death("b")))
    assert verdicts(made) == {"a": "pass", "b": "not-run"}
    assert made.exit_code == 1
    assert f"died {DIED} (test_it.py::test_b)" in " ".join(render(made).split())


def test_a_death_after_a_case() -> None:
    """If a server dies after its last request, it counts against the device, but not against the rule that held."""
    made = summarise(run_of(ended("a", "pass"), death("a", "when its client closed the connection", asked=False)))
    assert verdicts(made) == {"a": "pass"}
    assert made.exit_code == 1
    assert "died when its client closed the connection, the server was killed" in " ".join(render(made).split())


def test_a_death_outside_of_any_case() -> None:
    """It is shown at the end, with its time and its cause."""
    made = summarise(run_of(ended("a", "pass"), death(None, "between two connections", asked=False)))
    assert made.exit_code == 1
    assert "died      between two connections, the server was killed by SIGSEGV" in render(made)


# -- waivers ----------------------------------------------------------------------------------------------------------

FAILED = {"expected": "x", "seen": "y"}


@pytest.mark.parametrize(
    ("listed", "events", "expected"),
    [
        ({"case": "[run"}, [ended("a[run]", "fail", **FAILED), ended("a[stop]", "pass")], ["waived", "pass"]),
        ({"case": "[run"}, [ended("a[run]", "fail", **FAILED), ended("a[stop]", "fail", **FAILED)], ["waived", "fail"]),
        ({"case": "[run"}, [ended("a[run]", "pass"), ended("a[stop]", "fail", **FAILED)], ["stale", "fail"]),
        ({"case": "[run"}, [ended("a[run]", "pass"), ended("a[stop]", "pass")], ["stale", "pass"]),
        ({"case": "[run"}, [ended("a[run]", "not-run"), ended("a[stop]", "pass")], ["not-run", "pass"]),
        ({"case": "[run"}, [ended("a[stop]", "pass")], ["pass"]),
        ({}, [ended("a[run]", "n/a"), ended("a[stop]", "pass")], ["n/a", "stale"]),
        ({}, [ended("a[run]", "n/a")], ["n/a"]),
        ({}, [ended("a[run]", "pass"), ended("a[stop]", "hang")], ["pass", "hang"]),
        (
            {"case": "[run", "expires": date(2020, 1, 1)},
            [ended("a[run]", "fail", **FAILED), ended("a[stop]", "fail", **FAILED)],
            ["stale", "fail"],
        ),
    ],
)
def test_a_waiver_is_for_its_cases(listed: Mapping[str, Any], events: Sequence[End], expected: Sequence[str]) -> None:
    """It excuses only these, and is stale only if all of them were run and held."""
    made = summarise(run_of(*events, waivers=[waiver(rule="v1.a", **listed)]))
    assert list(verdicts(made).values()) == expected


@pytest.mark.parametrize("option", ["only", "exclude"])
def test_no_waiver_is_stale_in_a_selection(option: str) -> None:
    """Its cases may be among those that were not selected, as in a printed rerun."""
    chosen_by: dict[str, Any] = {option: ("v1.a",)}
    chosen = replace(Selection((), (), 1, 2), **chosen_by)
    made = summarise(run_of(ended("a[run]", "pass"), waivers=[waiver(rule="v1.a")], selection=chosen))
    assert verdicts(made) == {"a[run]": "pass"}
    failed = run_of(ended("a[run]", "fail", **FAILED), waivers=[waiver(rule="v1.a")], selection=chosen)
    assert verdicts(summarise(failed)) == {"a[run]": "waived"}


def test_a_waiver_for_no_case() -> None:
    """If its ``case`` matches nothing, this is reported: it may be a typing mistake."""
    made = summarise(run_of(ended("a[run]", "pass"), waivers=[waiver(rule="v1.a", case="[runing")]))
    assert "the waiver of v1.a matches no case: '[runing'" in made.notes


def test_two_waivers_of_one_rule() -> None:
    """Each is judged separately."""
    listed = [waiver(rule="v1.a", case="[run", reason="one"), waiver(rule="v1.a", case="[stop", reason="two")]
    events = [ended("a[run]", "fail", **FAILED), ended("a[stop]", "fail", **FAILED)]
    made = summarise(run_of(*events, waivers=listed))
    assert [each.failure.waiver for each in made.cases.values() if each.failure] == ["one", "two"]
    made = summarise(run_of(ended("a[run]", "pass"), ended("a[stop]", "pass"), waivers=listed))
    assert set(verdicts(made).values()) == {"stale"}


@pytest.mark.parametrize(("shows", "expected"), [(None, "fail"), ("SIGSEGV", "waived"), ("another", "fail")])
def test_a_death_is_waived_only_by_its_own_words(shows: str | None, expected: str) -> None:
    """Neither a waiver without ``shows`` covers it, nor one for another fault."""
    made = summarise(run_of(ended("a", "pass"), death("a"), waivers=[waiver(rule="v1.a", shows=shows)]))
    assert verdicts(made) == {"a": expected}


COMPLAINTS = [
    "WARNING: CPU: 0 PID: 1 at drivers/vfio/it.c:1",
    "Oops: general protection fault",
    "UBSAN: shift-out-of-bounds in it.c:1",
    "BUG: KASAN: slab-use-after-free in it",
    "tainted: W",
]


@pytest.mark.parametrize("line", COMPLAINTS)
@pytest.mark.parametrize(("verdict", "becomes"), [("pass", "kernel"), ("fail", "fail"), ("n/a", "kernel")])
def test_a_kernel_complaint_is_never_waived(line: str, verdict: str, becomes: str) -> None:
    """Not by its own words, and not if the rule was also broken."""
    complaint = Kernel((line,), case("a"))
    failed = FAILED | {"seen": line} if verdict == "fail" else {}
    made = summarise(
        run_of(start("a"), complaint, ended("a", verdict, **failed), waivers=[waiver(rule="v1.a", shows=line)])
    )
    assert verdicts(made) == {"a": becomes}
    assert made.exit_code == 1


@pytest.mark.parametrize("line", COMPLAINTS)
def test_a_complaint_outside_of_any_case_is_never_waived(line: str) -> None:
    """It counts against the run."""
    made = summarise(run_of(ended("a", "pass"), Kernel((line,), None), waivers=[waiver(rule="v1.b", shows=line)]))
    assert (made.kernel_log, made.exit_code) == ([line], 1)


@pytest.mark.parametrize(
    "last",
    [
        "SUMMARY: AddressSanitizer: heap-use-after-free it.c:1 in it",
        "==17==ABORTING",
        "it.c:1:2: runtime error: shift exponent 64 is too large",
    ],
)
def test_a_sanitizer_report_of_a_server_is_never_waived(last: str) -> None:
    """Not by its own words either."""
    died = Death("the server", f"exited with status 1; its last line was: {last}", "during read", True, case("a"))
    made = summarise(run_of(ended("a", "pass"), died, waivers=[waiver(rule="v1.a", shows=last)]))
    assert verdicts(made) == {"a": "fail"}
    assert "never waived" in made.cases[case("a")].why.waiver


@pytest.mark.parametrize(
    ("holds", "kernel", "driver", "verdict", "why"),
    [
        ({"kernel": ">=6.1, <6.13"}, "Linux 6.12.9-amd64", "", "waived", ""),
        (
            {"kernel": ">=6.1, <6.12"},
            "Linux 6.12.9-amd64",
            "",
            "fail",
            "<6.12, and this is 6.12.9-amd64",
        ),
        ({"kernel": "<6.13"}, "Linux 6.13.0-rc1+", "", "fail", "and this is 6.13.0-rc1+"),
        ({"kernel": "==6.1.*"}, "Linux 6.1.0-40-amd64", "", "waived", ""),
        ({"kernel": "<9"}, "Linux", "", "fail", "the version of the kernel is unknown"),
        ({"driver": "<1.2"}, "Linux", "1.1", "waived", ""),
        ({"driver": "<1.2"}, "Linux", "v1.10", "fail", "it holds for driver <1.2, and this is v1.10"),
        ({"driver": "<1.2"}, "Linux", "", "fail", "the version of the driver is unknown"),
        ({"driver": "<1.2"}, "Linux", "f00ba4", "fail", "the version of the driver is unknown"),
        ({"driver": "<1.2", "kernel": ">7"}, "Linux 6.1", "1.1", "fail", "it holds for kernel >7"),
        ({"driver": "no range"}, "Linux", "1.1", "fail", "and this is 1.1"),
    ],
)
def test_a_waiver_holds_for_a_range_of_versions(
    holds: Mapping[str, str], kernel: str, driver: str, verdict: str, why: str
) -> None:
    """Of the kernel and the driver. For others, the failure counts, with the reason, and nothing is stale."""
    listed = [waiver(rule="v1.a", **holds)]
    made = summarise(run_of(ended("a", "fail", **FAILED), waivers=listed, kernel=kernel, driver_version=driver))
    assert verdicts(made) == {"a": verdict}
    assert why in made.cases[case("a")].why.waiver
    assert (f"not waived: {made.waivers[0].unused}" == made.cases[case("a")].why.waiver) == (verdict == "fail")
    made = summarise(run_of(ended("a", "pass"), waivers=listed, kernel=kernel, driver_version=driver))
    assert verdicts(made) == {"a": "stale" if verdict == "waived" else "pass"}


def test_all_fields_of_a_waiver_are_printed() -> None:
    """Whether it was used or not."""
    fields = {
        **{"reason": "known", "link": "https://bugs.example/1", "owner": "Ann", "expires": date(2999, 1, 1)},
        **{"shows": "y", "case": "[run", "kernel": ">=6.1", "driver": "<2", "where": "w.yaml:3:5"},
    }
    listed = [waiver(rule="v1.a", sometimes=True, **fields)]
    expected = [
        *(
            "   reason    known",
            "   link      https://bugs.example/1",
            "   owner     Ann",
            "   expires   after 2999-01-01",
        ),
        *("   shows     y", "   case      [run", "   kernel    >=6.1", "   driver    <2"),
        *("   sometimes it does not show in every run", "   from      w.yaml:3:5"),
    ]
    versions: dict[str, Any] = {"kernel": "Linux 6.2", "driver_version": "1"}
    lines = render(summarise(run_of(ended("a[run]", "fail", **FAILED), waivers=listed, **versions))).splitlines()
    at = lines.index("waived: v1.a  (1 of 1 case)")
    assert lines[at + 1 : at + 11] == expected
    lines = render(summarise(run_of(ended("a[run]", "pass"), waivers=listed, **versions))).splitlines()
    at = lines.index("waiver not used: v1.a, because the rule held in the cases that were judged")
    assert lines[at + 1 : at + 11] == expected


def stands_on_a(**waived: Any) -> Callable[..., Summary]:
    """Makes runs in which v1.a fails, waived if given, and the server dies in a case of a rule that depends on it."""

    def made(how: str, **rules: Any) -> Summary:
        events: list[Event] = [
            ended("a", "fail", **FAILED),
            ended("b", "pass"),
            Death("the server", how, "late", True, case("b")),
        ]
        known = {"v1.a": rules, "v1.b": {"stands_on": ("v1.a",)}}
        listed = [waiver(rule="v1.a", **waived)] if waived else []
        return summarise(run_of(*events, rules=known, waivers=listed))

    return made


def test_a_death_is_attributed_to_a_failed_rule() -> None:
    """A note says so."""
    made = stands_on_a()("was killed")
    assert (made.exit_code, made.deaths) == (1, [])
    assert any("this is attributed to v1.a" in note for note in made.notes)


def test_a_death_counts_if_the_failed_rule_does_not() -> None:
    """The failed rule is waived, or does not block."""
    for made in (
        stands_on_a(reason="known")("was killed"),
        stands_on_a()("was killed", blocking=False, suite="other"),
    ):
        assert made.exit_code == 1
        assert "was killed" in made.deaths[0]


def test_a_sanitizer_report_is_not_attributed_to_another_rule() -> None:
    """It is a failure of the case."""
    made = stands_on_a()("ended: ERROR: AddressSanitizer: heap-use-after-free")
    assert verdicts(made) == {"a": "fail", "b": "fail"}


def test_a_waiver_excuses_all_that_was_seen_or_nothing() -> None:
    """It covers neither a death with the words of another failure nor another finding in the same case."""
    seen = {"expected": "0x0", "seen": "0xdead"}
    listed = [waiver(rule="v1.a", shows="0xdead")]
    assert verdicts(summarise(run_of(ended("a", "fail", **seen), waivers=listed))) == {"a": "waived"}
    assert verdicts(summarise(run_of(ended("a", "fail", **seen), death("a"), waivers=listed))) == {"a": "fail"}
    further = (Further("reading it", "0", "secrets of the host"),)
    assert verdicts(summarise(run_of(ended("a", "fail", **seen, further=further), waivers=listed))) == {"a": "fail"}


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_verdict_is_the_same_in_every_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """A waiver expires by the date in UTC."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        day = datetime.fromtimestamp(NOON, timezone.utc).date()
        for expires, expected in ((day, "waived"), (day - timedelta(days=1), "stale")):
            listed = [waiver(rule="v1.a", expires=expires)]
            assert verdicts(summarise(run_of(ended("a", "fail", **FAILED), waivers=listed))) == {"a": expected}
    finally:
        monkeypatch.undo()
        time.tzset()
