# SPDX-License-Identifier: GPL-2.0-only
"""The watcher, with misbehaving test processes."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import stories
from descriptors import same_descriptors

from vfio_compliance import profiles
from vfio_compliance.results import inflight, journal, reports
from vfio_compliance.results.events import Restored
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.sections import PROFILE
from vfio_compliance.watch import attempt, supervise
from vfio_compliance.watch.supervise import RunError

#: Begins the run as the plugin does; the test adds the rest.
BEGINNING = f"STORIES = {str(Path(stories.__file__).parent)!r}\n"
BEGINNING += """
import os, signal, subprocess, sys, time
from pathlib import Path
from vfio_compliance.results.events import Changed, Finish, Plan
from vfio_compliance.results.journal import Journal

sys.path.insert(0, STORIES)
from stories import first

def pytest_addoption(parser):
    for name in ("profile", "journal", "progress-fd", "inflight-fd", "clock-offset"):
        parser.addoption(f"--{name}")

def begin(config):
    opened = Journal(Path(config.getoption("--journal")), int(config.getoption("--progress-fd")))
    opened.write(first((), {}))
    opened.write(Plan(()))
    return opened

FINISH = Finish(calls=0, opens=0, resets=0, bytes_read=0, bytes_written=0, passes=0)

def pytest_configure(config):
"""


BRIEF = profiles.Limits(largest_state=1, call=0.1, test=0.1, run=0.1)


@pytest.fixture
def run(tmp_path: Path, project: Path) -> Callable[..., tuple[int, str]]:
    """Runs these lines in a test process under the watcher; returns the exit code and the output."""

    def start(*lines: str) -> tuple[int, str]:
        (tmp_path / "suites").mkdir()
        (tmp_path / "tox.ini").write_text("[pytest]\n")
        (tmp_path / "conftest.py").write_text(BEGINNING + "".join(f"    {line}\n" for line in lines))
        screen = io.StringIO()
        profile = profiles.load(project / "profiles/reference.yaml", PROFILE)
        with same_descriptors():
            code = supervise.run(tmp_path, profile, tmp_path / "out", [], screen, 100)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        return code, screen.getvalue()

    return start


def result(tmp_path: Path) -> Summary:
    """The result in the journal."""
    return summarise(journal.read(tmp_path / "out" / journal.NAME))


def test_the_host_is_restored(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """A change of the host that the test process left is undone, and the journal says so."""
    parameter = tmp_path / "parameter"
    parameter.write_text("as it was\n")
    code, text = run(
        f'begin(config).write(Changed("{parameter}", "as it was"))',
        f'Path("{parameter}").write_text("changed")',
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert parameter.read_text() == "as it was\n"
    lines = [line for line in journal.read(tmp_path / "out" / journal.NAME) if isinstance(line, journal.Recorded)]
    assert Restored(str(parameter)) in [line.event for line in lines]
    assert "the test process ended early, by signal SIGKILL, in no case, before any call" in " ".join(text.split())
    assert code == 2


def test_a_host_that_cannot_be_restored(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """This is reported, with the former value."""
    gone = tmp_path / "folder" / "parameter"
    run(f'begin(config).write(Changed("{gone}", "old"))', "os._exit(9)")
    assert f"{gone} could not be restored to 'old': No such file or directory" in result(tmp_path).notes


def test_complaint_of_pytest(run: Callable[..., tuple[int, str]]) -> None:
    """A run that pytest refuses does not begin, and only pytest's message is shown."""
    with pytest.raises(RunError, match=r"^do not do that$"):
        run("import pytest", 'raise pytest.UsageError("do not do that")')


def test_no_complaint(run: Callable[..., tuple[int, str]]) -> None:
    """Without a message, the end of the output is shown."""
    with pytest.raises(RunError, match=r"pytest did not start; the end of .*pytest.log:\nfarewell"):
        run('os.write(2, b"farewell\\n")', "os._exit(1)")


def test_results_are_readable_by_their_owner_alone(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """A saved state can contain secrets of a guest."""
    run("begin(config).write(FINISH)", "os._exit(0)")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [tmp_path / "out", *(tmp_path / "out").iterdir()]}
    assert modes == {"out": 0o700, journal.NAME: 0o600, supervise.LOG: 0o600, reports.NAME: 0o600}


