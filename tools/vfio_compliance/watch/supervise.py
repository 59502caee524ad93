# SPDX-License-Identifier: GPL-2.0-only
"""One run: one test process after another until every case has its verdict, then the result.

Whatever happens to a test process, the next one runs the remaining cases, the journal gets an end, the host is
restored, and nothing is left behind except the folder of the run.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from ..common.screen import complain, show
from ..common.signals import interruptions
from ..common.words import printable
from ..profiles import Profile
from ..results import inflight, journal, reports
from ..results.conclusion import conclude
from ..results.events import (
    UNDER_WAY,
    Broken,
    Changed,
    End,
    Environment,
    Event,
    Finish,
    Hang,
    Lost,
    Note,
    Plan,
    Restored,
    Resumed,
    Start,
    State,
    Unwritten,
)
from ..results.failure import Stop
from ..results.handover import Handover
from ..results.kernel_log import UNWATCHED
from ..results.reading import summarise
from ..results.reports import Wanted
from ..results.summary import Summary
from ..results.verdict import EXIT_BROKEN, Verdict, worst_exit
from ..results.writers.terminal.printed import show_result
from .attempt import Attempt, Ending, How
from .folder import FolderError, claimed, scratch
from .kernel_log import KernelLog
from .made_with import MadeWith, keep
from .progress import Progress
from .reruns import Reruns
from .rest import Rest
from .resume import RunError, begun

__all__ = ["LOG", "RunError", "run"]

LOG = "pytest.log"

#: What a user can do about a call that does not return.
_HANG_REMEDY = "find out why the call does not return, or raise limits.test in the profile if the device is only slow"


#: Formatted with the number of a test process; the folder of the run follows.
_LEFT = "process {} sleeps in the kernel and cannot be ended; until it wakes, it holds its device and"


#: Options that do not apply to a rerun of a failure.
_OF_THIS_RUN = {"--only", "--exclude", "--shuffle", "--keep-data", "--state"}


@dataclass(frozen=True)
class Order:
    """How to run, in addition to the options of the test processes."""

    #: How many times all cases are run.
    rounds: int = 1
    #: Reports to write at the end.
    wanted: Sequence[Wanted] = ()
    #: Goes into journal and folder.
    made_with: MadeWith | None = None
    #: Continue the run in the folder, which ended early: what has a verdict is not judged again.
    resume: bool = False
    #: Show only the verdict.
    quiet: bool = False
    #: At the end, makes programs of what failed, given the folder of the run; each event goes into the journal.
    programs: Callable[[Summary, Path], Iterator[Event]] | None = None


def run(
    root: Path,
    profile: Profile,
    out: Path,
    options: Sequence[str],
    screen: TextIO,
    width: int,
    order: Order | None = None,
) -> int:
    """Judge the device of ``profile`` by the suites of the tree ``root``; exit code of the run.

    All results go into the folder ``out``; ``options`` are passed on to pytest. A test process that hangs or dies is
    followed by another one, which runs the rest. All of this is done in each round. After a single round, failing cases
    are run alone to see whether they fail again. A signal that asks this process to end ends the run once the device is
    closed; the result is that of a run that could not continue, as it is if a report cannot be written, which is
    reported on standard error. Raises RunError if ``out`` cannot be used or pytest refuses the options.
    """
    try:
        with claimed(out) as held:
            return _run(root, profile, out, options, screen, width, order or Order(), held)
    except FolderError as error:
        raise RunError(str(error)) from None


def _run(
    root: Path,
    profile: Profile,
    out: Path,
    options: Sequence[str],
    screen: TextIO,
    width: int,
    order: Order,
    held: int,
) -> int:
    path = out / journal.NAME
    resume, made_with = order.resume, order.made_with
    try:
        if path.exists() and not resume:
            raise RunError(f"{out} already holds a run; name another folder with --out")
        earlier = begun(path) if resume else None
        (out / LOG).touch(mode=0o600)
        log = (out / LOG).open("ab" if resume else "wb")
        if made_with and not resume:
            keep(made_with.files, out)
    except OSError as error:
        raise RunError(f"{out}: {error.strerror}; name another folder with --out") from None
    progress = Progress(io.StringIO() if order.quiet else screen, width)
    with (
        log,
        contextlib.closing(_Run(profile, out, path, progress, made_with and made_with.environment, [held])) as running,
    ):
        with interruptions() as interrupted:
            if earlier is not None:
                running.resume(earlier)
            running.cases(root, options, log.fileno(), interrupted, order.rounds)
            if running.rerun_pays:
                running.rerun(root, options, interrupted)
            if order.programs and running.came_to_its_end:
                running.make(order.programs)
        progress.end()
        running.conclude()
    result = summarise(journal.read(path))
    result.stops += [stop for stop in running.unwritten if stop not in result.stops]  # if they still fitted in
    complaints = [*reports.save(result, out, order.wanted)]
    for complaint in complaints:
        complain(complaint)
    if order.quiet:
        show(screen, f"{printable(str(conclude(result)))}\n")
    else:
        show_result(screen, result, width, str(path))
    return worst_exit([result.exit_code, *(EXIT_BROKEN for _ in complaints)])


class _Run:
    """What all test processes of a run share."""

    def __init__(
        self,
        profile: Profile,
        out: Path,
        path: Path,
        progress: Progress,
        environment: Environment | None = None,
        holds: Sequence[int] = (),
    ) -> None:
        self._profile = profile
        self._out = out
        self._path = path
        self._progress = progress
        self._environment = environment
        self._holds = holds
        self._offset = journal.clock_offset()
        self._calls = inflight.create()
        self._kernel, self._blind = _kernel_log(profile)
        self._rest = Rest()
        self._case: str | None = None
        #: Why the run ends here; the journal already says so.
        self._over = ""
        #: Why the test process can no longer reach the device, although another one may.
        self._lost = ""
        #: The state that is being restored on the device, at the end of the run.
        self._given: State | None = None
        #: Files of the host that the run has changed, and their earlier content.
        self._changed: dict[str, str] = {}
        #: Whether a case has failed.
        self._failed = False
        #: Why the journal does not have everything that happened.
        self.unwritten: list[Stop] = []
        self._resumed = False

    def cases(self, root: Path, options: Sequence[str], log: int, interruptions: int, rounds: int = 1) -> None:
        """Run every case once in each of ``rounds`` rounds, with as many test processes as that takes."""
        options = [f"--profile={self._profile.path}", f"--journal={self._path}", *options]
        options.append(f"--clock-offset={self._offset!r}")
        options += [f"--rounds={rounds}"] if rounds > 1 else []
        with scratch() as (folder, _):
            handover = self._rest.hand_over("the run was resumed") if self._resumed else None
            for number in range(self._rest.round, rounds + 1):
                if number > self._rest.round:
                    handover = self._rest.once_more(f"round {number} of {rounds}")
                while True:
                    more = [] if handover is None else [f"--handover={_written(handover, folder)}"]
                    self._case, self._lost = None, ""
                    attempt = Attempt(self._profile.limits, self._calls, self._take, self._holds, self._kernel)
                    ending = attempt.run(root, [*options, *more], log, interruptions)
                    self._put_back()
                    if not self._continues(ending):
                        break
                    handover = self._rest.hand_over(ending.message or self._lost)
                if not self.came_to_its_end:
                    return

    def resume(self, earlier: Sequence[Event]) -> None:
        """Continue the run that has these events."""
        self._rest.resume(earlier)
        self._resumed = True
        for event in earlier:
            match event:
                case Changed():
                    self._changed[event.path] = event.before
                case Restored():
                    self._changed.pop(event.path, None)
                case Plan():
                    self._progress.show(event)
                case End():
                    self._progress.done(event.case)
        self._write(Resumed(self._rest.cases_left))
        self._note_environment()
        self._put_back()

    @property
    def came_to_its_end(self) -> bool:
        """Whether every case has its verdict, as far as it depends on the test processes."""
        return self._rest.planned and not self._over and not self._rest.left

    @property
    def rerun_pays(self) -> bool:
        """Whether cases failed, and the device is in good enough condition to run them once more."""
        return self._failed and self.came_to_its_end and self._rest.smooth

    def rerun(self, root: Path, options: Sequence[str], interruptions: int) -> None:
        """See whether failed cases fail again when run alone, as the report will suggest to its reader."""
        same = [option for option in options if option.partition("=")[0] not in _OF_THIS_RUN]

        def play(cases: Sequence[str]) -> Verdict | None:
            only = [f"--only={case}" for case in cases]
            with contextlib.suppress(OSError, journal.JournalError), scratch() as (folder, held):
                return _once_more(root, self._profile, folder, [*same, *only], interruptions, held).get(cases[-1])
            return None

        for rerun in Reruns(summarise(journal.read(self._path)), play):
            self._write(rerun)

    def make(self, programs: Callable[[Summary, Path], Iterator[Event]]) -> None:
        """Make programs of what failed."""
        for event in programs(summarise(journal.read(self._path)), self._out):
            self._write(event)

    def conclude(self) -> None:
        """Give the journal its end. Raises RunError without a journal."""
        if not self._rest.planned:
            raise RunError(self._over or last_words(self._out / LOG))
        self._record_kernel()
        try:
            with self._journal() as opened:
                opened.end()
        except journal.JournalError as error:
            self.unwritten.append(Stop(str(error), journal.REMEDY))

    def close(self) -> None:
        """Release what the run was watched with."""
        inflight.close(self._calls)
        if self._kernel:
            self._kernel.close()

    # -- the end of a test process ------------------------------------------------------------------------------------

    def _continues(self, ending: Ending) -> bool:
        """Put the end of a test process into the journal; whether another one continues the run."""
        self._record_kernel()
        if ending.left is not None:
            self._write(Note(f"{_LEFT.format(ending.left)} {self._out}"))
            if self._kernel:
                self._kernel.leave(ending.left, ending.case)
        if self._over:
            return False
        if ending.how is How.INTERRUPTED:
            return self._stop(ending.message, "continue with run --resume FOLDER")
        if not self._rest.planned:  # pytest's own message is in its log
            self._over = ending.message if ending.how is How.HUNG else ""
            return False
        if ending.how is How.FINISHED:
            return bool(self._lost) and self._rest.left
        if self._given:
            how = "a call did not return" if ending.how is How.HUNG else "the test process ended in it"
            # This is a separate answer, not a verdict.
            self._write(State(self._given.of, f"no: {how}", ending.message))
            # All cases were run; the counts of the process were lost with it.
            self._write(Finish(calls=0, opens=0, resets=0, bytes_read=0, bytes_written=0, passes=0))
            return False
        self._rest.cut_off(ending.case)
        see = f"see {self._out / LOG}"
        if ending.how is How.HUNG:
            call = inflight.last(self._calls)
            self._write(Hang(ending.message, _HANG_REMEDY, ending.case, call, ending.process))
        elif ending.case is not None:
            self._write(Broken(ending.message, see, ending.case))
        elif not self._rest.left:
            self._stop(ending.message, see)
        return self._rest.left

    def _stop(self, message: str, remedy: str) -> bool:
        """Record why the run ends here, in the journal if there is one."""
        self._over = message
        self._write(Broken(message, remedy, None))
        return False

    def _put_back(self) -> None:
        """Restore on the host what the test process could not."""
        for path, before in self._changed.items():
            try:
                Path(path).write_text(f"{before}\n")
                self._write(Restored(path))
            except OSError as error:
                self._write(Note(f"{path} could not be restored to {before!r}: {error.strerror}"))
        self._changed.clear()

    # -- its events ---------------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        self._rest.take(event)
        match event:
            case Plan():
                self._note_environment()
                if self._blind:
                    self._write(Note(self._blind))
            case Start():
                self._case = event.case
            case End():
                self._failed |= event.verdict is Verdict.FAIL
                self._record_kernel()
            case Changed():
                self._changed[event.path] = event.before
            case Restored():
                del self._changed[event.path]
            case State():
                self._given = event if event.answer == UNDER_WAY else None
            case Lost():
                self._lost = event.message
            case Broken():
                self._over = event.message
            case Unwritten():
                self._over = event.message
                self.unwritten.append(Stop(event.message, event.remedy))
        self._progress.show(event)

    def _note_environment(self) -> None:
        if self._environment:
            self._write(self._environment)

    def _record_kernel(self) -> None:
        """Put the kernel's complaints up to now into the journal."""
        if self._kernel:
            for complained in self._kernel.over(self._case, partial(inflight.last, self._calls)):
                self._write(complained)

    def _write(self, event: Event) -> None:
        if not self._rest.planned:
            return
        try:
            with self._journal() as appended:
                appended.write(event)
                self._progress.show(event)
        except journal.JournalError as error:
            self.unwritten.append(Stop(str(error), journal.REMEDY))

    def _journal(self) -> journal.Journal:
        """Raises JournalError."""
        return journal.Journal(self._path, offset=self._offset, lock=self._calls)


