# SPDX-License-Identifier: GPL-2.0-only
"""KVM or emulation: a booting kernel shows which one runs, and QEMU accepts our machine for both."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.cli.main import main, parser
from vfio_compliance.cli.vm import orders
from vfio_compliance.vm import boot, host, kernels, life, outcome
from vfio_compliance.vm.accelerator import Accelerator
from vfio_compliance.vm.console import Console
from vfio_compliance.vm.guest.reporting import MARK
from vfio_compliance.vm.guests import Guests
from vfio_compliance.vm.life import Life
from vfio_compliance.vm.shared_page import SharedPage

FIRST_LINE = "[    0.000000] Linux version 6.12.0"


class _Machine:
    """A clock that is set by hand, and the load of the machine."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.busy = 1.0

    def life(self, **limits: float) -> Life:
        return Life(clock=lambda: self.now, slowdown=lambda: self.busy, **limits)


def test_a_kernel_that_prints_nothing_is_abandoned() -> None:
    machine = _Machine()
    watched = machine.life()
    watched.line("SeaBIOS (version 1.16)")
    machine.now += life.FIRST_LINE - 1
    assert watched.stalled() == ""
    machine.now += 2
    assert watched.stalled() == "the kernel printed nothing within 25 s"


@pytest.mark.parametrize("line", [FIRST_LINE, "Linux version 6.1.0 (me@here)", "[   12.345678] vfio: up"])
def test_a_kernel_that_prints_may_take_longer_but_not_forever(line: str) -> None:
    machine = _Machine()
    watched = machine.life()
    watched.line(line)
    machine.now += life.FIRST_LINE + 1
    assert watched.stalled() == ""
    machine.now += life.UP
    assert watched.stalled() == "the guest was not up within 60 s"


def test_a_guest_that_is_up_is_never_abandoned() -> None:
    machine = _Machine()
    watched = machine.life()
    watched.up = True
    watched.line("KVM internal error. Suberror: 1")
    machine.now += 10 * life.UP
    assert watched.stalled() == ""


def test_a_busy_machine_gives_a_kernel_more_time_within_limits() -> None:
    machine = _Machine()
    machine.busy = 2.0
    watched = machine.life()
    machine.now += 1.9 * life.FIRST_LINE
    assert watched.stalled() == ""
    machine.busy = 1000.0
    machine.now += 3.0 * life.FIRST_LINE
    assert watched.stalled()


@pytest.mark.parametrize(
    "line",
    ["KVM internal error. Suberror: 1", "error: kvm run failed Bad address", "KVM: entry failed, hardware error 7"],
)
def test_a_machine_that_qemu_stopped_is_abandoned_at_once(line: str) -> None:
    watched = _Machine().life()
    watched.line(line)
    assert line in watched.stalled()


@pytest.mark.parametrize("last", ["qemu-system-x86_64: failed to initialize kvm: No space left", ""])
def test_the_last_line_of_a_machine_that_ends_before_its_kernel_runs(last: str) -> None:
    watched = _Machine().life()
    watched.line(last)
    assert (last or "no output") in watched.stillborn()
    watched.line(FIRST_LINE)
    assert watched.stillborn() == ""


def test_the_load_of_this_machine_can_be_read() -> None:
    assert life.slowdown() >= 1.0


class _Kernels:
    """Boots kernels with a given outcome: on KVM, and under emulation."""

    def __init__(self, chosen: Accelerator) -> None:
        self.chosen = chosen
        self.boots: list[str] = []
        self.messages: list[str] = []

    def boot(self, on_kvm: str, emulated: str = "up") -> boot.Boot:
        def attempt(kvm: bool, _: Life) -> boot.Boot:
            self.boots.append("kvm" if kvm else "tcg")
            end = on_kvm if kvm else emulated
            return boot.Boot(events=[{"event": "up"}] if end == "up" else [], stalled="nothing came" * (end == "dead"))

        return self.chosen.boot(attempt, self.messages.append)


def test_kvm_that_runs_no_kernel_is_tried_once() -> None:
    machine = _Kernels(Accelerator("auto", ""))
    assert [bool(machine.boot("dead").events) for _ in range(3)] == [True] * 3
    assert machine.boots == ["kvm", "tcg", "tcg", "tcg"]
    assert machine.messages == ["nothing came"]


def test_kvm_that_ran_a_kernel_is_kept() -> None:
    machine = _Kernels(Accelerator("auto", ""))
    machine.boot("up")
    assert machine.boot("dead").stalled
    assert machine.boots == ["kvm", "kvm"]
    assert machine.messages == []


