# SPDX-License-Identifier: GPL-2.0-only
"""Servers that the suite starts: how they start, stay, fail, and always end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from vfio_compliance.transport import CallTimeout, Death, PeerGone, SetupError, VfioUser, VfioUserSettings
from vfio_compliance.transport.vfio_user.process import HUNG_PATIENCE

TINY = str(Path(__file__).parents[1] / "servers/tiny.py")

Start = Callable[..., VfioUser]


@pytest.fixture
def client() -> Iterator[Start]:
    """A function that makes a client for a command, by default of the tiny server with a behaviour."""
    made: list[VfioUser] = []

    def make(
        behaviour: str = "serve",
        command: tuple[str, ...] | None = None,
        path: str | None = None,
        deadline: float = 10.0,
        start: float = 10.0,
    ) -> VfioUser:
        command = command or ("{python}", "-S", "-E", TINY, behaviour, "{socket}")
        made.append(VfioUser(VfioUserSettings(path, command, deadline, start)))
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


def _who(client: VfioUser) -> tuple[int, int]:
    """The server's process, and its number of earlier clients."""
    outcome, data = client.read(0, 0, 8)
    assert outcome.ok
    pid, served = struct.unpack("<II", data)
    return pid, served


def _ended(pidfd: int, seconds: float = 5) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def test_server_stays_when_the_device_is_closed_and_opened(client: Start) -> None:
    """The next open is its next client; shutdown ends it and removes its folder."""
    device = client()
    device.open()
    pid, served = _who(device)
    assert served == 0
    device.close()
    device.open()
    assert _who(device) == (pid, 1)
    assert device.starts == 1
    folder = Path(device._process.path).parent  # type: ignore[union-attr]
    assert folder.stat().st_mode & 0o77 == 0
    pidfd = os.pidfd_open(pid)
    device.shutdown()
    assert _ended(pidfd, 0)
    os.close(pidfd)
    assert not folder.exists()
    device.open()
    assert _who(device)[0] != pid


def test_dead_server_is_started_again(client: Start) -> None:
    """How it died is kept for the report."""
    device = client()
    device.open()
    pid, _ = _who(device)
    device.close()
    os.kill(pid, signal.SIGABRT)
    pidfd = os.pidfd_open(pid)
    assert _ended(pidfd)
    os.close(pidfd)
    device.open()
    assert _who(device)[1] == 0
    assert device.starts == 2
    assert device.take_deaths() == [
        Death("the server", "was killed by SIGABRT, without output", "between two connections", asked=False)
    ]


def test_server_for_one_client_is_started_again(client: Start) -> None:
    """A server may exit when its client leaves."""
    device = client("once")
    for _ in range(3):
        device.open()
        assert _who(device)[1] == 0
        device.close()
    assert device.starts == 3


def test_crash_is_reported_with_signal_and_last_line(client: Start) -> None:
    """By PeerGone; the next open starts another server."""
    device = client("crash")
    device.open()
    with pytest.raises(PeerGone, match="it was killed by SIGSEGV; its last line was: about to crash"):
        device.read(0, 0, 8)
    device.close()
    device.open()
    assert device.starts == 2


def test_server_is_started_again_after_a_timeout(client: Start) -> None:
    """Its state is unknown."""
    device = client("silent", deadline=2)
    device.open()
    with pytest.raises(CallTimeout):
        device.read(0, 0, 8)
    device.close()
    device.open()
    assert device.starts == 2


def test_excessive_output_neither_blocks_nor_accumulates(client: Start) -> None:
    """The server may write any amount."""
    device = client("talkative")
    device.open()
    assert _who(device)[1] == 0
    assert len(device._process._tail) <= 16384  # type: ignore[union-attr]