def _once_more(
    root: Path, profile: Profile, out: Path, options: Sequence[str], interruptions: int, held: int
) -> dict[str, Verdict]:
    """The verdicts of a run of which nothing is shown or kept, by case; none if it could not be completed.

    Raises OSError, JournalError.
    """
    path = out / journal.NAME
    with (
        (out / LOG).open("wb") as log,
        contextlib.closing(_Run(profile, out, path, Progress(io.StringIO(), 0), None, [held])) as running,
    ):
        running.cases(root, options, log.fileno(), interruptions)
        if not running.came_to_its_end:
            return {}
    return {case.id: case.verdict for case in summarise(journal.read(path)).cases.values()}


def _written(handover: Handover, folder: Path) -> Path:
    path = folder / "handover.json"
    handover.write(path)
    return path


def _kernel_log(profile: Profile) -> tuple[KernelLog | None, str]:
    """The kernel's log if a kernel is involved; otherwise why it is not watched, if that is worth a note."""
    if profile.device.transport == "vfio-user":
        return None, ""
    try:
        return KernelLog(), ""
    except (OSError, ValueError) as error:
        return None, f"{UNWATCHED}: {error}; run as root to watch it"


def last_words(log: Path) -> str:
    """What pytest said last: its own complaint if there is one."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    complaints = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "\n".join(complaints or [f"pytest did not start; the end of {log}:", *lines[-20:]])
