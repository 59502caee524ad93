# SPDX-License-Identifier: GPL-2.0-only
"""One run: starts pytest, follows its journal, ends it when a deadline passes, prints the result.

Whatever becomes of the test process, the journal gets an end, the host is put back as it was, and nothing is left
behind but the folder of the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TextIO

from ..profiles import Profile
from ..results import inflight, journal, summary, terminal
from .kernel_log import KernelLog
from .progress import Progress, show

#: pytest ends a test at its deadline; only a process that this does not reach is ended from here, so much later.
_GRACE = 3.0

#: Outside of tests (loading the suites, opening and closing the device) two tests' time is granted, and at least this.
_BETWEEN = 60.0

#: A process that was told to end, or said that it has, is given so long for it.
_ENDING = 10.0

#: A process that was killed is given so long to be gone before it is left behind.
_DYING = 5.0

_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LOG = "pytest.log"


class RunError(Exception):
    """The run could not be started; the message says why."""


def run(root: Path, profile: Profile, out: Path, options: Sequence[str], screen: TextIO, width: int) -> int:
    """Judge the device of ``profile`` by the suites of the checkout ``root``; exit code of the run.

    All that is found goes into the folder ``out``; ``options`` are handed on to pytest. A signal that asks this
    process to end ends the run as soon as the device is closed; the result is that of a run that could not go on.
    Raises RunError when ``out`` cannot be used or pytest refuses the options.
    """
    path = out / journal.NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise RunError(f"{out} already holds a run; name another folder with --out")
        log = (out / LOG).open("wb")
    except OSError as error:
        raise RunError(f"{out}: {error.strerror}; name another folder with --out") from None
    progress = Progress(screen, width)
    with log, contextlib.closing(_Watch(profile, out, path, progress)) as watch:
        with _interruptions() as interruptions, watch.pytest(root, options, log.fileno()) as (process, pipe):
            watch.follow(process, pipe, interruptions)
        progress.end()
        watch.conclude(process)
    result = summary.summarise(journal.read(path))
    result.stops += watch.unwritten
    show(screen, f"{terminal.render(result, width)}\njournal: {path}\n")
    return result.exit_code


@contextlib.contextmanager
def _interruptions() -> Iterator[int]:
    """A descriptor that gives the numbers of signals that ask this process to end, which then do not end it."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def tell(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, bytes([number]))

    # One that is ignored already (under nohup, in the background) stays so.
    before = {number: signal.getsignal(number) for number in _INTERRUPTIONS}
    before = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, tell)
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


