# SPDX-License-Identifier: GPL-2.0-only
"""The guests of one kernel: the first one runs the commands; if it dies, another one continues."""

import functools
import json
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vfio_compliance.results import journal as journals
from vfio_compliance.results import matrix, reports
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import EXIT_BROKEN, EXIT_FAIL
from vfio_compliance.results.writers.terminal.printed import show_result
from vfio_compliance.vm import boot, left
from vfio_compliance.vm.accelerator import Accelerator
from vfio_compliance.vm.console import Console
from vfio_compliance.vm.ending import Ending, How, ending
from vfio_compliance.vm.judged_log import unjudged
from vfio_compliance.vm.kernels import Kernel
from vfio_compliance.vm.last_words import panic_reason
from vfio_compliance.vm.life import Life
from vfio_compliance.vm.orders import IGNORE_LOG, Given, Orders, fill, name, resuming, words
from vfio_compliance.vm.outcome import Outcome
from vfio_compliance.vm.plan import Plan
from vfio_compliance.vm.shared_page import SharedPage
from vfio_compliance.vm.shown import say, short, show
from vfio_compliance.watch.symbols import Symbols

_LINES = 12
_WIDEST = 100


class Interrupted(Exception):
    """The user wants the call to end; all results are kept."""


class Guests:
    """All boots of one kernel; their results go into one folder."""

    def __init__(
        self,
        orders: Orders,
        accelerator: Accelerator,
        kernel: Kernel,
        folder: Path,
        outcome: Outcome,
        own: Sequence[dict[str, Any]] = (),
        reference: Given | None = None,
        call: Sequence[str] = (),
    ) -> None:
        """``own``: the user's modules; ``reference``: the module of the reference driver, None for none.

        ``call``: the command line for another such guest.
        """
        setup = [fill([each], folder, outcome.label)[0] for each in orders.setup]
        self._plan = Plan(kernel.vmlinux, folder, own, reference, setup, call)
        self._orders = orders
        self._accelerator = accelerator
        self._kernel = kernel
        self._folder = folder
        self._outcome = outcome
        self._module = reference is not None
        self._label = outcome.label
        #: The runs that were made, by kernel.
        self.columns: list[matrix.Column] = []
        #: The number of the present guest's current command, None for none, and the second in which it began.
        self._index: int | None = None
        self._since = 0.0
        self._began = time.time()
        #: The present guest's console, and seconds to its first command.
        self._console = folder / "console.log"
        self._up = 0.0

    def run(self) -> None:
        """Runs all commands. Raises Interrupted if the user ended the call, OSError if the folder cannot be used."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (*self._folder.glob("console*.log"), *self._folder.glob("dmesg*.log")):
            old.unlink(missing_ok=True)
        self._began = time.time()
        commands = self._commands()
        for number in range(1, self._orders.again + 2):
            console = self._console = self._folder / ("console.log" if number == 1 else f"console-{number}.log")
            result = self._boot(commands, console)
            end = ending(result, console)
            if end is None:
                break
            self._outcome.ending = end.how.value
            say(self._label, end.stage, f"{end.text}; {end.place}", "\n".join(end.lines[:_LINES]))
            runs = list(left.left(self._journals(self._began)))
            for run in runs:
                self._complete(run, end, result, console)
            if end.how is How.INTERRUPTED:
                self._conclude()
                raise Interrupted
            commands = self._rest(commands, result, runs)
            if number > self._orders.again or not end.may_go_on or not commands:
                self._outcome.add(EXIT_BROKEN if runs else end.code)
                break
            if not any(run.planned for run in runs):
                self._outcome.add(end.code)  # no run will report how that command ended
            self._outcome.ending = f"{end.how.value}, continued"
            say(self._label, "again", "another guest continues with what is left")
        self._conclude()

    # -- what is run --------------------------------------------------------------------------------------------------

    def _commands(self) -> list[list[str]]:
        commands = list(self._orders.commands)
        if not commands:
            commands = self._orders.default_commands(module=self._module)
            for earlier in (self._folder / name(target) for target in self._orders.targets(module=self._module)):
                if (earlier / journals.NAME).is_file():
                    shutil.rmtree(earlier)
        return [fill(command, self._folder, self._label) for command in commands]

    def _rest(self, commands: Sequence[list[str]], result: boot.Boot, runs: Sequence[left.Left]) -> list[list[str]]:
        """What another guest is to run: the runs that were cut short, and the commands that were not reached."""
        if result.last("ready") is None:
            return []
        ended = result.under_way
        if ended is None:
            last = result.last("end")
            ended = -1 if last is None else int(last["index"])
        command = commands[result.under_way] if result.under_way is not None else []
        resumed = [resuming(command, run.folder) for run in runs if run.planned]
        return [*resumed, *commands[ended + 1 :]]

    # -- one guest ----------------------------------------------------------------------------------------------------

    def _boot(self, commands: Sequence[list[str]], console: Path) -> boot.Boot:
        # Next to the results: no other folder is sure to be visible to both host and guest.
        with tempfile.TemporaryDirectory(prefix=".vm-", dir=self._folder) as private:
            scratch = boot.Scratch(Path(private))
            dmesg = console.with_name(console.name.replace("console", "dmesg"))
            scratch.plan.write_text(json.dumps(self._plan.of([*map(words, commands)], dmesg)))
            result = self._start(scratch, console, functools.partial(self._follow, commands))
        if "boot" in self._outcome.seconds:
            seconds = self._outcome.seconds
            seconds["run"] = seconds.get("run", 0.0) + result.seconds - self._up
        return result

    def _start(self, scratch: boot.Scratch, path: Path, report: Any) -> boot.Boot:
        """Boots the kernel, on KVM or by emulation, and follows it to its end."""
        orders, label = self._orders, self._label

        def once(kvm: bool, life: Life) -> boot.Boot:
            machine = boot.Machine(orders.cpus, orders.memory, kvm, orders.append, orders.qemu)
            page, console = SharedPage(scratch.folder / "calls"), Console(path)
            line = boot.command_line(self._kernel.boot, machine, scratch, page, self._folder, orders.deadline)
            result = boot.run(line, console, orders.deadline, scratch, show, report, life, page)
            if console.complaint:
                say(label, "note", f"the console is not kept in full: {console.complaint}")
            return result

        def attempt(kvm: bool, life: Life) -> boot.Boot:
            kind = "KVM" if kvm else "emulation"
            say(label, "boot", f"{kind}, {orders.cpus} CPUs, {orders.memory} of memory")
            result = once(kvm, life)
            if not (kvm or result.events) and panic_reason(result.lines):
                # Emulated processors that patch their own code rarely trip over each other, early in the boot.
                first = path.rename(path.with_name(f"{path.stem}-first.log"))
                say(label, "note", f"the kernel panicked before the guest was up; see {short(first)}; trying again")
                result = once(kvm, life)
            return result

        def fall_back(why: str) -> None:
            first = path.rename(path.with_name(f"{path.stem}-kvm.log"))
            say(label, "note", f"software emulation, because no kernel runs on KVM here: {why}; see {short(first)}")

        self._up, self._index = 0.0, None
        return self._accelerator.boot(attempt, fall_back)

    def _follow(self, commands: Sequence[list[str]], event: dict[str, Any], at: float) -> None:
        """Shows the guest's reports to the user, and adds them to the outcome."""
        kind, label, outcome = event["event"], self._label, self._outcome
        if kind == "up":
            outcome.release = event["release"]
        elif kind == "ready":
            self._up = at
            outcome.seconds.setdefault("boot", at)
        elif kind == "note":
            say(label, "note", event["text"])
        elif kind == "broken":
            first, _, rest = event["text"].partition("\n")
            say(label, "BROKEN", first, rest)
            outcome.add(EXIT_BROKEN)
        elif kind == "start":
            self._index, self._since = event["index"], at
            say(label, "run", shlex.join(words(commands[self._index])))
        elif kind == "log":
            counts = self._index is None or commands[self._index][:1] != [IGNORE_LOG]
            self._judge_log(event, counts=counts and self._orders.log_counts)
        elif kind == "end":
            outcome.exits.append(event["exit"])
            outcome.add(EXIT_BROKEN if event["exit"] in (126, 127) else event["exit"])
            say(label, "run", f"exit {event['exit']}, {at - self._since:.0f} s")
            self._index = None

    # -- results ------------------------------------------------------------------------------------------------------

    def _complete(self, run: left.Left, end: Ending, result: boot.Boot, console: Path) -> None:
        say(self._label, "left", f"{short(run.folder)}: {left.where(run, result.call)}")
        decoded = Symbols(files=self._plan.debug_files()).decoded
        if complaint := left.write(run, left.events(run, end, result.call, console, decoded)):
            say(self._label, "BROKEN", f"the end of the run is not in its journal: {complaint}")

    def _journals(self, began: float) -> list[Path]:
        """Those written since then, the oldest first."""
        found = [(path.stat().st_mtime, path) for path in self._folder.rglob(journals.NAME)]
        return [path for written, path in sorted(found) if written >= began - 1]

    def _conclude(self) -> None:
        """Collects the judged runs, and shows the reports that no guest could show."""
        for path in self._journals(self._began):
            try:
                summary = summarise(journals.read(path))
            except journals.JournalError as error:
                say(self._label, "note", str(error))
                continue
            self.columns.append(matrix.column(self._label, summary))
            report = path.with_name(reports.NAME)
            if not report.exists() or report.stat().st_mtime < path.stat().st_mtime:  # no guest got that far
                self._outcome.add(summary.exit_code)
                self._report(path, summary)

    def _report(self, path: Path, summary: Summary) -> None:
        width = shutil.get_terminal_size((_WIDEST, 24)).columns
        show_result(sys.stdout, summary, width, str(path))
        for complaint in reports.save(summary, path.parent, ()):
            say(self._label, "note", complaint)

    def _judge_log(self, event: dict[str, Any], *, counts: bool) -> None:
        """Adds to the outcome what a guest's kernel log shows since the last look and no run has judged."""
        outcome = self._outcome
        found = unjudged(event, self._journals(self._began))
        outcome.log = [*(outcome.log or []), *found]
        if found:
            if counts:
                outcome.add(EXIT_FAIL)
            without = "" if counts else ", which does not count here"
            see = f"see {short(self._console)}"
            say(self._label, "KERNEL", f"the kernel log is not clean{without}; {see}", "\n".join(found[:_LINES]))
