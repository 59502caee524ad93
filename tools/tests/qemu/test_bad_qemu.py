# SPDX-License-Identifier: GPL-2.0-only
"""Whatever a QEMU does, the command reports it in time, and leaves no process and no file behind."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from descriptors import same_descriptors

from vfio_compliance import profiles
from vfio_compliance.cli.main import main
from vfio_compliance.qemu import command, flows, machine, recording
from vfio_compliance.qemu.answer import Findings
from vfio_compliance.qemu.command import Wishes
from vfio_compliance.qemu.conduct import EVENTS_FILE, STRACE, STRACE_FILE, TRACE_FILE
from vfio_compliance.qemu.flows import BACK, CANCEL, LIVE, PAUSED, Place
from vfio_compliance.qemu.recording import Strace
from vfio_compliance.qemu.report import NAME
from vfio_compliance.sections import PROFILE

FAKE = Path(__file__).with_name("fake_qemu.py")

#: Seconds that a step may take, and that a whole command may take if each flow waits this long.
STEP, ALL = 3.0, 60.0

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "name": "fake",
    "interfaces": ["migration_v1"],
    "device": {"transport": "kernel-group", "name": "fake.0", "sysfs": "/nowhere/fake.0"},
    "limits": {"call": "500ms", "test": f"{STEP:g}s"},
    "stimulus": {
        "visible_state": {
            "set": [{"write": {"region": 0, "offset": 0, "width": 8, "value": "$value"}}],
            "observe": [{"read": {"region": 0, "offset": 0, "width": 8}}],
        },
        "running": {"sample": {"read": {"region": 0, "offset": 2048, "width": 8}}, "changes_within": "100ms"},
    },
}
SECOND = {"name": "fake.1", "sysfs": "/nowhere/fake.1"}


def load(folder: Path, *, second: bool = True, step: float = STEP, **stimulus: Any) -> Any:
    """The profile, with or without a second device, and with another stimulus if one is given."""
    limits = {**DOCUMENT["limits"], "test": f"{step:g}s"}
    device = {**DOCUMENT["device"], **({"second": SECOND} if second else {})}
    document = {**DOCUMENT, "limits": limits, "device": device}
    if stimulus:
        document["stimulus"] = stimulus["stimulus"]
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(document))
    return profiles.load(path, PROFILE)


def started(folder: Path) -> list[Any]:
    """The running processes that the test with this folder started: other tests may use the same programs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"FAKE_FOLDER={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().decode(errors="replace").split("\0"))
        except OSError:
            continue
    return found


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Findings, str]]:
    """Runs the command with a fault of the fake program; returns the findings and the output."""
    monkeypatch.setattr(command, "place", lambda profile, where: Place(where.sysfs, {}))
    monkeypatch.setattr(machine, "_CONVERGES", 0.3)
    monkeypatch.setattr(machine, "_ENDING", 0.5)
    monkeypatch.setenv("FAKE_FOLDER", str(tmp_path))

    def run(fault: str, profile: Any = None, width: int = 100, *, strace: bool = False) -> tuple[Findings, str]:
        monkeypatch.setenv("FAKE", fault)
        output = io.StringIO()
        began = time.monotonic()
        wishes = Wishes(str(FAKE), strace=strace)
        with same_descriptors():
            found = command.run(profile or load(tmp_path), wishes, tmp_path / "out", output, width)
        assert time.monotonic() - began < ALL
        written = json.loads((tmp_path / "out" / NAME).read_text())
        assert written["exit_code"] == found.exit_code
        kept = {path.name for path in (tmp_path / "out").iterdir()}
        endings = [EVENTS_FILE, STRACE_FILE, TRACE_FILE] if found.recorded == STRACE else [EVENTS_FILE]
        assert kept == {NAME, *(each.name + ending for each in found.conduct for ending in endings)}
        assert started(tmp_path) == []
        return found, output.getvalue()

    return run


def outcomes(found: Findings) -> dict[str, str]:
    """The outcome of each flow."""
    return {answer.flow: answer.outcome.value for answer in found.answers}


ALL_WELL = dict.fromkeys((LIVE, BACK, PAUSED, CANCEL), "completed")