def test_lingering(run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test process that finished but does not exit is killed, with its children; the result counts."""
    monkeypatch.setattr(attempt, "_ENDING", 0.5)
    code, _ = run(
        'sleeper = subprocess.Popen(["sleep", "600"])',
        f'Path("{tmp_path}/sleeper").write_text(str(sleeper.pid))',
        "begin(config).write(FINISH)",
        "time.sleep(600)",
    )
    assert code == 4
    assert not result(tmp_path).stops
    sleeper = Path("/proc", (tmp_path / "sleeper").read_text(), "stat")
    end = time.monotonic() + 60
    while sleeper.exists() and sleeper.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_no_progress_between_cases(run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The time between two cases is limited, too."""
    monkeypatch.setattr(attempt, "_BETWEEN", 5.0)  # a busy machine needs some of it to begin
    load = profiles.load
    monkeypatch.setattr(profiles, "load", lambda path, kind: dataclasses.replace(load(path, kind), limits=BRIEF))
    code, text = run("begin(config)", "time.sleep(600)")
    assert "no progress before the deadline" in text
    assert "no case, before any call" in " ".join(text.split())
    assert code == 3


class Chatter:
    """A log of the kernel that always has something new."""

    def __init__(self) -> None:
        self._file = os.eventfd(1)

    def fileno(self) -> int:
        return self._file

    def follow(self, process: object) -> None:
        pass

    def look(self, case: object, last: object) -> None:
        pass

    def over(self, case: object, last: object) -> list[str]:
        return []

    def close(self) -> None:
        os.close(self._file)


def test_a_driver_that_logs_without_end(run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not defer the deadline."""
    monkeypatch.setattr(supervise, "_kernel_log", lambda profile: (Chatter(), ""))
    monkeypatch.setattr(attempt, "_BETWEEN", 5.0)
    load = profiles.load
    monkeypatch.setattr(profiles, "load", lambda path, kind: dataclasses.replace(load(path, kind), limits=BRIEF))
    code, text = run("begin(config)", "time.sleep(600)")
    assert "no progress before the deadline" in text
    assert code == 3


def test_folder_for_temporary_files(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """The test process gets its own, which is removed at the end with everything in it."""
    run(
        "import tempfile",
        "folder = tempfile.mkdtemp()",
        f'Path("{tmp_path}/folder").write_text(folder)',
        "begin(config)",
        "os.kill(os.getpid(), signal.SIGKILL)",
    )
    assert not Path((tmp_path / "folder").read_text()).parent.exists()


def test_options_for_other_runs_of_pytest(
    run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's general options for pytest do not affect the suites."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    code, _ = run("begin(config).write(FINISH)", "os._exit(0)")
    assert code == 4


# -- while the device is given a state --------------------------------------------------------------------------------

MOVING = profiles.Limits(largest_state=1, call=0.1, test=0.2, run=600)

GIVING = (
    "from vfio_compliance.results.events import State, UNDER_WAY",
    "from vfio_compliance.results.inflight import Inflight",
    'opened = begin(config); opened.write(State("a driver", UNDER_WAY, ""))',
    'calls = Inflight(int(config.getoption("--inflight-fd"))); calls.begin("write", "region 9", 24, 8)',
)


@pytest.fixture
def giving(
    run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Summary]:
    """The result of a run whose test process runs these lines while the device is given a state."""
    load = profiles.load
    monkeypatch.setattr(profiles, "load", lambda path, kind: dataclasses.replace(load(path, kind), limits=MOVING))
    monkeypatch.setattr(attempt, "_BETWEEN", 1.0)

    def start(*lines: str) -> Summary:
        run(*GIVING, *lines)
        return result(tmp_path)

    return start


def test_a_call_that_does_not_return(giving: Callable[..., Summary]) -> None:
    """The answer about the state says so, and names the call."""
    summary = giving("time.sleep(600)")
    (state,) = summary.states.values()
    assert state.answer == "no: a call did not return"
    assert "write of 8 bytes at 0x18 of region 9" in state.seen
    assert not summary.stops


def test_a_process_that_dies(giving: Callable[..., Summary]) -> None:
    summary = giving("os.kill(os.getpid(), signal.SIGKILL)")
    (state,) = summary.states.values()
    assert state.answer == "no: the test process ended in it"
    assert "SIGKILL" in state.seen
    assert not summary.stops


def test_a_large_state(giving: Callable[..., Summary]) -> None:
    """It is not a hang as long as calls return, however long the transfer takes."""
    summary = giving(
        "for _ in range(30): time.sleep(0.1); calls.begin('write', 'region 9', 24, 8)",
        'opened.write(State("a driver", "yes, the same state", "7 values")); opened.write(FINISH); os._exit(0)',
    )
    assert [state.answer for state in summary.states.values()] == ["yes, the same state"]


def test_calls_without_end() -> None:
    """They are still bounded by limits.run."""
    descriptor = inflight.create()
    try:
        followed = attempt.Attempt(dataclasses.replace(MOVING, run=0.0), descriptor, lambda event: None)
        followed._started = True
        inflight.Inflight(descriptor).begin("write", "region 9", 24, 8)
        assert not followed._still_calls()
        followed._limits = MOVING
        assert followed._still_calls()
    finally:
        os.close(descriptor)
