# SPDX-License-Identifier: GPL-2.0-only
"""Wrong arguments, folders that cannot be used, profiles that do not fit the host or the device."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vfio_compliance.cli.main import main

if TYPE_CHECKING:
    from tests.bad_input.conftest import Run

READ_ONLY = "v1.pending.read-only"
READS_ZERO = "v1.reserved.reads-zero"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only=v1.pending.readonly",), "no such rule, clause or case; did you mean `v1.pending.read-only`?"),
        (("--only=READS-ZERO",), f"did you mean `{READS_ZERO}`?"),
        (("--only=reserved-bit",), "did you mean `v1.state.reserved-bits` or `v1.client.preserves-reserved-bits`?"),
        (("--only=nonsense",), "see vfio-compliance list"),
        (("--plan=smoke", "--only=v1.stop-and-copy.stops"), "plan smoke has no case of it for this profile"),
        (("--defect=stop-latte",), "did you mean"),
        (("--out=/dev/null/run",), "/dev/null/run: Not a directory; name another folder with --out"),
        (("--out=/proc/self/fdinfo",), "name another folder with --out"),
        (("--plan=certificaton",), "there is no plan `certificaton`; did you mean `certification`?"),
        (("--plan=/dev/null",), "/dev/null:1:1: the file holds no plan"),
        (("--waivers=none.yaml",), "none.yaml: cannot be read: No such file or directory"),
        (("--repeat=0",), "'0' is not a number from 1 to 1000"),
        (("--repeat=2", "--state=a.state"), "--state is tried once, at the end of a run: leave out --repeat"),
    ],
)
def test_wrong_arguments(run: Run, options: tuple[str, ...], words: str) -> None:
    """The run does not begin, and the message says why."""
    finished = run(options=options)
    assert words in finished.words
    assert finished.code == 2


def test_folder_in_use(run: Run) -> None:
    """A folder holds one run, which the next one does not change. A run that did not begin leaves it free."""
    run(options=("--only=nonsense",))
    first = run()
    assert first.code == 0
    second = run()
    assert "already holds a run; name another folder with --out" in second.words
    assert second.code == 2
    assert second.verdicts == first.verdicts


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-server", "{socket}"], "the server's command no-such-server was not found"),
        (["false", "{socket}"], "exited with status 1"),
        (["sleep", "60", "{socket}"], "does not listen on"),
        (["/dev/null", "{socket}"], "may not be executed"),
    ],
)
def test_no_server(judge: Run, command: Sequence[str], words: str) -> None:
    """A server that cannot be started ends the run with the reason."""
    finished = judge(device={"transport": "vfio-user", "command": command}, limits={"test": "1s", "call": "1s"})
    assert words in finished.words or command == ["sleep", "60", "{socket}"]
    assert len(finished.result.stops) == 1
    assert finished.code == 2


def test_no_vfio(run: Run) -> None:
    """On a machine without VFIO, the run ends with one reason."""
    finished = run(device={"transport": "kernel-group", "name": "0000:00:01.0", "group": 4321})
    assert len(finished.result.stops) == 1
    assert "/dev/vfio/vfio cannot be opened" in finished.words or "there is no IOMMU group 4321" in finished.words
    assert finished.verdicts == {READ_ONLY: "not-run"}
    assert finished.code == 2


@pytest.mark.parametrize(
    ("read", "words"),
    [
        ({"region": 77, "offset": 0, "width": 4}, "of region 77, but the device has 10 regions"),
        ({"region": 0, "offset": 1 << 40, "width": 8}, "but region 0 has"),
        ({"region": 1, "offset": 0, "width": 4}, "but region 1 has 0 bytes"),
    ],
)
def test_stimulus_outside_the_device(judge: Run, read: Mapping[str, int], words: str) -> None:
    """A stimulus outside the device's regions is reported before the first test, with its line."""
    finished = judge(stimulus={"running": {"sample": {"read": read}, "changes_within": "10ms"}})
    assert words in finished.words
    assert "profile.yaml:" in finished.words
    assert finished.code == 2


def test_stimulus_refused(judge: Run) -> None:
    """A stimulus that the device refuses breaks no rule; the rules that need it are not judged."""
    rule = "v1.saving.offers-state"
    visible = {
        "set": [{"write": {"region": 0, "offset": 1, "width": 2, "value": "$value"}}],
        "observe": [{"read": {"region": 0, "offset": 1, "width": 2}}],
    }
    finished = judge(stimulus={"visible_state": visible}, only=rule)
    assert finished.verdicts == {rule: "not-run"}
    assert "by stimulus.visible_state.set of the profile" in finished.words
    assert finished.code == 2


@pytest.mark.parametrize(
    ("rule", "claims"),
    [
        ("v1.layout.section-as-claimed", {"data_section": "trapped"}),
        ("v1.undrawn.as-claimed", {"transitions": ["stop -> running"]}),
    ],
)
def test_untrue_claims(judge: Run, rule: str, claims: Mapping[str, Any]) -> None:
    """If the device does not do what the profile claims, a rule is broken."""
    finished = judge("--undrawn=refuse", claims=claims, only=rule)
    assert finished.verdicts == {rule: "fail"}
    assert finished.code == 1