@pytest.mark.parametrize("second", [True, False], ids=["two devices", "one device"])
def test_good(ask: Callable[..., tuple[Findings, str]], tmp_path: Path, second: bool) -> None:
    """All flows complete, and the state arrives."""
    found, printed = ask("", load(tmp_path, second=second))
    assert outcomes(found) == ALL_WELL
    assert [answer.state for answer in found.answers] == ["arrives", "is kept", "arrives", "arrives"]
    assert (found.works, found.exit_code) == (True, 0)
    assert "Works with QEMU 7.2.22: yes" in printed
    assert "5 ms in all, 1 ms downtime, 4096 bytes of the device, 100 bytes of memory" in printed


#: Faults that prevent any attempt: the exit code, and the reason.
UNTRIED = {
    "old": (4, "QEMU 5.1; clients of this interface are 5.2 to 7.2"),
    "new": (4, "QEMU 8.2; clients of this interface are 5.2 to 7.2"),
    "newest": (4, "QEMU 10.0; clients of this interface are 5.2 to 7.2"),
    "no-option": (4, "has no option x-enable-migration"),
    "other-program": (2, "which is not QEMU"),
    "version-fails": (2, "ended with exit code 127: `cannot load a library"),
    "version-hangs": (3, "--version` did not end within 3 s"),
}


@pytest.mark.parametrize("fault", UNTRIED)
def test_nothing_is_tried(ask: Callable[..., tuple[Findings, str]], fault: str) -> None:
    """The program is not a client of the interface, or is broken."""
    found, printed = ask(fault)
    code, reason = UNTRIED[fault]
    assert found.answers == []
    assert (found.exit_code, reason in found.why) == (code, True), found.why
    assert f"Works with QEMU: {'n/a' if code == 4 else 'unknown'}" in printed


#: Faults in a live migration: the outcome, the reason, and the exit code.
LIVE_FAULTS = {
    "exits": ("not-tried", "ended with exit code 1 during its start; it said `vfio 0000:00:00.0: failed to open", 2),
    "aborts": ("aborted", "was killed by SIGABRT during its start", 1),
    "silent": ("hung", "did not give its greeting within 3 s", 3),
    "no-json": ("not-tried", "QMP sent a line that is not JSON: `hello`", 2),
    "no-greeting": ("not-tried", "QMP began without a greeting", 2),
    "list-greeting": ("not-tried", "QMP sent a line that is not an object: `[1]`", 2),
    "deep": ("not-tried", "QMP sent a line that is not JSON", 2),
    "long-line": ("not-tried", "sent a line of more than 1048576 bytes", 2),
    "events-only": ("hung", "did not give an answer to `migrate-set-parameters` within 3 s", 3),
    "other-answers": ("hung", "the migration is still `none` after 3 s", 3),
    "refuses": ("failed", r"QEMU refuses `migrate`: `not \x1b[31mthis device`", 1),
    "migrate-aborts": ("aborted", "was killed by SIGABRT during `migrate`; it said `qemu: hardware error", 1),
    "migrate-exits": ("failed", "ended with exit code 3 during `migrate`", 1),
    "migrate-fails": ("failed", "the migration ended as `failed`: `the device cannot be migrated`", 1),
    "migrate-hangs": ("hung", "the migration is still `active` after 3 s", 3),
    "cut": ("failed", "ended with exit code 1 during `migrate-incoming`; it said `qemu: load of migration failed", 1),
    "loses": ("state-lost", "expected 0x", 1),
    "source-stopped": ("stands-still", "on the source, before it is migrated: stimulus.running does not", 1),
    "target-stopped": ("stands-still", "stimulus.running does not change", 1),
    "qtest-silent": ("hung", "qtest of QEMU on the source sends nothing", 3),
    "qtest-nonsense": ("not-tried", "qtest answers `WHAT` to", 2),
    "qtest-no-number": ("not-tried", "qtest answers `many` to", 2),
    "qtest-fails": ("failed", "qtest refuses", 1),
}


@pytest.mark.parametrize("fault", LIVE_FAULTS)
def test_live_migration_goes_wrong(ask: Callable[..., tuple[Findings, str]], fault: str) -> None:
    """The answer has the outcome and the reason, and all processes are ended."""
    found, printed = ask(fault)
    outcome, reason, code = LIVE_FAULTS[fault]
    live = found.answers[0]
    assert (live.flow, live.outcome.value) == (LIVE, outcome), live
    assert reason in live.why
    assert found.exit_code == code
    assert "\x1b" not in printed