def test_server_that_ignores_sigterm_is_killed(client: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a grace period."""
    monkeypatch.setattr("vfio_compliance.transport.vfio_user.process._STOP_DEADLINE", 0.2)
    device = client("stubborn")
    device.open()
    pidfd = os.pidfd_open(_who(device)[0])
    device.shutdown()
    assert _ended(pidfd, 0)
    os.close(pidfd)


# Deaths

SERVER = "the server"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers have ample time to die after their client leaves."""
    monkeypatch.setattr("vfio_compliance.transport.vfio_user.client._FAREWELL", 60.0)
    monkeypatch.setattr("vfio_compliance.transport.vfio_user.client._FAREWELLS", 60.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("end", "how"),
    [("SIGSEGV", "was killed by SIGSEGV"), ("SIGKILL", "was killed by SIGKILL"), ("3", "exited with status 3")],
)
def test_death_at_close_is_reported_once(client: Start, end: str, how: str) -> None:
    """A server dies while it cleans up after its client; the next open starts another one."""
    device = client(f"cleanup ends in {end}")
    device.open()
    device.close()
    assert device.take_deaths() == [
        Death(SERVER, f"{how}; its last line was: cleaning up", "when its client closed the connection", asked=False)
    ]
    device.open()
    assert device.starts == 2
    assert device.take_deaths() == []
    device.shutdown()
    assert len(device.take_deaths()) == 1
    assert len(device.deaths) == 2
    assert not device.remarks


@pytest.mark.usefixtures("patient")
def test_exit_with_the_client_is_a_remark(client: Start) -> None:
    """With status 0, once, however often it happens."""
    device = client("cleanup ends in 0")
    incarnations = set()
    for _ in range(3):
        device.open()
        incarnations.add(device.incarnation)
        device.close()
    device.shutdown()
    assert len(incarnations) == 3
    assert device.take_deaths() == []
    assert device.remarks == [
        "the server ends with its client: with status 0; another one is started for the next client"
    ]


def test_death_during_a_call_is_reported_once(client: Start) -> None:
    """With the call; neither closing nor reopening reports it again."""
    device = client("crash")
    device.open()
    with pytest.raises(PeerGone):
        device.read(0, 0, 8)
    death = Death(
        SERVER,
        "was killed by SIGSEGV; its last line was: about to crash",
        "during REGION_READ of 8 bytes at offset 0x0 of region 0",
        asked=True,
    )
    assert device.take_deaths() == [death]
    device.close()
    device.open()
    device.shutdown()
    assert device.deaths == [death]


def test_exit_with_status_0_during_a_connection_is_a_death(client: Start) -> None:
    """The connection was open, so the status does not matter."""
    device = client("leave")
    device.open()
    with pytest.raises(PeerGone):
        device.read(0, 0, 8)
    (death,) = device.take_deaths()
    assert death.how == "exited with status 0, without output"
    device.close()
    assert not device.remarks


def test_hang_up_is_reported(client: Start) -> None:
    """The server itself still runs."""
    device = client("hang up")
    device.open()
    with pytest.raises(PeerGone):
        device.read(0, 0, 8)
    (death,) = device.take_deaths()
    assert death.how.startswith("closed the connection; it (process ")
    device.shutdown()
    assert device.take_deaths() == []


def test_death_between_two_calls_is_noticed(client: Start) -> None:
    """By a check, before any call."""
    device = client()
    device.open()
    pid, _ = _who(device)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGBUS)
    assert _ended(pidfd)
    os.close(pidfd)
    assert device.take_deaths() == [
        Death(SERVER, "was killed by SIGBUS, without output", "while its client was connected", asked=True)
    ]
    with pytest.raises(PeerGone):
        device.read(0, 0, 8)
    device.close()
    assert device.take_deaths() == []


def test_crash_on_sigterm_is_reported(client: Start) -> None:
    """The SIGTERM is ours, the crash is not."""
    device = client("upset by the end")
    device.open()
    device.shutdown()
    assert device.take_deaths() == [
        Death(SERVER, "was killed by SIGSEGV, without output", "when it was asked to end", asked=False)
    ]


def test_our_sigterm_is_not_a_death(client: Start) -> None:
    """The server ends when it is asked to."""
    device = client(deadline=1)
    device.open()
    device.shutdown()
    assert device.deaths == []


def test_our_sigkill_is_not_a_death(client: Start) -> None:
    """The server did not answer."""
    device = client("silent", deadline=1)
    device.open()
    with pytest.raises(CallTimeout):
        device.read(0, 0, 8)
    device.shutdown()
    assert device.deaths == []


@pytest.mark.usefixtures("patient")
def test_death_of_the_second_server_names_it(client: Start) -> None:
    """The first one has no death."""
    first = client()
    second = VfioUser(client("cleanup ends in SIGSEGV").settings, first)
    second.open()
    second.close()
    (death,) = second.take_deaths()
    assert death.who == "the second server"
    assert first.take_deaths() == []
    second.shutdown()


def test_recovery_from_a_hung_server_is_quick(client: Start) -> None:
    """It is ended even if it ignores SIGTERM, and another one serves."""
    device = client("silent and stubborn", deadline=1)
    device.open()
    hung = device.incarnation
    pidfd = os.pidfd_open(hung)
    with pytest.raises(CallTimeout):
        device.read(0, 0, 8)
    assert HUNG_PATIENCE <= 0.5
    device.close()
    assert _ended(pidfd, 0)
    os.close(pidfd)
    device.open()
    assert device.incarnation != hung
    assert device.deaths == []


def test_server_that_never_listened_is_not_reported_twice(client: Start) -> None:
    """The failed open has reported how it ended."""
    device = client("exit")
    with pytest.raises(SetupError):
        device.open()
    assert device.take_deaths() == []


def test_incarnation_is_the_servers_process(client: Start) -> None:
    """The same as long as it serves."""
    device = client()
    assert device.incarnation == 0
    device.open()
    assert device.incarnation == _who(device)[0]
    first = device.incarnation
    device.close()
    device.open()
    assert device.incarnation == first
    device.shutdown()
    device.open()
    assert device.incarnation != first


