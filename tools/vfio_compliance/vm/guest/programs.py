# SPDX-License-Identifier: GPL-2.0-only
"""Programs that the guest runs: for its set-up, and the host's commands."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO

_NO_SUCH_COMMAND = 127

#: Seconds to copy the end of a command's output.
_DRAIN = 5.0

#: Seconds that a set-up program may take.
PATIENCE = 60.0

#: Lines of a program's output that a complaint quotes.
_LAST = 8


def which(tool: str) -> str:
    """The path of a tool; a guest's PATH may lack the system's folders."""
    return shutil.which(tool) or f"/sbin/{tool}"


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something becomes true within this many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def do(program: list[str], cwd: str | None = None, seconds: float = PATIENCE) -> str:
    """Runs a program; returns its complaint, or nothing. One that does not end in time is killed, or left behind."""
    pipe, stdout = subprocess.PIPE, subprocess.STDOUT
    try:
        child = subprocess.Popen(
            program, cwd=cwd, stdin=subprocess.DEVNULL, stdout=pipe, stderr=stdout, start_new_session=True
        )
    except OSError as error:
        return f"{program[0]}: {error.strerror}"
    said = bytearray()
    reading = threading.Thread(target=_take, args=(child.stdout, said), daemon=True)
    reading.start()
    try:
        code = child.wait(seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        return "\n".join([f"it did not end within {seconds:.0f} s", *_last_lines(said)])
    reading.join(_DRAIN if code else 0.2)  # a process that it left running may hold the pipe open
    if code == 0:
        return ""
    return "\n".join(_last_lines(said)) or (f"exit {code}" if code > 0 else f"signal {-code}")


def _last_lines(said: bytearray) -> list[str]:
    return bytes(said).decode(errors="replace").strip().splitlines()[-_LAST:]


def _take(source: IO[bytes], into: bytearray) -> None:
    with source:
        while data := os.read(source.fileno(), 1 << 16):
            into += data
            del into[: -(1 << 16)]


def run(command: list[str], cwd: str) -> int:
    """Runs a command whose output is the guest's; returns its exit code, 127 if there is no such command."""
    pipe, stdout = subprocess.PIPE, subprocess.STDOUT
    try:
        child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=pipe, stderr=stdout)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        return _NO_SUCH_COMMAND
    copying = threading.Thread(target=_copy, args=(child.stdout,), daemon=True)
    copying.start()
    code = child.wait()
    copying.join(_DRAIN)  # a process that the command left running may hold the pipe open
    return code if code >= 0 else 128 - code


def _copy(source: IO[bytes]) -> None:
    """Copy all to standard output. Its port takes at most 32 KiB per write; unbuffered Python drops the rest."""
    with source:
        while data := os.read(source.fileno(), 1 << 16):
            while data:
                data = data[os.write(1, data) :]
