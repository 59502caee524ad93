# SPDX-License-Identifier: GPL-2.0-only
"""States saved and restored: by the same driver, by another version of it, by devices that fail at any point."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import yaml

from vfio_compliance import profiles
from vfio_compliance.cli.main import main
from vfio_compliance.device import Device, DeviceError
from vfio_compliance.results import summary
from vfio_compliance.results.writers.terminal import render
from vfio_compliance.run.keeping import Fate
from vfio_compliance.sections import PROFILE
from vfio_compliance.states import command
from vfio_compliance.states.archive import StateError, StateFile
from vfio_compliance.states.command import Restored
from vfio_compliance.transport import CallTimeout, Outcome

OLD, NEW = "--driver-version=1.0", "--driver-version=1.1"
RESTORING = str(Path(__file__).parents[1] / "servers/restoring.py")
CARELESS = [RESTORING, "any-layout"]
LARGEST = 1 << 20


@pytest.fixture
def device(project: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a profile of the reference device with options, and with changes to the profile; returns its path."""
    number = iter(range(100))

    def made(*options: str, **changes: Any) -> Path:
        fields = yaml.safe_load((project / "profiles" / "reference.yaml").read_text("utf-8"))
        fields["device"]["command"] += options
        fields["device"].pop("second")
        for name, value in changes.items():
            if name == "program":
                fields["device"]["command"][1:3] = value
            elif value is None:
                fields["stimulus"].pop(name)
            else:
                fields[name] = value
        path = tmp_path / f"profile{next(number)}.yaml"
        path.write_text(yaml.safe_dump(fields))
        return path

    return made


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves the state of a device; returns the path of the file."""

    def save(profile: Path, *, live: bool = False) -> Path:
        path = tmp_path / f"{profile.stem}.state"
        command.save(profiles.load(profile, PROFILE), path, live=live)
        return path

    return save


def restored(profile: Path, path: Path) -> Restored:
    return command.restore(profiles.load(profile, PROFILE), path)


def after_reset(offset: int, value: int) -> dict[str, list[dict[str, Any]]]:
    """A set-up that injects a fault into the device."""
    return {"after_reset": [{"write": {"region": 0, "offset": offset, "width": 4, "value": value}}]}


def names_the_command(result: Restored) -> bool:
    """Whether the command is among the differences between the two devices."""
    return any(line.startswith("command: ") for line in result.differs)


@pytest.mark.parametrize("live", [False, True], ids=["stopped", "live"])
@pytest.mark.parametrize(("before", "after"), [(OLD, OLD), (NEW, NEW), (OLD, NEW)])
def test_driver_accepts_states_of_its_own_and_older_versions(
    device: Callable[..., Path], saved: Callable[..., Path], before: str, after: str, live: bool
) -> None:
    """A difference between the devices is reported."""
    result = restored(device(after), saved(device(before), live=live))
    assert result.given.fate is Fate.SAME, result.given
    assert names_the_command(result) == (before != after)


@pytest.mark.parametrize(("live", "buffers"), [(False, 5), (True, 10)], ids=["stopped", "live"])
def test_older_driver_refuses_a_newer_state(
    device: Callable[..., Path], saved: Callable[..., Path], live: bool, buffers: int
) -> None:
    """At its first buffer; a reset makes the device usable again."""
    result = restored(device(OLD), saved(device(NEW), live=live))
    assert result.given.fate is Fate.REFUSED, result.given
    assert names_the_command(result)
    assert result.given.brief == f"at buffer 1 of {buffers} (EINVAL (Invalid argument)), recovers"


def test_unknown_layout_that_is_accepted(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The driver accepts it, but the device shows another state."""
    result = restored(device(program=CARELESS), saved(device(NEW)))
    assert result.given.fate is Fate.OTHER, result.given
    assert restored(device(program=CARELESS), saved(device(OLD))).given.fate is Fate.SAME


