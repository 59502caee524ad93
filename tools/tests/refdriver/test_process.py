# SPDX-License-Identifier: GPL-2.0-only
"""The server as a process: options, socket, signals, and one client after another."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from raw_client import DEADLINE, MIGRATION, STATE, TOOLS, Client, Server

from refdriver.defects import DEFECTS


def run(*arguments: str, fd: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the server until it exits."""
    return subprocess.run(
        [sys.executable, "-m", "refdriver", *arguments],
        cwd=TOOLS,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        pass_fds=() if fd is None else (fd,),
        check=False,
    )


def test_starts_soon_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    """The socket is there soon after the start; after SIGTERM it exits with 0, silently, and removes the file."""
    with Server(tmp_path) as server:
        print(f"listening after {server.start_time * 1000:.0f} ms")
        with server.client() as client:
            assert client.state() == 1
            assert server.end() == (0, "")
    assert not os.path.exists(server.path)


def test_does_not_remove_a_file_that_replaced_its_socket(tmp_path: Path) -> None:
    """The file is removed only if it is the one that the server made."""
    with Server(tmp_path) as server:
        os.unlink(server.path)
        Path(server.path).touch()
        assert server.end() == (0, "")
    assert os.path.exists(server.path)


def test_replaces_the_socket_of_a_dead_server(tmp_path: Path) -> None:
    """A socket file without a listener is replaced."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))
    with Server(tmp_path) as server:
        assert server.serves()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("busy", "in use"), ("none/here", "No such file"), ("x" * 200, "too long")],
    ids=["busy", "no folder", "too long"],
)
def test_one_line_says_why_it_cannot_listen(tmp_path: Path, path: str, reason: str) -> None:
    """Exit status 2, and a line with the path and the reason."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "busy"))
        other.listen()
        ended = run(f"--socket-path={tmp_path / path}")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert path in ended.stderr
    assert reason in ended.stderr


def test_fd_serves_one_client() -> None:
    """When the client leaves, the server exits with 0."""
    ours, theirs = socket.socketpair()
    with theirs, Client(ours) as client:
        process = subprocess.Popen(
            [sys.executable, "-m", "refdriver", f"--fd={theirs.fileno()}"],
            cwd=TOOLS,
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        client.greet()
        assert client.state() == 1
    assert process.wait(timeout=DEADLINE) == 0


def test_fd_must_be_a_socket() -> None:
    """For anything else, exit status 2 and one line."""
    ended = run("--fd=2")
    assert ended.returncode == 2
    assert "descriptor 2" in ended.stderr


def test_keeps_the_state_for_the_next_client(server: Server) -> None:
    """Registers are kept; device_state and the DMA stream are not."""
    with server.client() as first:
        first.reset()
        first.put(0, 0x28, 8, 7)
        first.put(0, 0x04, 4, 1)
        first.go(0)
    with server.client() as second:
        assert second.state() == 1
        assert second.get(0, 0x28, 8) == 7
        assert second.get(0, 0x04, 4) == 0


def test_leaks_no_descriptor(server: Server) -> None:
    """It has the same number open after ten clients with mappings as after one."""
    counts = set()
    for _ in range(10):
        with server.client() as client:
            memory = os.memfd_create("guest")
            os.ftruncate(memory, 8192)
            assert client.try_map(0, 8192, memory) == 0
            assert client.call(8, bytes(20), (memory, memory, memory))[0]
            assert client.try_read(MIGRATION, STATE, 4)[0] == 0
            os.close(memory)
        with server.client() as client:
            counts.add(len(os.listdir(f"/proc/{server.process.pid}/fd")))
    assert len(counts) == 1


def test_lists_its_defects() -> None:
    """--list-defects prints each name with a sentence."""
    lines = run("--list-defects").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(DEFECTS)
    assert all(len(line.split()) > 3 for line in lines)


def test_suggests_the_nearest_defect(tmp_path: Path) -> None:
    """For an unknown name, exit status 2."""
    ended = run(f"--socket-path={tmp_path / 's'}", "--defect=stop-lat")
    assert ended.returncode == 2
    assert ended.stderr == "refdriver: no defect is called 'stop-lat'; did you mean 'stop-late'?\n"


@pytest.mark.parametrize("arguments", [(), ("--socket-path=/x", "--fd=3")], ids=["none", "both"])
def test_requires_exactly_one_of_socket_path_and_fd(arguments: tuple[str, ...]) -> None:
    """Exit status 2 for neither and for both."""
    ended = run(*arguments)
    assert ended.returncode == 2
    assert "--socket-path" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("--memory=-1",), "memory"),
        (("--memory=2147483649",), "memory"),
        (("--section=4096",), "section"),
        (("--section=0",), "section"),
        (("--section=536870912",), "section"),
        (("--buffer=7",), "buffer"),
        (("--buffer=16385",), "buffer"),
        (("--slow=-1",), "slow"),
        (("--slow-reset=10000001",), "slow-reset"),
        (("--slow-transition=-1",), "slow-transition"),
    ],
    ids=lambda value: "".join(value),
)
def test_refuses_numbers_out_of_bounds(tmp_path: Path, arguments: tuple[str, ...], culprit: str) -> None:
    """Exit status 2, and a line with the option and its bounds."""
    ended = run(f"--socket-path={tmp_path / 's'}", *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"refdriver: --{culprit}={arguments[0].partition('=')[2]}: must be ")


def test_starts_with_every_defect(tmp_path: Path) -> None:
    """With all of them at once, the server serves."""
    with Server(tmp_path, *(f"--defect={name}" for name in DEFECTS)) as server, server.client() as client:
        assert client.get(0, 0, 4) == 0x314D4656
