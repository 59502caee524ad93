# SPDX-License-Identifier: GPL-2.0-only
"""One run: starts pytest, follows its journal, ends it when a deadline passes, prints the result."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from ..profiles import Profile
from ..results import inflight, journal, summary, terminal
from .kernel_log import KernelLog
from .progress import Progress

#: pytest ends a test at its deadline; only a process that this does not reach is ended from here, so much later.
_GRACE = 3.0

#: A process that was killed is given so long to be gone before it is left behind.
_DYING = 5.0

LOG = "pytest.log"


class RunError(Exception):
    """The run could not be started; the message says why."""


def run(root: Path, profile: Profile, out: Path, options: Sequence[str], screen: TextIO, width: int) -> int:
    """Judge the device of ``profile`` by the suites of the checkout ``root``; exit code of the run.

    All that is found goes into the folder ``out``; ``options`` are handed on to pytest. Raises RunError when
    ``out`` cannot be used or pytest refuses the options.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{out}: {error.strerror}") from None
    path = out / journal.NAME
    if path.exists():
        raise RunError(f"{out} already holds a run; name another folder with --out")
    progress = Progress(screen, width)
    watch = _Watch(profile, out, path, progress)
    with watch.pytest(root, options) as (process, pipe):
        watch.follow(process, pipe)
    progress.end()
    if not watch.planned and not watch.ended:
        raise RunError(_last_words(out / LOG))
    result = summary.summarise(journal.read(path))
    print(terminal.render(result, width), file=screen)
    print(f"journal: {path}", file=screen, flush=True)
    return result.exit_code


def _last_words(log: Path) -> str:
    """What pytest said last: its own complaint where there is one."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    complaints = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "\n".join(complaints or [f"pytest did not start; the end of {log}:", *lines[-20:]])


class _Watch:
    """Follows one pytest process."""

    def __init__(self, profile: Profile, out: Path, path: Path, progress: Progress) -> None:
        self._profile = profile
        self._out = out
        self._path = path
        self._progress = progress
        self._inflight = inflight.create()
        self._case: str | None = None
        self._case_since = self._run_since = time.monotonic()
        self.planned = False
        #: The journal came to an end of its own, or was given one.
        self.ended = False

    @contextlib.contextmanager
    def pytest(self, root: Path, options: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """The process, and the end of the pipe on which its events arrive."""
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "pytest", "-q", "--tb=native", "-p", "no:cacheprovider", f"--rootdir={root}"]
        command += ["-c", str(root / "tox.ini"), str(root / "suites"), f"--profile={self._profile.path}"]
        command += [f"--journal={self._path}", f"--progress-fd={writing}", f"--inflight-fd={self._inflight}", *options]
        with (self._out / LOG).open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writing, self._inflight],
                start_new_session=True,
            )
        os.close(writing)
        try:
            yield process, reading
        finally:
            os.close(reading)
            _kill(process)

    def follow(self, process: subprocess.Popen[bytes], pipe: int) -> None:
        """Until the process is gone or a deadline has passed."""
        kernel = self._kernel_log()
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(max(self._deadline() - time.monotonic(), 0)):
                    self._hang(process)
                    return
                data = os.read(pipe, 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(json.loads(line), kernel)
        code = process.wait()
        if self.planned and not self.ended:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self._write("broken", message=f"the test process ended early, {how}", remedy=f"see {self._out / LOG}")

    def _take(self, record: journal.Record, kernel: KernelLog | None) -> None:
        event = record["event"]
        if event == "plan":
            self.planned = True
        elif event == "start":
            self._case, self._case_since = record["case"], time.monotonic()
        elif event == "end":
            if kernel and (lines := kernel.complaints()):
                self._write("kernel", case=self._case, lines=lines)
            self._case = None
        elif event == "finish":
            self.ended = True
        self._progress.show(record)

    def _deadline(self) -> float:
        whole = self._run_since + self._profile.limits.run + _GRACE
        if self._case is None:
            return whole
        return min(whole, self._case_since + self._profile.limits.test + _GRACE)

    def _kernel_log(self) -> KernelLog | None:
        if self._profile.device.transport == "vfio-user":
            return None
        try:
            return KernelLog()
        except (OSError, ValueError) as error:
            self._write("note", text=f"the kernel's log was not watched: {error}; run as root to have it watched")
            return None

    def _hang(self, process: subprocess.Popen[bytes]) -> None:
        call = inflight.last(self._inflight)
        where = f"{self._case or 'no case'}, last call {call['verb']} on {call['target']}" if call else self._case
        limit = "limits.run" if self._case is None else "limits.test"
        self._write(
            "hang",
            case=self._case,
            call=call,
            process={name: _proc(process.pid, name) for name in ("wchan", "stack", "syscall", "status")},
            message=f"no progress before the deadline ({limit} in {self._profile.path}): {where}",
        )
        self.ended = True

    def _write(self, event: str, **fields: object) -> None:
        with journal.Journal(self._path) as appended:
            appended.write(event, **fields)


def _proc(pid: int, name: str) -> str:
    try:
        return Path("/proc", str(pid), name).read_text()
    except OSError as error:
        return f"not readable: {error.strerror}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started; one that cannot die is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_DYING)