@pytest.mark.parametrize("buffer", range(1, 6))
def test_refusal_names_the_buffer(device: Callable[..., Path], saved: Callable[..., Path], buffer: int) -> None:
    """Whichever it is."""
    result = restored(device(setup=after_reset(0x48, buffer)), saved(device()))
    assert result.given.fate is Fate.REFUSED, result.given
    assert result.given.brief.startswith(f"at buffer {buffer} of 5 (EIO")


@pytest.mark.parametrize("buffer", range(1, 6))
def test_save_that_fails_leaves_no_file(
    device: Callable[..., Path], saved: Callable[..., Path], tmp_path: Path, buffer: int
) -> None:
    """Whichever buffer fails."""
    with pytest.raises(DeviceError, match="EIO"):
        saved(device(setup=after_reset(0x44, buffer)))
    assert [*tmp_path.glob("*state*")] == []


@pytest.mark.parametrize(
    ("options", "fate", "reason"),
    [
        (("--defect=resuming-refused",), Fate.REFUSED, ""),
        (("--defect=resuming-data-refused",), Fate.REFUSED, "buffer 1 of 5: writing 16384 to data_size"),
        (("--defect=resuming-data-ignored",), Fate.OTHER, "7 of 7 values"),
        (("--defect=resume-drops-a-buffer",), Fate.OTHER, "of 7 values"),
        (("--defect=resume-high-half-lost",), Fate.OTHER, "1 of 7 values"),
        (("--section=8192",), Fate.REFUSED, "buffer 1 of 5, which has 16384 bytes: the data section of this device"),
        (("--data-section=trapped",), Fate.SAME, ""),
        (("--pre-copy=none", "--offset=moving"), Fate.SAME, ""),
    ],
    ids=str,
)
def test_fate_of_a_good_state(
    device: Callable[..., Path], saved: Callable[..., Path], options: tuple[str, ...], fate: Fate, reason: str
) -> None:
    """On devices that are good, smaller, or broken."""
    result = restored(device(*options), saved(device()))
    assert (result.given.fate, reason in result.given.seen) == (fate, True), result.given


