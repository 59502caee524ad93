# SPDX-License-Identifier: GPL-2.0-only
"""Servers that the suite starts: how they come up, stay, fail, and always end."""

from __future__ import annotations

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

from vfio_compliance.transport import CallTimeout, PeerGone, SetupError, VfioUser, VfioUserSettings

TINY = str(Path(__file__).with_name("tiny_server.py"))

Start = Callable[..., VfioUser]


@pytest.fixture
def client() -> Iterator[Start]:
    """Gives a function that makes a client for a command (of the tiny server, by its way)."""
    made: list[VfioUser] = []

    def make(
        way: str = "serve",
        command: tuple[str, ...] | None = None,
        path: str | None = None,
        deadline: float = 10.0,
        start: float = 10.0,
    ) -> VfioUser:
        command = command or ("{python}", "-S", "-E", TINY, way, "{socket}")
        made.append(VfioUser(VfioUserSettings(path, command, deadline, start)))
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


def _who(client: VfioUser) -> tuple[int, int]:
    """The server's process, and how many clients it had before this one."""
    outcome, data = client.read(0, 0, 8)
    assert outcome.ok
    pid, served = struct.unpack("<II", data)
    return pid, served


def _ended(pidfd: int, seconds: float = 5) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def test_closing_and_opening_keeps_the_server(client: Start) -> None:
    """The next open is the next client of the same server; shutdown ends it and removes its folder."""
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


def test_a_dead_server_is_started_again(client: Start) -> None:
    """And how it died is kept for the report."""
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
    assert device.deaths == ["was killed by SIGABRT, without a word"]
    assert "SIGABRT" in device.identity()["server deaths"]


def test_a_server_for_one_client_is_started_again(client: Start) -> None:
    """A server may exit when its client leaves."""
    device = client("once")
    for _ in range(3):
        device.open()
        assert _who(device)[1] == 0
        device.close()
    assert device.starts == 3


def test_a_crash_is_told_with_signal_and_last_words(client: Start) -> None:
    """PeerGone says how the server ended; the next open has a new one."""
    device = client("crash")
    device.open()
    with pytest.raises(PeerGone, match="it was killed by SIGSEGV; its last line was: about to crash"):
        device.read(0, 0, 8)
    device.close()
    device.open()
    assert device.starts == 2


def test_a_server_out_of_step_is_started_again(client: Start) -> None:
    """After a call timed out, the server's state is anybody's guess."""
    device = client("silent", deadline=2)
    device.open()
    with pytest.raises(CallTimeout):
        device.read(0, 0, 8)
    device.close()
    device.open()
    assert device.starts == 2


def test_output_beyond_bounds_neither_blocks_nor_piles_up(client: Start) -> None:
    """The server may write as much as it likes."""
    device = client("talkative")
    device.open()
    assert _who(device)[1] == 0
    assert len(device._process._tail) <= 16384  # type: ignore[union-attr]


def test_a_server_that_ignores_sigterm_is_killed(client: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a grace, without anybody's help."""
    monkeypatch.setattr("vfio_compliance.transport.vfio_user.process._STOP_DEADLINE", 0.2)
    device = client("stubborn")
    device.open()
    pidfd = os.pidfd_open(_who(device)[0])
    device.shutdown()
    assert _ended(pidfd, 0)
    os.close(pidfd)


# Failures to start


def test_a_server_that_exits_is_told_with_status_and_last_words(client: Start) -> None:
    """Long before the deadline."""
    began = monotonic()
    with pytest.raises(SetupError, match="exited with status 3; its last line was: no such device: 12") as caught:
        client("exit", start=60).open()
    assert monotonic() - began < 20
    assert "run it by hand" in caught.value.remedy


def test_a_server_that_never_listens_is_told(client: Start) -> None:
    """With the socket that it was to listen on."""
    with pytest.raises(SetupError, match=r"runs, but does not listen on .*; its last line was: listening elsewhere"):
        client("deaf", start=3).open()


@pytest.mark.parametrize("command", ["no-such-command-anywhere", "/no/such/file"])
def test_a_command_that_is_not_there_is_told(client: Start, command: str) -> None:
    """With the word that was looked for."""
    with pytest.raises(SetupError, match=f"{command} was not found"):
        client(command=(command, "{socket}")).open()


def test_a_command_that_is_no_program_is_told(client: Start, tmp_path: Path) -> None:
    """Not executable, and executable without being a program."""
    script = tmp_path / "server"
    script.write_text("exit 0\n")
    with pytest.raises(SetupError, match="may not be executed") as caught:
        client(command=(str(script),)).open()
    assert "chmod +x" in caught.value.remedy
    script.chmod(0o755)
    with pytest.raises(SetupError, match=r"cannot be run: .*Exec format error"):
        client(command=(str(script),)).open()


def test_a_command_may_name_the_project(client: Start) -> None:
    """The three words in braces are replaced wherever they stand."""
    server = "{project}/tools/tests/transport/tiny_server.py"
    device = client(command=("{python}", "-S", "-E", server, "serve", "{socket}"))
    device.open()
    assert _who(device)[1] == 0


# The socket's path


def test_a_stale_socket_is_cleared_away(client: Start, tmp_path: Path) -> None:
    """One that nobody listens on any more."""
    path = tmp_path / "device.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    device = client(path=str(path))
    device.open()
    assert _who(device)[1] == 0


def test_a_socket_in_use_is_left_alone(client: Start, tmp_path: Path) -> None:
    """The device behind it would be judged instead of the one that was to be started."""
    path = tmp_path / "device.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(SetupError, match="somebody already listens"):
            client(path=str(path)).open()
    assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(client: Start, tmp_path: Path) -> None:
    """It is somebody's."""
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


@pytest.mark.parametrize("end", ["exit", "fork", "kill"])
def test_no_server_outlives_the_suite(end: str) -> None:
    """Not when it ends without a word, not when it is killed; the end of a mere fork does nothing."""
    command = [sys.executable, "-c", PROGRAM, end, sys.executable, "-S", "-E", TINY, "serve", "{socket}"]
    suite = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert suite.stdin is not None
    assert suite.stdout is not None
    pid, path = suite.stdout.readline().split()
    pidfd = os.pidfd_open(int(pid))
    if end == "kill":
        suite.kill()
    elif end == "fork":
        suite.stdin.write("\n")
        suite.stdin.flush()
        assert suite.stdout.readline() == "8\n"
    suite.communicate(timeout=60)
    assert _ended(pidfd)
    os.close(pidfd)
    folder = Path(path).parent
    assert folder.exists() == (end == "kill")
    for left in folder.glob("*"):
        left.unlink()
    if folder.exists():
        folder.rmdir()
