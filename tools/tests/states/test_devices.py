# SPDX-License-Identifier: GPL-2.0-only
"""States are saved and restored: on the same driver, on another version of it, on devices that fail at any point."""

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
CARELESS = Path(__file__).with_name("careless_server.py")
MORTAL = Path(__file__).with_name("mortal_server.py")
LARGEST = 1 << 20


@pytest.fixture
def device(project: Path, tmp_path: Path) -> Callable[..., Path]:
    """The path of a profile of the reference device with options, and what is to be changed in the profile."""
    number = iter(range(100))

    def made(*options: str, **changes: Any) -> Path:
        fields = yaml.safe_load((project / "profiles" / "reference.yaml").read_text("utf-8"))
        fields["device"]["command"] += options
        fields["device"].pop("second")
        for name, value in changes.items():
            if name == "program":
                fields["device"]["command"][1:3] = [str(value)]
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
    """Saves the state of a device; the path of the file."""

    def save(profile: Path, *, live: bool = False) -> Path:
        path = tmp_path / f"{profile.stem}.state"
        command.save(profiles.load(profile, PROFILE), path, live=live)
        return path

    return save


def restored(profile: Path, path: Path) -> Restored:
    return command.restore(profiles.load(profile, PROFILE), path)


def after_reset(offset: int, value: int) -> dict[str, list[dict[str, Any]]]:
    """A set-up by which the device fails later."""
    return {"after_reset": [{"write": {"region": 0, "offset": offset, "width": 4, "value": value}}]}


@pytest.mark.parametrize("live", [False, True], ids=["stopped", "live"])
@pytest.mark.parametrize(
    ("before", "after", "fate"),
    [
        (OLD, OLD, Fate.SAME),
        (NEW, NEW, Fate.SAME),
        (OLD, NEW, Fate.SAME),
        (NEW, OLD, Fate.REFUSED),
    ],
)
def test_versions(
    device: Callable[..., Path], saved: Callable[..., Path], before: str, after: str, fate: Fate, live: bool
) -> None:
    """A newer driver takes the older state, and an older one refuses the newer state; each difference is told."""
    result = restored(device(after), saved(device(before), live=live))
    assert result.given.fate is fate, result.given
    assert any(line.startswith("command: ") for line in result.differs) == (before != after)
    if fate is Fate.REFUSED:
        assert result.given.brief == f"at buffer 1 of {10 if live else 5} (EINVAL (Invalid argument)), recovers"