def test_error_state_at_the_end_is_a_refusal(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The device accepts all buffers, but cannot run with them; a reset makes it usable again."""
    result = restored(device("--bad-data=fail"), saved(device(NEW)))
    assert result.given.fate is Fate.REFUSED, result.given
    assert "the change to running: " in result.given.seen
    assert "reads error" in result.given.seen


def test_error_state_that_a_reset_does_not_leave(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The refusal is not clean."""
    result = restored(device("--bad-data=fail", "--defect=reset-keeps-error"), saved(device(NEW)))
    assert result.given.fate is Fate.UNCLEAN, result.given
    assert "after a reset" in result.given.seen


def test_dropped_state_is_another_one(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The driver silently drops what it does not understand."""
    assert restored(device("--bad-data=drop"), saved(device(NEW))).given.fate is Fate.OTHER


def test_state_without_visible_values_is_not_compared(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """It is accepted, but it is unknown whether it is the same."""
    blind = device(visible_state=None)
    assert restored(blind, saved(device())).given.fate is Fate.UNCOMPARED
    assert restored(device(), saved(blind)).given.fate is Fate.UNCOMPARED


def test_values_read_in_another_way_are_not_compared(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """Such as in another order."""
    one = device()
    other = yaml.safe_load(one.read_text())
    other["stimulus"]["visible_state"]["observe"].reverse()
    path = one.with_name("other.yaml")
    path.write_text(yaml.safe_dump(other))
    assert restored(path, saved(one)).given.fate is Fate.UNCOMPARED


def test_file_has_identity_and_states_of_buffers(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The driver, the server's program and its digest; and the device_state in which each buffer was read."""
    with StateFile(saved(device(NEW), live=True), LARGEST) as state:
        identity, buffers = state.manifest.identity, state.manifest.buffers
    assert identity["driver"] == "refdriver"
    assert identity["claims.data_section"] == "mapped"
    assert identity["claims.precopy_data"] == "true"
    assert identity["command"].endswith(NEW)
    assert len(identity["program sha256"]) == 64
    assert identity["saved"]
    assert identity["kernel"]
    assert [buffer.read_in for buffer in buffers] == ["pre-copy"] * 5 + ["stop-and-copy"] * 5


def test_driver_version_comes_from_the_profile(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """A server does not report its version; the profile does, and the report shows it."""
    path, out = saved(device(OLD, version="1.0")), tmp_path / "out"
    assert "driver version: 1.0; here 1.1" in restored(device(NEW, version="1.1"), path).differs
    out.mkdir()
    result = judge_in_process(device(OLD), out, f"--state={path}", "--only=v1.reserved.reads-zero")
    assert [state.of.partition(" (")[0] for state in result.states.values()] == ["refdriver 1.0"]


def test_digest_of_how_a_state_is_shown_is_reproducible(project: Path) -> None:
    """Also for a profile with sets in its steps, whose order differs between processes."""
    script = (
        "import sys; from pathlib import Path; from vfio_compliance import profiles; "
        "from vfio_compliance.sections import PROFILE; from vfio_compliance.states.command import _how; "
        "print(_how(profiles.load(Path(sys.argv[1]), PROFILE)))"
    )
    path = project / "profiles" / "examples" / "python.yaml"
    digests = [
        subprocess.run(
            [sys.executable, "-c", script, path],
            capture_output=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert len(set(digests)) == 1
    assert len(digests[0].strip()) == 64


def test_live_state_larger_than_the_largest_state(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """Pre-copy and stop-and-copy may each save a whole state; it can be restored."""
    path = device("--memory=700416")
    assert restored(path, saved(path, live=True)).given.fate is Fate.SAME


def test_full_temporary_folder_is_named(
    device: Callable[..., Path], saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of the file to be written."""
    monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StateError, match="No space left on device; set TMPDIR"):
        saved(device())
    assert [*tmp_path.glob("*state*")] == []


def test_edited_file_is_refused_before_the_device_is_opened(
    device: Callable[..., Path], saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digests are checked first."""
    path = saved(device())
    whole = bytearray(path.read_bytes())
    whole[5000] ^= 1
    path.write_bytes(whole)
    monkeypatch.setattr(command, "Session", lambda *_: pytest.fail("the device was touched"))
    with pytest.raises(StateError, match="buffer 1 was changed"):
        restored(device(), path)


def test_commands_print_results_and_exit_codes(
    device: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of save and restore."""
    old, new, path = device(OLD), device(NEW), str(tmp_path / "a.state")
    assert main(["save", str(new), path]) == 0
    assert "saved: 65613 bytes in 5 buffers" in capsys.readouterr().out
    assert main(["save", str(new), path]) == 2
    assert "exists already; name a new file" in capsys.readouterr().err
    assert main(["restore", str(new), path]) == 0
    assert "restored, and shown to be the same: 7 values" in capsys.readouterr().out
    assert main(["restore", str(old), path]) == 4
    output = " ".join(capsys.readouterr().out.split())
    assert "another command: " in output
    assert "refused cleanly: at buffer 1 of 5" in output
    assert main(["restore", str(device(program=CARELESS)), path]) == 1
    assert "accepted, but it is another state: " in capsys.readouterr().out
    assert main(["restore", str(old), str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["save", str(device(setup=after_reset(0x44, 2))), str(tmp_path / "b")]) == 1
    assert not (tmp_path / "b").exists()
    assert main(["restore", str(device(interfaces=["dirty_type1"])), path]) == 2
    assert "has no interface that moves states" in capsys.readouterr().err


def test_run_answers_for_each_state(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """The answer is in the journal, and changes no verdict."""
    old, new = saved(device(OLD)), saved(device(NEW))
    out = tmp_path / "out"
    out.mkdir()
    result = judge_in_process(device(OLD), out, f"--state={old}", f"--state={new}", "--only=v1.reserved.reads-zero")
    assert [state.answer for state in result.states.values()] == [
        "yes, the same state",
        "refused at buffer 1 of 5 (EINVAL (Invalid argument)), recovers",
    ]
    assert result.exit_code == 0
    lines = render(result, 60).splitlines()
    place = lines.index("Restores states of")
    assert lines[place + 1].startswith("  refdriver (saved 20")
    assert max(map(len, lines[place : place + 8])) <= 60


def test_run_with_a_careless_device(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """The answer is no, but the rules are kept."""
    state, out = saved(device(NEW)), tmp_path / "out"
    out.mkdir()
    result = judge_in_process(device(program=CARELESS), out, f"--state={state}", "--only=v1.reserved.reads-zero")
    assert [each.answer for each in result.states.values()] == ["no: it is accepted, but is another state"]
    assert result.exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_save_leaves_nothing(device: Callable[..., Path], tmp_path: Path, number: Signals) -> None:
    """Neither the file nor a part of it, nor the server."""
    folder = tmp_path / "states"
    folder.mkdir()
    command_line = [
        sys.executable,
        "-m",
        "vfio_compliance",
        "save",
        str(device("--slow=400000")),
        str(folder / "new.state"),
    ]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        deadline = time.monotonic() + 30
        while not any(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert any(folder.iterdir())
        time.sleep(0.6)  # among the buffers, or somewhere before them: the result is the same
        running.send_signal(number)
        output, _ = running.communicate(timeout=30)
    assert running.returncode == 128 + signal.SIGINT, output
    assert "Traceback" not in output
    assert [*folder.iterdir()] == []


def mortal(device: Callable[..., Path], how: str) -> Path:
    """The profile of a device that dies when it gets a state, or hangs."""
    path = device(program=[RESTORING, how])
    fields = yaml.safe_load(path.read_text())
    fields["limits"]["call"] = "1s"
    path.write_text(yaml.safe_dump(fields))
    return path


@pytest.mark.parametrize(
    ("how", "answer"),
    [("dies", "no, and not refused cleanly: at buffer 1 of 5, died"), ("hangs", "no: a call did not return")],
)
def test_run_with_a_device_that_does_not_survive_a_state(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
    how: str,
    answer: str,
) -> None:
    """Each state has an answer, and the exit code is not affected."""
    one, other, out = saved(device()), saved(device(NEW)), tmp_path / "out"
    out.mkdir()
    options = f"--state={one}", f"--state={other}", "--only=v1.reserved.reads-zero"
    result = judge_in_process(mortal(device, how), out, *options)
    assert [state.answer for state in result.states.values()] == [answer] * 2
    assert result.exit_code == 0


def test_run_of_only_a_state(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """If no case is selected, the state is still restored."""
    state, out = saved(device()), tmp_path / "out"
    out.mkdir()
    options = f"--state={state}", "--only=v1.reserved.reads-zero", "--exclude=v1.reserved.reads-zero"
    result = judge_in_process(device(), out, *options)
    assert [each.answer for each in result.states.values()] == ["yes, the same state"]


def test_run_that_ends_before_the_states(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """The answer for each is that it was not tried."""
    state, path, out = saved(device()), device(), tmp_path / "out"
    out.mkdir()
    fields = yaml.safe_load(path.read_text())
    fields["device"]["command"].append("--no-such-option")
    path.write_text(yaml.safe_dump(fields))
    result = judge_in_process(path, out, f"--state={state}", "--only=v1.reserved.reads-zero")
    assert [(each.answer, each.seen) for each in result.states.values()] == [("not tried", "the run ended before")]


def test_last_reset_that_hangs_does_not_hide_the_result(
    device: Callable[..., Path], saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fate of the state is still reported."""
    path = device()
    state = saved(path)
    resets = itertools.count()
    reset = Device.try_reset

    def second_hangs(self: Device) -> Outcome:
        if next(resets) == 1:
            raise CallTimeout("DEVICE_RESET", 5.0)
        return reset(self)

    monkeypatch.setattr(Device, "try_reset", second_hangs)
    assert restored(path, state).given.fate is Fate.SAME
    assert next(resets) == 2