def test_a_kernel_that_runs_nowhere_does_not_count_against_kvm() -> None:
    machine = _Kernels(Accelerator("auto", ""))
    assert machine.boot("dead", "dead").stalled
    machine.boot("up")
    assert machine.boots == ["kvm", "tcg", "kvm"]


def test_a_kernel_that_ran_on_kvm_and_failed_is_not_booted_again() -> None:
    machine = _Kernels(Accelerator("auto", ""))
    machine.boot("panicked")
    assert machine.boots == ["kvm"]


def test_forced_kvm_has_no_fallback() -> None:
    machine = _Kernels(Accelerator("kvm", ""))
    assert machine.boot("dead").stalled
    assert machine.boots == ["kvm"]


@pytest.mark.parametrize(("wanted", "obstacle"), [("tcg", ""), ("auto", "there is no /dev/kvm")])
def test_kvm_is_not_tried_if_emulation_is_forced_or_kvm_is_missing(wanted: str, obstacle: str) -> None:
    chosen = Accelerator(wanted, obstacle)
    machine = _Kernels(chosen)
    machine.boot("up")
    assert machine.boots == ["tcg"]
    assert obstacle in chosen.says


def test_forced_kvm_without_its_device_ends_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert host.why_no_kvm(tmp_path / "kvm") == f"there is no {tmp_path}/kvm"
    monkeypatch.setattr(host, "missing", lambda tools: [])
    monkeypatch.setattr(host, "why_no_kvm", lambda: "it is missing")
    assert main(["vm", "--accel", "kvm", "--out", str(tmp_path), "--cache", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "--accel kvm: it is missing\n"
    assert list(tmp_path.iterdir()) == []


def _runs(monkeypatch: pytest.MonkeyPatch, script: Callable[[bool], str]) -> None:
    """Runs a Python program instead of the virtual machine."""
    monkeypatch.setattr(boot, "command_line", lambda _, machine, *__: [sys.executable, "-uc", script(machine.kvm)])


def _boot(tmp_path: Path, *options: str, chosen: Accelerator | None = None) -> outcome.Outcome:
    words = ["vm", "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), *options, "--", "true"]
    parsed = orders(parser().parse_args(words))
    judged = outcome.Outcome("6.12", "6.12.0")
    kernel = kernels.Kernel("6.12", tmp_path, None, "6.12.0")
    Guests(parsed, chosen or Accelerator(parsed.accel, ""), kernel, tmp_path / "out" / "6.12", judged).run()
    return judged


BROKEN_KVM = "import sys, time\nprint('KVM internal error. Suberror: 1', file=sys.stderr)\ntime.sleep(1000)"
GOOD = f"""import json, sys
print({FIRST_LINE!r}, file=sys.stderr)
for event in ({{"event": "up", "release": "6.12.0"}}, {{"event": "over"}}):
    print({MARK!r} + json.dumps(event))
"""


def test_emulation_replaces_a_broken_kvm_and_both_consoles_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _runs(monkeypatch, lambda kvm: BROKEN_KVM if kvm else GOOD)
    judged = _boot(tmp_path)
    assert (judged.ending, judged.code) == ("", 0)
    (note,) = [line for line in capsys.readouterr().out.splitlines() if " note " in line]
    assert (
        "software emulation, because no kernel runs on KVM here: QEMU stopped the machine: KVM internal error" in note
    )
    folder = tmp_path / "out" / "6.12"
    assert "KVM internal error" in (folder / "console-kvm.log").read_text()
    assert FIRST_LINE in (folder / "console.log").read_text()


def test_forced_kvm_that_is_broken_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _runs(monkeypatch, lambda kvm: BROKEN_KVM if kvm else GOOD)
    judged = _boot(tmp_path, "--accel", "kvm")
    assert (judged.ending, judged.code) == ("no boot", 2)
    assert "guest did not come up (QEMU stopped the machine: KVM internal error" in capsys.readouterr().out


def test_a_silent_machine_is_ended_long_before_its_deadline(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "import time\ntime.sleep(1000)"]
    result = boot.run(
        line, Console(tmp_path / "log"), 900.0, boot.Scratch(tmp_path), print, lambda *_: None, Life(first_line=0.1)
    )
    assert result.stalled.startswith("the kernel printed nothing")
    assert not result.timed_out
    assert result.seconds < 300


@pytest.mark.parametrize(("kvm", "events", "boots"), [(False, [], 2), (True, [], 1), (False, [{"event": "up"}], 1)])
def test_an_emulated_guest_that_panics_early_is_booted_once_more(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kvm: bool,
    events: list[dict[str, str]],
    boots: int,
) -> None:
    """With a message. A guest that was up, or one on KVM, is not booted again."""
    booted = []

    def run(line: list[str], console: Console, *_: object) -> boot.Boot:
        booted.append(console.path.name)
        return boot.Boot(events=events, lines=["Kernel panic - not syncing: Fatal exception in interrupt"])

    monkeypatch.setattr(boot, "run", run)
    monkeypatch.setattr(boot, "command_line", lambda *_: [])
    chosen = Accelerator("kvm" if kvm else "tcg", "")
    judged = _boot(tmp_path, chosen=chosen)
    assert len(booted) == boots
    assert judged.ending == "panicked"
    assert ("trying again" in capsys.readouterr().out) == (boots == 2)


QEMU = host.which("qemu-system-x86_64")


@pytest.fixture
def machine_words(tmp_path: Path) -> Callable[[bool], list[str]]:
    """The QEMU options for machine, processor and IOMMU that result from our call of virtme-ng."""
    if host.which("vng") is None or QEMU is None:
        pytest.skip("virtme-ng or QEMU is not installed")

    def words(kvm: bool) -> list[str]:
        image = tmp_path / "bzImage"
        image.write_bytes(bytes(0x1000))
        page = SharedPage(tmp_path / "calls")
        call = boot.command_line(image, boot.Machine(2, "1G", kvm), boot.Scratch(tmp_path), page, tmp_path, 60.0)
        call.insert(call.index("--run"), "--dry-run")
        done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        line = next(line for line in done.stdout.splitlines() if "-kernel" in line)
        parts = shlex.split(line)
        pairs = list(itertools.pairwise(parts))
        wanted = [pair for pair in pairs if pair[0] in ("-machine", "-M", "-accel", "-cpu")]
        wanted += [pair for pair in pairs if pair[0] == "-device" and re.match("intel-iommu|edu", pair[1])]
        return [word for pair in wanted for word in pair]

    return words


def _ask(words: list[str]) -> tuple[int, str, list[Any]]:
    """Starts QEMU with stopped processors, and queries it; returns its exit code, error output and answers."""
    questions = [
        {"execute": "qmp_capabilities"},
        {"execute": "query-status"},
        {"execute": "query-kvm"},
        {"execute": "qom-get", "arguments": {"path": "/machine", "property": "type"}},
        {"execute": "quit"},
    ]
    call = [str(QEMU), *words, "-S", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    text = "".join(json.dumps(question) + "\n" for question in questions)
    done = subprocess.run(call, input=text, capture_output=True, text=True, check=False)
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, done.stderr, [reply["return"] for reply in replies if "return" in reply]


def _why_no_kvm() -> str:
    """Why QEMU does not start with KVM on this host; empty if it does."""
    if QEMU is None:
        return "QEMU is not installed"
    if obstacle := host.why_no_kvm():
        return obstacle
    status, complaint, _ = _ask(["-machine", "q35,accel=kvm", "-cpu", "host"])
    return f"QEMU does not start on KVM here: {complaint.strip()}" if status else ""


WHY_NO_KVM = _why_no_kvm()
KINDS = [
    pytest.param(True, id="kvm", marks=pytest.mark.skipif(bool(WHY_NO_KVM), reason=WHY_NO_KVM)),
    pytest.param(False, id="tcg"),
]


@pytest.mark.parametrize("kvm", KINDS)
def test_qemu_accepts_the_machine(kvm: bool, machine_words: Callable[[bool], list[str]]) -> None:
    """All options of virtme-ng and ours together make a q35 with the chosen accelerator, which starts."""
    words = machine_words(kvm)
    status, complaint, answers = _ask(words)
    assert (status, len(answers)) == (0, 5), complaint
    _, state, accelerator, kind, _ = answers
    assert state["status"] == "prelaunch"
    assert accelerator["enabled"] == kvm
    assert "q35" in kind


@pytest.mark.parametrize("kvm", KINDS[:1])
@pytest.mark.parametrize(
    ("without", "complaint"), [("kernel-irqchip=split,", "kernel-irqchip"), ("q35,", "intel-iommu")]
)
def test_qemu_refuses_the_machine_on_kvm_without(
    kvm: bool, without: str, complaint: str, machine_words: Callable[[bool], list[str]]
) -> None:
    """So both options are always given."""
    words = [word.replace(without, "") for word in machine_words(kvm)]
    status, message, _ = _ask(words)
    assert status == 1
    assert complaint in message