#: Faults in another flow: which flow, its outcome, and the reason.
OTHER_FAULTS = {
    "runs-early": (PAUSED, "runs-early", "stimulus.running changes while the guest is paused"),
    "runs-unasked": (PAUSED, "failed", "the guest was paused, but runs on the target"),
    "cancel-ignored": (CANCEL, "hung", "the migration is still `active` after 3 s"),
    "back-stopped": (BACK, "stands-still", "stimulus.running does not change"),
    "cancelled-stopped": (CANCEL, "stands-still", "once the migration is cancelled: stimulus.running does not"),
    "cancel-loses": (CANCEL, "state-lost", "on the source, once the migration is cancelled: expected 0x"),
}


@pytest.mark.parametrize("fault", OTHER_FAULTS)
def test_one_flow_goes_wrong(ask: Callable[..., tuple[Findings, str]], fault: str) -> None:
    """The others complete."""
    found, _ = ask(fault)
    flow, outcome, reason = OTHER_FAULTS[fault]
    (answer,) = [answer for answer in found.answers if answer.flow == flow]
    assert (answer.outcome.value, reason in answer.why) == (outcome, True), answer
    assert {**outcomes(found), flow: "completed"} == ALL_WELL


def test_an_abort_of_the_source_that_continues(ask: Callable[..., tuple[Findings, str]]) -> None:
    found, _ = ask("back-aborts")
    (answer,) = [answer for answer in found.answers if answer.flow == BACK]
    assert answer.outcome.value == "aborted"
    assert "was killed by SIGABRT during `cont`" in answer.why


@pytest.mark.parametrize("fault", ["stays", "leaves-children", "talkative", "absurd-numbers"])
def test_odd_but_good(ask: Callable[..., tuple[Findings, str]], fault: str) -> None:
    """A QEMU that has to be killed, starts processes, prints a lot or reports absurd numbers may still migrate well."""
    found, _ = ask(fault)
    assert outcomes(found) == ALL_WELL
    assert len(found.messages) <= 1


@pytest.mark.parametrize(
    ("stimulus", "why", "code"),
    [
        ({}, "not compared: the profile says nothing about stimulus.visible_state", 2),
        ({"visible_state": "none"}, "not compared: the profile says that the device has no stimulus.visible_state", 0),
    ],
    ids=["silent", "denied"],
)
def test_state_that_cannot_be_seen(
    ask: Callable[..., tuple[Findings, str]], tmp_path: Path, stimulus: Mapping[str, str], why: str, code: int
) -> None:
    """A completed migration is only enough if the device has no state to compare."""
    found, printed = ask("", load(tmp_path, stimulus=stimulus))
    assert outcomes(found) == ALL_WELL
    assert {answer.state for answer in found.answers} == {why}
    assert found.exit_code == code
    assert "the device's state was not compared" in printed


def test_state_behind_another_region(ask: Callable[..., tuple[Findings, str]], tmp_path: Path) -> None:
    """If the guest cannot reach it, it cannot be compared; the answer says so."""
    observe = {"read": {"region": 8, "offset": 0, "width": 8}}
    visible = {**DOCUMENT["stimulus"]["visible_state"], "observe": [observe]}
    found, _ = ask("", load(tmp_path, stimulus={"visible_state": visible}))
    assert set(outcomes(found).values()) == {"not-tried"}
    assert "cannot be seen through QEMU" in found.answers[0].why
    assert found.exit_code == 2


def test_narrow(ask: Callable[..., tuple[Findings, str]]) -> None:
    """The output fits into 60 columns, except for words without blanks."""
    _, printed = ask("loses", width=60)
    lines = [line.removeprefix("results: ") for line in printed.splitlines()]
    assert [line for line in lines if len(line) > 60 and " " in line.strip()] == []


