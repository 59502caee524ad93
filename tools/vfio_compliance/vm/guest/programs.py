# SPDX-License-Identifier: GPL-2.0-only
"""Programs that the guest runs: those that set it up, and the commands of the host."""

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

#: Seconds for the last of a command's output to be copied.
_DRAIN = 5.0

#: Seconds that a program may take which sets something up.
PATIENCE = 60.0

#: Lines of a program's output that a complaint quotes.
_LAST = 8


def which(tool: str) -> str:
    """Where a tool lies; a guest's PATH may lack the folders of the system."""
    return shutil.which(tool) or f"/sbin/{tool}"


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def do(program: list[str], cwd: str | None = None, seconds: float = PATIENCE) -> str:
    """Runs a program; gives its complaint, or nothing. One that does not end in time is killed, or left behind."""
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
    reading.join(_DRAIN if code else 0.2)  # whoever it left running may hold its end open
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
    """Runs a command whose output is that of the guest; its exit code, 127 where there is no such command."""
    pipe, stdout = subprocess.PIPE, subprocess.STDOUT
    try:
        child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=pipe, stderr=stdout)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        return _NO_SUCH_COMMAND
    copying = threading.Thread(target=_copy, args=(child.stdout,), daemon=True)
    copying.start()
    code = child.wait()
    copying.join(_DRAIN)  # whoever the command left running may hold its end open
    return code if code >= 0 else 128 - code


def _copy(source: IO[bytes]) -> None:
    """Copy all to standard output. Its port takes at most 32 KiB of a write; Python, unbuffered, drops the rest."""
    with source:
        while data := os.read(source.fileno(), 1 << 16):
            while data:
                data = data[os.write(1, data) :]