def test_a_layout_that_is_not_known_and_taken(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The driver is content with it, and what the device shows is not."""
    result = restored(device(program=CARELESS), saved(device(NEW)))
    assert result.given.fate is Fate.OTHER, result.given
    assert restored(device(program=CARELESS), saved(device(OLD))).given.fate is Fate.SAME


@pytest.mark.parametrize("buffer", range(1, 6))
def test_refused_at_any_buffer(device: Callable[..., Path], saved: Callable[..., Path], buffer: int) -> None:
    """It is said which."""
    result = restored(device(setup=after_reset(0x48, buffer)), saved(device()))
    assert result.given.fate is Fate.REFUSED, result.given
    assert result.given.brief.startswith(f"at buffer {buffer} of 5 (EIO")


@pytest.mark.parametrize("buffer", range(1, 6))
def test_saving_fails_at_any_buffer(
    device: Callable[..., Path], saved: Callable[..., Path], tmp_path: Path, buffer: int
) -> None:
    """There is no file then."""
    with pytest.raises(DeviceError, match="EIO"):
        saved(device(setup=after_reset(0x44, buffer)))
    assert [*tmp_path.glob("*state*")] == []


@pytest.mark.parametrize(
    ("options", "fate", "says"),
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
def test_devices(
    device: Callable[..., Path], saved: Callable[..., Path], options: tuple[str, ...], fate: Fate, says: str
) -> None:
    """What comes of a good state on devices that are good, smaller, or broken."""
    result = restored(device(*options), saved(device()))
    assert (result.given.fate, says in result.given.seen) == (fate, True), result.given


def test_an_error_state_at_the_end(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """A device that takes all buffers and cannot run on them says so, and a reset brings it back."""
    result = restored(device("--bad-data=fail"), saved(device(NEW)))
    assert result.given.fate is Fate.REFUSED, result.given
    assert "the change to running: " in result.given.seen
    assert "reads error" in result.given.seen


def test_an_error_state_that_stays(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    result = restored(device("--bad-data=fail", "--defect=reset-keeps-error"), saved(device(NEW)))
    assert result.given.fate is Fate.UNCLEAN, result.given
    assert "after a reset" in result.given.seen


def test_a_dropped_state(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The driver drops what it does not understand and says nothing: the state is another one."""
    assert restored(device("--bad-data=drop"), saved(device(NEW))).given.fate is Fate.OTHER


def test_nothing_to_see(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """Without a visible state it is taken, and nobody says that it is the same."""
    blind = device(visible_state=None)
    assert restored(blind, saved(device())).given.fate is Fate.UNCOMPARED
    assert restored(device(), saved(blind)).given.fate is Fate.UNCOMPARED


def test_values_that_were_read_otherwise(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """Are not compared."""
    one = device()
    other = yaml.safe_load(one.read_text())
    other["stimulus"]["visible_state"]["observe"].reverse()
    path = one.with_name("other.yaml")
    path.write_text(yaml.safe_dump(other))
    assert restored(path, saved(one)).given.fate is Fate.UNCOMPARED


def test_what_is_kept(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """The identity has the driver, the server's program and its digest; the states in which buffers came are there."""
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


def test_the_version_that_the_profile_tells(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """No server tells its version: the profile does, and the report has it."""
    path, out = saved(device(OLD, version="1.0")), tmp_path / "out"
    assert "driver version: 1.0; here 1.1" in restored(device(NEW, version="1.1"), path).differs
    out.mkdir()
    result = judge_in_process(device(OLD), out, f"--state={path}", "--only=v1.reserved.reads-zero")
    assert [state.of.partition(" (")[0] for state in result.states.values()] == ["refdriver 1.0"]


def test_how_a_state_is_shown_is_the_same_in_each_process(project: Path) -> None:
    """Of a profile whose steps hold sets, too: their order is another one in each process."""
    script = (
        "import sys; from pathlib import Path; from vfio_compliance import profiles; "
        "from vfio_compliance.sections import PROFILE; from vfio_compliance.states.command import _how; "
        "print(_how(profiles.load(Path(sys.argv[1]), PROFILE)))"
    )
    path = project / "profiles" / "examples" / "python.yaml"
    said = [
        subprocess.run(
            [sys.executable, "-c", script, path],
            capture_output=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert len(set(said)) == 1
    assert len(said[0].strip()) == 64


def test_a_live_state_of_more_than_the_largest(device: Callable[..., Path], saved: Callable[..., Path]) -> None:
    """Pre-copy and what comes after it are two states' worth: what could be saved can be restored."""
    path = device("--memory=700416")
    assert restored(path, saved(path, live=True)).given.fate is Fate.SAME


def test_a_temporary_folder_that_is_full(
    device: Callable[..., Path], saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, and not the file that was to be made."""
    monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StateError, match="No space left on device; set TMPDIR"):
        saved(device())
    assert [*tmp_path.glob("*state*")] == []


def test_an_edited_file_leaves_the_device_alone(
    device: Callable[..., Path], saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is checked before."""
    path = saved(device())
    whole = bytearray(path.read_bytes())
    whole[5000] ^= 1
    path.write_bytes(whole)
    monkeypatch.setattr(command, "Session", lambda *_: pytest.fail("the device was touched"))
    with pytest.raises(StateError, match="buffer 1 was changed"):
        restored(device(), path)


def test_commands(device: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their exit codes, and what they print."""
    old, new, path = device(OLD), device(NEW), str(tmp_path / "a.state")
    assert main(["save", str(new), path]) == 0
    assert "saved: 65613 bytes in 5 buffers" in capsys.readouterr().out
    assert main(["save", str(new), path]) == 2
    assert "exists already; name a new file" in capsys.readouterr().err
    assert main(["restore", str(new), path]) == 0
    assert "restored, and shown to be the same: 7 values" in capsys.readouterr().out
    assert main(["restore", str(old), path]) == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "another command: " in said
    assert "refused cleanly: at buffer 1 of 5" in said
    assert main(["restore", str(device(program=CARELESS)), path]) == 1
    assert "accepted, but it is another state: " in capsys.readouterr().out
    assert main(["restore", str(old), str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["save", str(device(setup=after_reset(0x44, 2))), str(tmp_path / "b")]) == 1
    assert not (tmp_path / "b").exists()
    assert main(["restore", str(device(interfaces=["dirty_type1"])), path]) == 2
    assert "has no interface that moves states" in capsys.readouterr().err


def test_in_a_run(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """Each state gets an answer of its own, which is kept in the journal and changes no verdict."""
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


def test_a_run_with_a_device_that_takes_any(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """The answer is no; the rules are kept all the same."""
    state, out = saved(device(NEW)), tmp_path / "out"
    out.mkdir()
    result = judge_in_process(device(program=CARELESS), out, f"--state={state}", "--only=v1.reserved.reads-zero")
    assert [each.answer for each in result.states.values()] == ["no: it is accepted, but is another state"]
    assert result.exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(device: Callable[..., Path], tmp_path: Path, number: Signals) -> None:
    """Neither the file nor a part of it is left, and the server has ended."""
    folder = tmp_path / "states"
    folder.mkdir()
    words = [sys.executable, "-m", "vfio_compliance", "save", str(device("--slow=400000")), str(folder / "new.state")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        deadline = time.monotonic() + 30
        while not any(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert any(folder.iterdir())
        time.sleep(0.6)  # into the buffers, or somewhere before them: it is the same
        running.send_signal(number)
        said, _ = running.communicate(timeout=30)
    assert running.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    assert [*folder.iterdir()] == []


def mortal(device: Callable[..., Path], how: str) -> Path:
    """The profile of a device that dies of a state, or does not answer."""
    path = device(program=MORTAL)
    fields = yaml.safe_load(path.read_text())
    fields["device"]["command"].append(how)
    fields["limits"]["call"] = "1s"
    path.write_text(yaml.safe_dump(fields))
    return path


@pytest.mark.parametrize(
    ("how", "answer"),
    [("dies", "no, and not refused cleanly: at buffer 1 of 5, died"), ("hangs", "no: a call did not return")],
)
def test_a_run_with_a_device_that_does_not_survive_it(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
    how: str,
    answer: str,
) -> None:
    """An answer of its own, for each state, and nothing of it in the exit code."""
    one, other, out = saved(device()), saved(device(NEW)), tmp_path / "out"
    out.mkdir()
    words = f"--state={one}", f"--state={other}", "--only=v1.reserved.reads-zero"
    result = judge_in_process(mortal(device, how), out, *words)
    assert [state.answer for state in result.states.values()] == [answer] * 2
    assert result.exit_code == 0


def test_a_run_of_nothing_but_a_state(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """Where no case is selected the state is given all the same."""
    state, out = saved(device()), tmp_path / "out"
    out.mkdir()
    words = f"--state={state}", "--only=v1.reserved.reads-zero", "--exclude=v1.reserved.reads-zero"
    result = judge_in_process(device(), out, *words)
    assert [each.answer for each in result.states.values()] == ["yes, the same state"]


def test_a_run_that_ends_before(
    device: Callable[..., Path],
    saved: Callable[..., Path],
    judge_in_process: Callable[..., summary.Summary],
    tmp_path: Path,
) -> None:
    """It says of each state that it was not tried."""
    state, path, out = saved(device()), device(), tmp_path / "out"
    out.mkdir()
    fields = yaml.safe_load(path.read_text())
    fields["device"]["command"].append("--no-such-option")
    path.write_text(yaml.safe_dump(fields))
    result = judge_in_process(path, out, f"--state={state}", "--only=v1.reserved.reads-zero")
    assert [(each.answer, each.seen) for each in result.states.values()] == [("not tried", "the run ended before")]


def test_the_last_reset_hangs(
    device: Callable[..., Path], saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of the state is told all the same."""
    path = device()
    state = saved(path)
    resets = itertools.count()
    reset = Device.try_reset

    def third(self: Device) -> Outcome:
        if next(resets) == 1:
            raise CallTimeout("DEVICE_RESET", 5.0)
        return reset(self)

    monkeypatch.setattr(Device, "try_reset", third)
    assert restored(path, state).given.fate is Fate.SAME
    assert next(resets) == 2