def test_server_known_only_by_its_socket_closes_the_connection(tmp_path: Path) -> None:
    """Its exit status is unknown."""
    path = tmp_path / "device.sock"
    server = subprocess.Popen([sys.executable, "-S", "-E", TINY, "hang up", str(path)])
    device = VfioUser(VfioUserSettings(str(path), None, 10.0, 10.0))
    while not device.is_open:
        assert server.poll() is None
        with contextlib.suppress(SetupError):  # it does not listen yet
            device.open()
    with pytest.raises(PeerGone):
        device.read(0, 0, 8)
    assert device.take_deaths() == [
        Death(SERVER, "closed the connection", "during REGION_READ of 8 bytes at offset 0x0 of region 0", asked=True)
    ]
    assert device.incarnation == server.pid
    device.close()
    assert device.take_deaths() == []
    server.kill()
    server.wait()


# Failures to start


def test_server_that_exits_is_reported_with_status_and_last_line(client: Start) -> None:
    """Long before the deadline."""
    began = monotonic()
    with pytest.raises(SetupError, match="exited with status 3; its last line was: no such device: 12") as caught:
        client("exit", start=60).open()
    assert monotonic() - began < 20
    assert "run it by hand" in caught.value.remedy


def test_server_that_never_listens_is_reported(client: Start) -> None:
    """With the socket that it should listen on."""
    with pytest.raises(SetupError, match=r"runs, but does not listen on .*; its last line was: listening elsewhere"):
        client("deaf", start=3).open()


@pytest.mark.parametrize("command", ["no-such-command-anywhere", "/no/such/file"])
def test_missing_command_is_reported(client: Start, command: str) -> None:
    """By the name that was not found."""
    with pytest.raises(SetupError, match=f"{command} was not found"):
        client(command=(command, "{socket}")).open()


def test_command_that_cannot_be_run_is_reported(client: Start, tmp_path: Path) -> None:
    """A file that is not executable, and one that is executable but not a program."""
    script = tmp_path / "server"
    script.write_text("exit 0\n")
    with pytest.raises(SetupError, match="may not be executed") as caught:
        client(command=(str(script),)).open()
    assert "chmod +x" in caught.value.remedy
    script.chmod(0o755)
    with pytest.raises(SetupError, match=r"cannot be run: .*Exec format error"):
        client(command=(str(script),)).open()


def test_command_may_contain_the_project(client: Start) -> None:
    """The three words in braces are replaced anywhere."""
    server = "{project}/tools/tests/servers/tiny.py"
    device = client(command=("{python}", "-S", "-E", server, "serve", "{socket}"))
    device.open()
    assert _who(device)[1] == 0


# The socket's path


def test_stale_socket_is_removed(client: Start, tmp_path: Path) -> None:
    """It has no listener any longer."""
    path = tmp_path / "device.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    device = client(path=str(path))
    device.open()
    assert _who(device)[1] == 0


def test_socket_in_use_is_left_alone(client: Start, tmp_path: Path) -> None:
    """Its device would be judged instead of the one that the command starts."""
    path = tmp_path / "device.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(SetupError, match="another program already listens"):
            client(path=str(path)).open()
    assert path.exists()


def test_file_other_than_a_socket_is_left_alone(client: Start, tmp_path: Path) -> None:
    """It may be the user's."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(SetupError, match="is not a socket"):
        client(path=str(path)).open()
    assert path.read_text() == "data"


# The end of the suite

PROGRAM = """
import sys, os
from vfio_compliance.transport import VfioUser, VfioUserSettings
device = VfioUser(VfioUserSettings(None, tuple(sys.argv[2:]), 10.0, 10.0))
device.open()
print(int.from_bytes(device.read(0, 0, 8)[1][:4], "little"), device._process.path, flush=True)
sys.stdin.readline()
if sys.argv[1] == "fork":
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    print(device.read(0, 0, 8)[0].value, flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def _suite(what: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The program above, and the folder of its server's socket; at the end, both processes must have ended."""
    command = [sys.executable, "-c", PROGRAM, what, sys.executable, "-S", "-E", TINY, "serve", "{socket}"]
    suite = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert suite.stdout is not None
    pid, path = suite.stdout.readline().split()
    pidfd = os.pidfd_open(int(pid))
    yield suite, Path(path).parent
    suite.communicate(timeout=60)
    assert _ended(pidfd)
    os.close(pidfd)


def test_server_ends_with_the_suite() -> None:
    """Although the suite does not shut it down."""
    with _suite("exit") as (_, folder):
        pass
    assert not folder.exists()


def test_server_survives_the_end_of_a_fork() -> None:
    """It ends with the suite."""
    with _suite("fork") as (suite, folder):
        assert suite.stdin is not None
        assert suite.stdout is not None
        suite.stdin.write("\n")
        suite.stdin.flush()
        assert suite.stdout.readline() == "8\n"
    assert not folder.exists()


def test_server_ends_when_the_suite_is_killed() -> None:
    """Only its folder is left."""
    with _suite("kill") as (suite, folder):
        suite.kill()
    assert folder.exists()
    for left in folder.glob("*"):
        left.unlink()
    folder.rmdir()