class _Watch:
    """Follows one pytest process."""

    def __init__(self, profile: Profile, out: Path, path: Path, progress: Progress) -> None:
        self._profile = profile
        self._out = out
        self._path = path
        self._progress = progress
        self._inflight = inflight.create()
        self._kernel, self._blind = _kernel_log(profile)
        self._case: str | None = None
        self._since = time.monotonic()
        self._planned = False
        #: Why there is nothing more to come; the journal says so already.
        self._over = ""
        #: When the process, which has said that it ends or was told to, is to be gone.
        self._gone_by: float | None = None
        #: Files of the host that the run has changed, and what they held.
        self._changed: dict[str, str] = {}
        #: Records that the journal did not take.
        self.unwritten: list[journal.Record] = []

    @contextlib.contextmanager
    def pytest(self, root: Path, options: Sequence[str], log: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """The process, and the end of the pipe on which its events arrive; it is ended with the block."""
        # What a process that was killed leaves in the folder for temporary files is removed with the folder.
        with tempfile.TemporaryDirectory(prefix="vfio-", ignore_cleanup_errors=True) as scratch:
            reading, writing = os.pipe()
            command = [sys.executable, "-m", "pytest", "-q", "--tb=native", "-p", "no:cacheprovider"]
            command += [f"--rootdir={root}", "-c", str(root / "tox.ini"), str(root / "suites")]
            command += [f"--profile={self._profile.path}", f"--journal={self._path}"]
            command += [f"--progress-fd={writing}", f"--inflight-fd={self._inflight}", *options]
            # What somebody set for runs of pytest of their own is not meant for this one.
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writing, self._inflight],
                start_new_session=True,
                env=environment | {"TMPDIR": scratch},
            )
            os.close(writing)
            try:
                yield process, reading
            finally:
                os.close(reading)
                _kill(process)

    def follow(self, process: subprocess.Popen[bytes], pipe: int, interruptions: int) -> None:
        """Until the process ends, or does not end by a deadline."""
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(interruptions, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(max(self._deadline() - time.monotonic(), 0))}
                if interruptions in ready:
                    if self._gone_by is not None:
                        return
                    self._interrupt(process, os.read(interruptions, 1)[0])
                elif pipe in ready:
                    data = os.read(pipe, 1 << 16)
                    if not data:
                        _await_exit(process)
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self._take(json.loads(line))
                else:
                    if self._gone_by is None:
                        self._hang(process)
                    return

    def conclude(self, process: subprocess.Popen[bytes]) -> None:
        """Give the host back what the process could not, and the journal its end. Raises RunError without a journal."""
        for path, before in self._changed.items():
            self._restore(Path(path), before)
        if not self._planned:
            raise RunError(self._over or _last_words(self._out / LOG))
        if not self._over:
            code = process.returncode
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            self._end("broken", f"the test process ended early, by {how}, in {self._where()}", f"see {self._out / LOG}")
        if self._kernel:
            self._look_at(self._kernel)

    def close(self) -> None:
        """Let go of what the watch was kept with."""
        os.close(self._inflight)
        if self._kernel:
            self._kernel.close()

    def _take(self, record: journal.Record) -> None:
        event = record["event"]
        self._since = time.monotonic()
        if event == "plan":
            self._planned = True
            if self._blind:
                self._write("note", text=self._blind)
        elif event == "start":
            self._case = record["case"]
        elif event == "end":
            if self._kernel:
                self._look_at(self._kernel)
            self._case = None
        elif event == "changed":
            self._changed[record["path"]] = record["before"]
        elif event == "restored":
            del self._changed[record["path"]]
        elif event == "unwritten":
            self._over = record["message"]
            self.unwritten.append(record)
        elif event == "finish":
            self._over = self._over or "finished"
            self._gone_by = self._since + _ENDING
        self._progress.show(record)

    def _deadline(self) -> float:
        if self._gone_by is not None:
            return self._gone_by
        limit = self._profile.limits.test
        return self._since + (max(2 * limit, _BETWEEN) if self._case is None else limit + _GRACE)

    def _look_at(self, kernel: KernelLog) -> None:
        if lines := kernel.complaints():
            self._write("kernel", case=self._case, lines=lines)

    def _interrupt(self, process: subprocess.Popen[bytes], number: int) -> None:
        self._end(
            "broken",
            f"interrupted by {signal.Signals(number).name} in {self._where()}",
            "run again, into another folder",
        )
        self._gone_by = time.monotonic() + _ENDING
        process.send_signal(signal.SIGTERM)

    def _hang(self, process: subprocess.Popen[bytes]) -> None:
        self._end(
            "hang",
            f"no progress before the deadline (limits.test in {self._profile.path}): {self._where()}",
            "find out why the call does not return, or raise the limit if the device is only slow",
            case=self._case,
            call=inflight.last(self._inflight),
            process={name: _proc(process.pid, name) for name in ("wchan", "stack", "syscall", "status")},
        )

    def _where(self) -> str:
        """The case under way, and the last call that was made."""
        call = inflight.last(self._inflight)
        case = self._case or "no case"
        if call is None:
            return f"{case}, before any call"
        what = f"{call['verb']} on {call['target']}"
        if call["verb"] in ("read", "write"):
            what = f"{call['verb']} of {call['length']} bytes at 0x{call['number']:x} of {call['target']}"
        elif call["verb"] == "ioctl":
            what = f"{call['verb']} 0x{call['number']:x} on {call['target']}"
        return f"{case}, last call {what}, {call['seconds']} s ago"

    def _end(self, event: str, message: str, remedy: str, **fields: object) -> None:
        """Say why there is nothing more to come, in the journal if there is one."""
        self._over = message
        if self._planned:
            self._write(event, message=message, remedy=remedy, **fields)

    def _restore(self, path: Path, before: str) -> None:
        try:
            path.write_text(f"{before}\n")
            self._write("restored", path=str(path))
        except OSError as error:
            self._write("note", text=f"{path} could not be set back to {before!r}: {error.strerror}")

    def _write(self, event: str, **fields: object) -> None:
        try:
            with journal.Journal(self._path) as appended:
                appended.write(event, **fields)
        except journal.JournalError as error:
            self.unwritten.append({"message": str(error), "remedy": journal.REMEDY})


def _kernel_log(profile: Profile) -> tuple[KernelLog | None, str]:
    """The kernel's log where a kernel judges; else why it is not watched, if that is worth a note."""
    if profile.device.transport == "vfio-user":
        return None, ""
    try:
        return KernelLog(), ""
    except (OSError, ValueError) as error:
        return None, f"the kernel's log was not watched: {error}; run as root to have it watched"


def _last_words(log: Path) -> str:
    """What pytest said last: its own complaint where there is one."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    complaints = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "\n".join(complaints or [f"pytest did not start; the end of {log}:", *lines[-20:]])


def _proc(pid: int, name: str) -> str:
    try:
        return Path("/proc", str(pid), name).read_text()
    except OSError as error:
        return f"not readable: {error.strerror}"


def _await_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait for the process to exit, without taking note: its number stays its own until it is waited for."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(_ENDING * 1000)
    finally:
        os.close(descriptor)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started; one that cannot die is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_DYING)