def test_a_missing_device(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints and records what is wrong."""
    load(tmp_path)
    out = tmp_path / "out"
    code = main(["qemu", str(tmp_path / "profile.yaml"), "--out", str(out), "--qemu", str(FAKE)])
    assert code == 2
    assert "there is no device /nowhere/fake.0" in capsys.readouterr().out
    assert json.loads((out / NAME).read_text())["works"] is None


def test_a_vfio_user_server_is_not_applicable(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """These QEMUs cannot use such a device."""
    assert main(["qemu", str(project / "profiles/reference.yaml"), "--out", str(tmp_path / "out")]) == 4
    assert "not applicable: the device is not behind a kernel" in capsys.readouterr().out


@pytest.mark.parametrize(("named", "code"), [(["--qemu", "no-such-qemu"], 2), ([], 4)], ids=["named", "not named"])
def test_no_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, named: Sequence[str], code: int
) -> None:
    """A QEMU that was named must exist; without any, the command is not applicable."""
    load(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["qemu", str(tmp_path / "profile.yaml"), "--out", str(tmp_path / "out"), *named]) == code
    assert "there is no" in capsys.readouterr().out


def test_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error has a remedy."""
    load(tmp_path)
    (tmp_path / "file").write_text("")
    code = main(["qemu", str(tmp_path / "profile.yaml"), "--out", str(tmp_path / "file"), "--qemu", str(FAKE)])
    assert code == 2
    assert "choose another folder with --out" in capsys.readouterr().err


def test_a_defect_that_the_device_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused, not ignored."""
    load(tmp_path)
    options = ["--out", str(tmp_path / "out"), "--qemu", str(FAKE), "--defect", "saving-ignored"]
    assert main(["qemu", str(tmp_path / "profile.yaml"), *options]) == 2
    assert "this device has no way to switch on defects" in capsys.readouterr().out


@pytest.fixture(scope="module")
def strace() -> Strace:
    """A working strace; a machine need not have one."""
    found = recording.find(1, STEP)
    if isinstance(found, str):
        pytest.skip(f"needs a working strace: {found}")
    return found


#: Faults of a QEMU that is recorded: the outcome of its first flow, and the reason.
RECORDED = {
    "": ("completed", ""),
    "stays": ("completed", ""),
    "exits": ("not-tried", "ended with exit code 1 during its start; it said `vfio 0000:00:00.0: failed to open"),
    "aborts": ("aborted", "was killed by SIGABRT during its start"),
    "migrate-aborts": ("aborted", "was killed by SIGABRT"),
    "migrate-hangs": ("hung", "the migration is still `active`"),
}


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("fault", RECORDED)
def test_recorded(ask: Callable[..., tuple[Findings, str]], tmp_path: Path, fault: str) -> None:
    """A tracer does not change the result or outlive QEMU, and its record is judged; the fake used no device."""
    found, printed = ask(fault, load(tmp_path, step=3 * STEP), strace=True)  # a traced process starts slowly
    outcome, reason = RECORDED[fault]
    assert (found.answers[0].outcome.value, reason in found.answers[0].why) == (outcome, True), found.answers[0]
    assert not any("strace" in message for message in found.messages)
    assert f"recorded  {STRACE}" in printed
    assert found.conduct
    assert all(each.damage.startswith("nothing that it did to a device") for each in found.conduct)
    assert "not judged: nothing that it did" in printed


KILLED = """\
import os, signal, sys
from pathlib import Path
from vfio_compliance.qemu.machine import Machine

folder = Path(sys.argv[2])
Machine(sys.argv[1], "/nowhere", folder, "QEMU", folder / "log", 20.0, sys.argv[3:]).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


def assert_ends_when_killed(monkeypatch: pytest.MonkeyPatch, folder: Path, *tracer: str) -> None:
    """A QEMU, under this tracer if any, does not outlive a command that was killed."""
    monkeypatch.setenv("FAKE_FOLDER", str(folder))
    done = subprocess.run([sys.executable, "-c", KILLED, FAKE, folder, *tracer], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + STEP
    while started(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started(folder) == []


def test_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert_ends_when_killed(monkeypatch, tmp_path)


def test_killed_while_recorded(strace: Strace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert_ends_when_killed(monkeypatch, tmp_path, *strace.command("strace"))


def test_every_flow_has_an_answer() -> None:
    """The list of flows here is complete."""
    assert set(ALL_WELL) == set(flows.ALL)