YESTERDAY = datetime.date.today() - datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("waiver", "defect", "verdict", "code", "words"),
    [
        ({"shows": "0xdeadbeef"}, "reserved-garbage", "waived", 0, "known since spring"),
        ({"shows": "0xcafe"}, "reserved-garbage", "fail", 1, "waived only if it shows '0xcafe'"),
        ({"expires": YESTERDAY}, "reserved-garbage", "stale", 1, f"waived until {YESTERDAY} only"),
        ({}, "reset-to-stop", "pass", 0, ""),
    ],
)
def test_waivers(judge: Run, waiver: Mapping[str, Any], defect: str, verdict: str, code: int, words: str) -> None:
    """A waiver covers the listed fault until it expires. If rules are selected, an unused one is allowed."""
    listed = {"rule": READS_ZERO, "reason": "known since spring", "link": "https://bugs.example/1", **waiver}
    finished = judge(f"--defect={defect}", waivers=[listed], only=READS_ZERO)
    assert finished.verdicts == {READS_ZERO: verdict}
    assert words in finished.words
    assert finished.code == code


def test_plan_that_selects_nothing(run: Run, tmp_path: Path) -> None:
    """A plan that leaves out all rules of the device's interfaces is refused, even if other rules remain."""
    plan = tmp_path / "nothing.yaml"
    rules = "".join(f"  - {{rule: {rule}, reason: a}}\n" for rule in ("v1", "qemu", "stress"))
    plan.write_text(f"format: 1\nname: nothing\nleave_out:\n{rules}")
    finished = run(options=(f"--plan={plan}",), interfaces=["migration_v1"])
    assert f"{plan}: plan nothing leaves out every rule of migration_v1" in finished.words
    assert finished.code == 2


def test_waivers_from_files(run: Run, tmp_path: Path) -> None:
    """Several files count together, like waivers in the profile; the report says where each one is."""
    files = []
    for number, rule in enumerate((READS_ZERO, READ_ONLY)):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(f"format: 1\nwaivers: [{{rule: {rule}, reason: known, owner: Ann}}]\n")
    options = [f"--waivers={file}" for file in files]
    broken = ("--defect=reserved-garbage", *options)
    finished = run(only=READS_ZERO, options=broken, device=BREAKABLE)
    assert f"waived: {READS_ZERO} (5 of 5 cases) reason known owner Ann from {files[0]}:2:11" in finished.words
    assert finished.code == 0


def test_waivers_for_the_same_failure(run: Run, tmp_path: Path) -> None:
    """It would be unclear which one excuses it, so both places are named."""
    file = tmp_path / "w.yaml"
    file.write_text(f"format: 1\nwaivers: [{{rule: {READS_ZERO}, reason: known}}]\n")
    finished = run(options=(f"--waivers={file}", f"--waivers={file}"))
    assert f"{file}:2:18: `{READS_ZERO}` is waived already, at {file}:2:11" in finished.words
    assert finished.code == 2


#: The reference driver, which can be broken on purpose.
BREAKABLE = {
    "transport": "vfio-user",
    "command": ["{python}", "-m", "refdriver", "--socket-path={socket}"],
    "defects": {"option": "--defect={name}"},
}


def test_flaky_rule(run: Run, tmp_path: Path) -> None:
    """A rule broken in only one round is named, and counts as broken."""
    started = tmp_path / "started"
    second = 'n=$(cat $0 2>/dev/null); echo x$n > $0; if test "$n" = x; then broken=$1; fi; '
    serve = "exec $2 -m refdriver --socket-path=$3 $broken"
    command = ["sh", "-c", second + serve, str(started), "--defect=reserved-garbage", "{python}", "{socket}"]
    device = {"transport": "vfio-user", "command": command}
    finished = run(only=READS_ZERO, options=("--repeat=3",), device=device)
    assert [each.count("fail") for each in zip(*[iter(finished.cases)] * 5, strict=True)] == [0, 5, 0]
    assert "test_reserved_reads_zero[running]: pass, fail, pass" in finished.words
    assert finished.words.split("SELECTION")[1].startswith(" by plan ci: 1 of ")
    assert "1 broken; 5 cases flaky in 3 rounds" in finished.words
    assert finished.code == 1


def test_waiver_of_an_unknown_rule(run: Run) -> None:
    """A waiver must name an existing rule."""
    finished = run(waivers=[{"rule": "v1.no.such", "reason": "a slip", "link": "https://bugs.example/1"}])
    assert "profile.yaml:" in finished.words
    assert "there is no rule `v1.no.such`" in finished.words
    assert finished.code == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        ("", "the run ended before anything was recorded"),
        ("not ours\n", "not a journal"),
        ('{"event": "run", "format": 1}\n', "a journal of format 1; this program reads format 3"),
        ('{"event": "run", "format": 3, "time": 1}\n', "its first record is damaged: version is missing"),
    ],
    ids=["missing", "empty", "foreign", "earlier", "incomplete"],
)
def test_report_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str) -> None:
    """A folder without a run is refused in one line, and so is its journal."""
    journal = tmp_path / "journal.jsonl"
    if content is not None:
        journal.write_text(content)
    for place in (tmp_path, journal):
        assert main(["report", str(place)]) == 2
        shown = capsys.readouterr()
        assert words in shown.err
        assert shown.out == ""
        assert len(shown.err.splitlines()) == 1


def test_defect_of_an_ordinary_device(run: Run) -> None:
    """--defect is refused for a device without a way to switch on defects."""
    finished = run(device={"transport": "vfio-user", "socket": "/nowhere"}, options=("--defect=stop-late",))
    assert "no way to switch on defects; use --defect with the reference device only" in finished.words
    assert finished.code == 2
