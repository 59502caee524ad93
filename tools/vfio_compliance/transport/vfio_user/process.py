# SPDX-License-Identifier: GPL-2.0-only
"""A vfio-user server that the suite starts, and is sure to end."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from time import monotonic
from typing import IO, Final, NamedTuple

from ...common import processes
from ...common.project import PROJECT
from ...common.words import counted
from .. import libc
from ..errors import SetupError

#: The most bytes of the server's output that are kept.
TAIL: Final = 16 * 1024

#: sun_path of a UNIX socket address, less its NUL.
_LONGEST_PATH: Final = 107

#: Seconds from SIGTERM to SIGKILL, and from then until a server that cannot be killed is given up.
_STOP_DEADLINE: Final = 2.0

#: Seconds from SIGTERM to SIGKILL for a server that did not answer.
HUNG_PATIENCE: Final = 0.5

#: Seconds to wait for the exit of a server that hung up.
_EXIT_GRACE: Final = 0.3

#: Seconds between two checks of whether a server has noticed that its client left.
_LOOK: Final = 0.001

#: Seconds between two attempts to connect to a server that is starting; its exit ends the wait.
_RETRY: Final = 0.002


def connect(path: str, deadline: float) -> socket.socket:
    """Connect to the socket at ``path``, by ``deadline`` (of ``time.monotonic``). Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A listener with a full queue blocks connect; this is the kernel's deadline for that.
        left = max(deadline - monotonic(), 0.001)
        timeval = struct.pack("@ll", int(left), int(left % 1 * 1e6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def check_path(path: str) -> None:
    """Raises SetupError if no socket can have this path."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise SetupError(
            f"the socket's path has {counted(len(os.fsencode(path)), 'byte')}, and a UNIX socket takes at most"
            f" {_LONGEST_PATH}: {path}",
            "choose a shorter path (or a shorter TMPDIR)",
        )


class End(NamedTuple):
    """How a server ended: the number of the signal that ended it, or its exit status."""

    signal: int
    status: int

    @property
    def clean(self) -> bool:
        """Whether it exited by itself, with status 0."""
        return not self.signal and not self.status

    @property
    def crashed(self) -> bool:
        """Whether a signal other than those of stop() ended it."""
        return self.signal not in (0, signal.SIGTERM, signal.SIGKILL)

    def __str__(self) -> str:
        if not self.signal:
            return f"exited with status {self.status}"
        named = self.signal in set(signal.Signals)  # most real-time signals have no name
        return f"was killed by {signal.Signals(self.signal).name if named else f'signal {self.signal}'}"


class _Patience:
    """Seconds from SIGTERM to SIGKILL."""

    seconds = _STOP_DEADLINE


class ServerProcess:
    """A running server. Creating one starts it; raises SetupError if the command cannot be run.

    It gets its own session, so that a Ctrl-C meant for the suite does not reach it, and is killed when the
    thread that started it ends, however that happens. ``{socket}``, ``{python}`` and ``{project}`` in the
    command stand for the socket's path, this interpreter and the directory of the project.
    """

    def __init__(self, command: Sequence[str], path: str | None) -> None:
        folder = None
        if path is None:
            folder = tempfile.mkdtemp(prefix="vfio-compliance-")
            path = os.path.join(folder, "device.sock")
        try:
            check_path(path)
            if folder is None:
                clear(path)
            self.path = path
            self.command = [_fill(word, path) for word in command]
            process = _start(self.command)
        except BaseException:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        self.pid = process.pid
        #: Whether a client was ever connected, and whether the server's end was reported.
        self.served = self.reported = False
        self._process = process
        self._patience = _Patience()
        self._pidfd = os.pidfd_open(process.pid)
        self._tail = bytearray()
        assert process.stdout is not None
        self._reader = threading.Thread(
            target=_drain, args=(process.stdout, self._tail), daemon=True, name=f"output of {self.command[0]}"
        )
        self._reader.start()
        self._finish = weakref.finalize(
            self, _finish, process, self._pidfd, self._reader, folder, os.getpid(), self._patience
        )

    @property
    def stopped(self) -> bool:
        """True once stop() was called."""
        return not self._finish.alive

    @property
    def running(self) -> bool:
        """False once the server has exited."""
        return not self.stopped and not processes.exited(self._pidfd)

    def connect(self, deadline: float) -> socket.socket:
        """Connect, waiting up to ``deadline`` seconds for the server to listen. Raises SetupError."""
        end = monotonic() + deadline
        while True:
            try:
                return connect(self.path, end)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN):
                    raise SetupError(
                        f"cannot connect to the server's socket {self.path}: {error.strerror}",
                        f"see what {shlex.join(self.command)} does with its socket",
                    ) from None
            if processes.exited(self._pidfd, _RETRY):
                raise SetupError(
                    f"the server ended before it listened on {self.path}: it {self.epitaph()}",
                    f"run it by hand to see why: {shlex.join(self.command)}",
                )
            if monotonic() >= end:
                raise SetupError(
                    f"the server runs, but does not listen on {self.path} after {deadline:g} s{self._last_words()}",
                    "check that its command passes the path on ({socket} in the profile stands for it)",
                )

    @property
    def end(self) -> End | None:
        """How the server ended; None while it runs, or if it cannot be ended."""
        code = self._process.returncode
        if code is not None:
            return End(-min(code, 0), max(code, 0))
        if self.stopped:
            return None
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return End(0, ended.si_status) if ended.si_code == os.CLD_EXITED else End(ended.si_status, 0)

    def epitaph(self) -> str:
        """How the server ended, and its last line of output, as a clause without subject."""
        if not self.stopped:
            processes.exited(self._pidfd, _EXIT_GRACE)
        end = self.end
        if end is None:
            return f"(process {self.pid}) still runs{self._last_words()}"
        self._reader.join(_EXIT_GRACE)
        return f"{end}{self._last_words()}"

    def settle(self, seconds: float, pid: int) -> bool:
        """Wait until the server, process ``pid``, has dealt with its client's leaving; returns whether it still runs.

        That is when it has exited, or all its threads are waiting again: closing the connection has made the
        one that waited for the client ready to run. Waits at most ``seconds``, which a server that never waits uses up.
        """
        end = monotonic() + seconds
        while self.running:
            if not _busy(pid or self.pid) or monotonic() >= end:
                return not processes.exited(self._pidfd)
            processes.exited(self._pidfd, _LOOK)
        return False

    def stop(self, *, hung: bool = False) -> None:
        """End the server and its process group; a second call does nothing.

        A server that has ``hung`` gets little time to end by itself.
        """
        if hung:
            self._patience.seconds = HUNG_PATIENCE
        self._finish()

    def _last_words(self) -> str:
        lines = bytes(self._tail).decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), None)
        return ", without output" if last is None else f"; its last line was: {last[:300]}"


def _fill(word: str, path: str) -> str:
    return word.replace("{socket}", path).replace("{python}", sys.executable).replace("{project}", str(PROJECT))


def clear(path: str) -> None:
    """Remove the socket that an earlier server left at ``path``. Raises SetupError if it is anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise SetupError(f"the socket's path {path}: {error.strerror}", "choose another path") from None
    if not stat.S_ISSOCK(mode):
        raise SetupError(f"{path} exists and is not a socket", "choose another path for the socket")
    try:
        connect(path, monotonic()).close()
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError as error:
        raise SetupError(f"{path} exists already: {error.strerror}", "choose another path") from None
    else:
        raise SetupError(
            f"another program already listens on {path}",
            "end that server, or leave the command out of the profile to use it",
        )


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the kernel knew of the signal

    try:
        return processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
    except FileNotFoundError:
        raise SetupError(
            f"the server's command {command[0]} was not found",
            "install it, or correct device.command in the profile (names are looked up in PATH)",
        ) from None
    except PermissionError:
        raise SetupError(f"the server's command {command[0]} may not be executed", f"chmod +x {command[0]}") from None
    except (OSError, ValueError, IndexError) as error:
        raise SetupError(
            f"the server's command {command} cannot be run: {error}", "correct device.command in the profile"
        ) from None


def _drain(output: IO[bytes], tail: bytearray) -> None:
    # If it were not read, a talkative server would block on its own output.
    with output:
        while chunk := os.read(output.fileno(), 4096):
            tail += chunk
            del tail[:-TAIL]


def _busy(pid: int) -> bool:
    """Whether a thread of the process runs, or waits for the kernel to finish something."""
    try:
        for thread in os.scandir(f"/proc/{pid}/task"):
            with open(f"{thread.path}/stat", "rb") as stat_file:
                if stat_file.read().rpartition(b")")[2].split()[0] in b"RDXZ":
                    return True
    except OSError:  # a thread, or the process, is just ending
        return True
    return False


def _finish(
    process: subprocess.Popen[bytes],
    pidfd: int,
    reader: threading.Thread,
    folder: str | None,
    owner: int,
    patience: _Patience,
) -> None:
    if os.getpid() != owner:
        return  # a fork of the suite that ends must not take the server along
    processes.end(process, min(patience.seconds, _STOP_DEADLINE), _STOP_DEADLINE)
    os.close(pidfd)
    reader.join(_EXIT_GRACE)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
