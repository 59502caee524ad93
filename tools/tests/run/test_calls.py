# SPDX-License-Identifier: GPL-2.0-only
"""The calls in the journal of a run, and which of them are shown for a failure."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from vfio_compliance.results import journal, summary
from vfio_compliance.results.calls import describe
from vfio_compliance.results.case import Case
from vfio_compliance.results.events import End
from vfio_compliance.results.registers import registers_of
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.results.writers import terminal

Judging: TypeAlias = Callable[..., Summary]


@pytest.fixture
def judge(judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path) -> Judging:
    """Runs some cases on the reference driver."""

    def run(*options: str) -> Summary:
        return judge_in_process(project / "profiles/reference.yaml", tmp_path, *options)

    return run


def case(name: str, suite: str = "migration_v1") -> str:
    return f"suites/{suite}/{name}"


def failing(result: Summary, name: str) -> tuple[Case, str]:
    """A failed case, and the call that shows the failure, as text."""
    found = next(each for each in result.cases.values() if each.id.endswith(name))
    assert found.verdict is Verdict.FAIL
    assert found.failed_call is not None
    assert result.target is not None
    calls = [call for each in result.cases.values() for call in each.calls]
    shown = next(call for call in calls if call.serial <= found.failed_call <= call.last)
    return found, describe(shown, registers_of(result.target.regions))


def test_every_call_is_numbered(judge: Judging, project: Path) -> None:
    """From the opening, whose calls are listed separately; the others belong to a case and a part."""
    result = judge(str(project / case("test_registers.py::test_reserved_reads_zero")), "--defect=reserved-garbage")
    assert {"version", "open", "ioctl"} <= {call.verb for call in result.opening}
    assert {call.part for call in result.opening} == {"opening"}
    calls = [*result.opening, *(call for each in result.cases.values() for call in each.calls)]
    assert calls[0].serial == 1
    assert all(after.serial == before.last + 1 for before, after in pairwise(calls))
    assert calls[-1].last == result.totals["calls"] - 1  # the last one closes the device
    found, shown = failing(result, "[pre-copy]")
    assert shown.startswith("read reserved -> 0xdeadbeef")
    assert list(dict.fromkeys(call.part for call in found.calls))[:3] == ["opening", "set-up", "body"]
    assert ">" in terminal.render(result)


def test_time_in_calls(
    judge_in_process: Callable[..., summary.Summary],
    document: Any,
    save_profile: Callable[[Any], Path],
    project: Path,
    tmp_path: Path,
) -> None:
    """The time in calls is the sum of all recorded calls; with slow resets, most of it is in resets."""
    document["device"]["command"] += ["--slow-reset=300000"]
    name = str(project / case("test_registers.py::test_reserved_reads_zero"))
    result = judge_in_process(save_profile(document), tmp_path, name)
    calls, resets, number = (result.totals[name] for name in ("call_ns", "reset_ns", "resets"))
    assert 300_000_000 * number <= resets <= calls <= result.seconds * 1e9
    recorded = [call for each in result.cases.values() for call in each.calls]
    opening = sum(call.duration_ns for call in result.opening if call.verb != "version")  # which is part of "open"
    assert calls == pytest.approx(sum(call.duration_ns for call in recorded) + opening, rel=0.1)
    events = map(attrgetter("event"), journal.read(tmp_path / journal.NAME, whole=True))
    cases = sum(event.call_ns for event in events if isinstance(event, End))
    assert 0 < calls - cases < calls / 10  # the calls after the last case
    assert " s in resets)" in terminal.render(result, 200)


def test_a_flow_is_shown_in_the_case_that_drove_it(judge: Judging, project: Path) -> None:
    """The call that read the state is shown, not the last one; the case that only judges the flow names its calls."""
    cases = [str(project / case(f"test_resume.py::test_{name}[once]")) for name in ("takes_data", "data_is_used")]
    result = judge(*cases, "--defect=resuming-data-ignored")
    found, shown = failing(result, "test_data_is_used[once]")
    first = next(iter(result.cases.values()))
    assert {span.case for span in found.stands_on} == {first.id}
    assert not first.stands_on
    assert shown.startswith("read 8 bytes at 0x28 of second region 0 -> 0x6969")
    assert "in test_resume.py::test_takes_data[once]:" in terminal.render(result)


def test_a_control_is_not_the_failure(judge: Judging, project: Path) -> None:
    """The refused write is shown, not the control afterwards, which omits the cause."""
    name = "test_errors.py::test_usable_amid_data_after_refusal[pre-copy-invalid 101b]"
    result = judge(str(project / case(name)), "--defect=state-latched-in-pre-copy")
    found, shown = failing(result, name)
    assert shown.startswith(("write device_state = 0x2", "read device_state -> 0x3"))
    assert any(call.serial > found.failed_call and call.part == "body" for call in found.calls)


def test_a_bitmap_is_shown_with_its_content(judge: Judging, project: Path) -> None:
    """Its request is the call that shows a missing page, although the bitmap is judged later."""
    name = "test_bitmap.py::test_bit_per_page[129]"
    result = judge(str(project / case(name, "dirty_type1")), "--defect=bitmap-loses-last-page")
    _, shown = failing(result, name)
    assert "flags=GET_BITMAP, iova=0x9000000, size=0x82000" in shown
    assert "-> ok, 0 of 192 bits set" in shown


def test_keep_data(judge: Judging, project: Path, tmp_path: Path) -> None:
    """Each digest in the journal names a file with this content."""
    result = judge(str(project / case("test_resume.py::test_takes_data[once]")), "--keep-data")
    (found,) = result.cases.values()
    digests = {digest for call in found.calls for digest in (call.sent_digest, call.received_digest) if digest}
    assert digests
    for digest in digests:
        assert sha256((tmp_path / "data" / digest).read_bytes()).hexdigest() == digest
    assert (tmp_path / journal.NAME).stat().st_mode & 0o777 == 0o600
