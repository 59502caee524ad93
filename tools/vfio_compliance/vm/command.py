# SPDX-License-Identifier: GPL-2.0-only
"""The suite, or any command, on real kernels in virtual machines."""

import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfio_compliance.results import journal as journals
from vfio_compliance.results import matrix, summary
from vfio_compliance.results.kernel_log import complaints, taint_letters
from vfio_compliance.results.reading import summarise
from vfio_compliance.results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_HANG, worst_exit
from vfio_compliance.vm import boot, host, kernels, module
from vfio_compliance.vm.accelerator import Accelerator
from vfio_compliance.vm.cache import Cache, default_root
from vfio_compliance.vm.console import foreign_taint, panic_reason
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.life import Life
from vfio_compliance.vm.outcome import Outcome, table

_PROJECT = Path(__file__).resolve().parents[3]
#: What every guest judges without other orders, and what one with the reference module loaded judges too.
_TARGETS, _MODULE_TARGETS = ["qemu-edu"], ["refdriver-kernel"]
#: A kernel that is known to complain there cannot be excused by a waiver.
_OPTIONS = {"qemu-edu": ["--plan", "qemu-edu"]}
_Report = Callable[[dict[str, Any], float], None]
_LAST_LINES = 8
_WORDS = 50
_WIDEST = 100


@dataclass(frozen=True)
class Orders:
    """What one call is to do: on which kernels, how, and what in them."""

    #: Debian's, by series; and the user's own build trees and images.
    kernels: Sequence[str]
    own: Sequence[Path]
    #: What to build the module against, for an image.
    headers: Path | None
    #: Folders of results, and of kernels and builds.
    out: Path
    cache: Path | None
    #: Seconds that one boot may take.
    deadline: float
    #: auto, kvm or tcg.
    accel: str
    #: Of the guest, as QEMU writes it.
    memory: str
    cpus: int
    #: Whether the reference driver is built and loaded, and whether a kernel log that is not clean counts.
    module: bool
    log_counts: bool
    #: For the guest; none: those that the kernel asks for.
    commands: Sequence[list[str]]


def default_commands(*, module: bool) -> list[list[str]]:
    """What a guest runs without other orders; ``module``: the reference driver is loaded."""
    return [
        ["vfio-compliance", "run", f"profiles/{target}.yaml", *_OPTIONS.get(target, ()), "--out", f"{{out}}/{target}"]
        for target in [*_TARGETS, *(_MODULE_TARGETS if module else ())]
    ]


def fill(command: Sequence[str], out: Path, label: str) -> list[str]:
    """A guest command with ``{out}`` and ``{kernel}`` replaced."""
    return [word.replace("{out}", str(out)).replace("{kernel}", label) for word in command]


def run(orders: Orders) -> int:
    """Boots each kernel and runs the commands in it; gives the exit code."""
    tools = list(host.BOOT)
    tools += host.FETCH if orders.kernels else ()
    tools += host.BUILD if orders.module else ()
    complaints = host.missing(tools)
    obstacle = host.why_no_kvm() if orders.accel != "tcg" else ""
    complaints += [f"--accel kvm: {obstacle}"] if obstacle and orders.accel == "kvm" else []
    if complaints:
        print("\n".join(complaints), file=sys.stderr)
        return EXIT_BROKEN
    accelerator = Accelerator(orders.accel, obstacle)
    print(accelerator.says, flush=True)
    running = _Run(orders, accelerator)
    wanted: list[tuple[str, Path | None]] = [(label, None) for label in orders.kernels]
    wanted += [(path.resolve().name, path) for path in orders.own]
    outcomes = []
    for label, path in wanted:
        try:
            outcomes.append(running.kernel(label, path))
        except KeyboardInterrupt:
            print("\ninterrupted: the virtual machine is ended, nothing half-made is kept", flush=True)
            outcomes.append(Outcome(label, ending="interrupted", code=EXIT_BROKEN))
            break
    running.compare()
    print()
    print("\n".join(table(outcomes)))
    print(f"results: {running.out}")
    return worst_exit(o.code for o in outcomes)


class _Run:
    """One call of the program: what is the same for all its kernels."""

    def __init__(self, orders: Orders, accelerator: Accelerator) -> None:
        self.orders = orders
        self.accelerator = accelerator
        self.out = orders.out.absolute()
        self.cache = Cache(orders.cache or default_root())
        self.labels: list[str] = []
        #: The runs that were made, by kernel.
        self.columns: list[matrix.Column] = []

    def kernel(self, label: str, path: Path | None = None) -> Outcome:
        """Takes one kernel all the way. Our own faults end in its outcome: the next kernel gets its turn."""
        outcome = Outcome(label)
        try:
            with self.cache.locked():
                kernel = kernels.own(path, self.orders.headers) if path else self._debian(outcome)
                label = outcome.label = self._unused(kernel.label)
                outcome.release = kernel.release
                if kernel.note:
                    _say(label, "note", kernel.note)
                ko = self._module(kernel, outcome)
            self._boot(kernel, ko, outcome)
        except (VmError, OSError) as error:
            _say(label, "BROKEN", str(error))
            for line in getattr(error, "detail", "").splitlines():
                print(f"    {line}", flush=True)
            outcome.ending = outcome.ending or "not run"
            outcome.add(EXIT_BROKEN)
        return outcome

    def compare(self) -> None:
        """Shows the table of rules by kernels, if anything was judged, and keeps the whole of it."""
        if not self.columns:
            return
        width = shutil.get_terminal_size((_WIDEST, 24)).columns
        file = self.out / "matrix.txt"
        file.write_text("\n".join(matrix.render(self.columns, _WIDEST, whole=True)[1:]) + "\n")
        print("\n".join(matrix.render(self.columns, width)))
        print(f"all rules: {_short(file)}")

    def _unused(self, label: str) -> str:
        """A label that no earlier kernel of this call has, for each names a folder of results."""
        same = self.labels.count(label)
        self.labels.append(label)
        return f"{label}-{same + 1}" if same else label

    def _debian(self, outcome: Outcome) -> kernels.Kernel:
        label = outcome.label
        start = time.monotonic()
        found = kernels.find(self.cache, label)
        outcome.release = found.release
        downloads = self.cache.root / "downloads"
        downloads.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=downloads) as folder:
            if found.note:
                _say(label, "note", found.note)
            if found.fetch:
                _say(label, "fetch", f"{found.release}, {found.size / 1e6:.0f} MB")
                found.fetch(Path(folder))
            else:
                _say(label, "fetch", f"{found.release} is cached")
            outcome.seconds["fetch"] = time.monotonic() - start
            start = time.monotonic()
            if found.fetch:
                _say(label, "unpack", str(self.cache.path("kernels", found.release)))
            kernel = kernels.unpack(self.cache, label, found.release, sorted(Path(folder).glob("*.deb")))
            outcome.seconds["unpack"] = time.monotonic() - start
        return kernel

    def _module(self, kernel: kernels.Kernel, outcome: Outcome) -> Path | None:
        if not self.orders.module or kernel.headers is None:
            return None
        if why := module.unfit(kernel):
            _say(outcome.label, "note", f"without the reference module: {why}")
            return None
        sources = _PROJECT / "tools" / "kmod"
        start = time.monotonic()
        cached = module.built(self.cache, sources, kernel)
        _say(outcome.label, "build", f"{module.NAME}.ko" + (" is cached" if cached else ""))
        ko = module.build(self.cache, sources, kernel)
        outcome.seconds["build"] = time.monotonic() - start
        return ko

    def _boot(self, kernel: kernels.Kernel, ko: Path | None, outcome: Outcome) -> None:
        label = outcome.label
        folder = self.out / label
        folder.mkdir(parents=True, exist_ok=True)
        console, dmesg = folder / "console.log", folder / "dmesg.log"
        for old in (*folder.glob("console*.log"), dmesg):
            old.unlink(missing_ok=True)
        commands = list(self.orders.commands)
        if not commands:
            commands = default_commands(module=ko is not None)
            for earlier in (folder / target for target in (*_TARGETS, *_MODULE_TARGETS)):
                if (earlier / journals.NAME).is_file():
                    shutil.rmtree(earlier)
        commands = [fill(command, folder, label) for command in commands]
        plan = {
            "environment": _guest_environment(),
            "modprobe": ["vfio", "vfio_iommu_type1", "vfio_pci"],
            "pci": boot.PCI_DEVICES,
            "module": str(ko) if ko else None,
            "commands": commands,
            "cwd": str(_PROJECT),
            "keep": str(folder),
            "dmesg": str(dmesg),
        }
        began = time.time()
        # Beside the results, for no other folder is sure to be seen by host and guest alike.
        with tempfile.TemporaryDirectory(prefix=".vm-", dir=folder) as private:
            plan_file = Path(private) / "plan.json"
            plan_file.write_text(json.dumps(plan))
            result = self._start(kernel, plan_file, console, functools.partial(_follow, commands, outcome))
        if "boot" in outcome.seconds:
            outcome.seconds["run"] = result.seconds - outcome.seconds["boot"]
        runs = dict(_runs(label, folder, began))
        _judge(result, console, commands, outcome, log_counts=self.orders.log_counts)
        for place, run in runs.items():
            self.columns.append(matrix.column(label, run))
            if outcome.ending and not run.totals:
                subprocess.run([sys.executable, "-m", "vfio_compliance", "report", str(place)], check=False)

    def _start(self, kernel: kernels.Kernel, plan: Path, console: Path, report: _Report) -> boot.Boot:
        """Boots the kernel and follows it to its end, on KVM or by emulation."""
        label = console.parent.name
        deadline, scratch = self.orders.deadline, plan.parent

        def attempt(kvm: bool, life: Life) -> boot.Boot:
            machine = boot.Machine(self.orders.cpus, self.orders.memory, kvm)
            line = boot.command_line(kernel.boot, machine, plan, console.parent, deadline)
            kind = "KVM" if kvm else "emulation"
            _say(label, "boot", f"{kind}, {machine.cpus} CPUs, {machine.memory} of memory")
            result = boot.run(line, console, deadline, scratch, _show, report, life)
            if not (kvm or result.events) and panic_reason(console.read_text()):
                # Emulated processors that patch their own code trip over each other, seldom, and before all else.
                first = console.rename(console.with_name("console-first.log"))
                _say(label, "note", f"the emulation panicked before the guest was up; see {_short(first)}; once more")
                result = boot.run(line, console, deadline, scratch, _show, report, life)
            return result

        def fall_back(why: str) -> None:
            first = console.rename(console.with_name("console-kvm.log"))
            _say(label, "note", f"software emulation, for KVM runs no kernel here: {why}; see {_short(first)}")

        return self.accelerator.boot(attempt, fall_back)


def _runs(label: str, folder: Path, began: float) -> Iterator[tuple[Path, summary.Summary]]:
    """What was judged in this boot, run by run, with the run's folder."""
    for journal in sorted(folder.rglob(journals.NAME), key=lambda path: path.stat().st_mtime):
        if journal.stat().st_mtime >= began - 1:
            try:
                yield journal.parent, summarise(journals.read(journal))
            except journals.JournalError as error:
                _say(label, "note", str(error))


def _guest_environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/sbin", "/usr/local/bin"])
    path += ":/usr/sbin:/usr/bin:/sbin:/bin"
    columns = str(os.get_terminal_size().columns) if sys.stdout.isatty() else os.environ.get("COLUMNS", "100")
    own = {name: os.environ[name] for name in ("PYTHONPATH", "TERM", "NO_COLOR") if name in os.environ}
    return {**own, "PATH": path, "COLUMNS": columns, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


def _say(label: str, stage: str, text: str) -> None:
    print(f"{label:6} {stage:7} {text}", flush=True)


def _show(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def _follow(commands: list[list[str]], outcome: Outcome, event: dict[str, Any], at: float) -> None:
    """Tells the user, and the outcome, what the guest reported."""
    kind, label = event["event"], outcome.label
    if kind == "up":
        outcome.release = event["release"]
    elif kind == "ready":
        outcome.seconds["boot"] = at
    elif kind == "note":
        _say(label, "note", event["text"])
    elif kind == "broken":
        _say(label, "BROKEN", event["text"])
        outcome.add(EXIT_BROKEN)
    elif kind == "start":
        _say(label, "run", shlex.join(commands[event["index"]]))
    elif kind == "end":
        outcome.exits.append(event["exit"])
        outcome.add(EXIT_BROKEN if event["exit"] in (126, 127) else event["exit"])
        _say(label, "run", f"exit {event['exit']}")


def _judge(
    result: boot.Boot,
    console: Path,
    commands: list[list[str]],
    outcome: Outcome,
    *,
    log_counts: bool,
) -> None:
    """Adds to the outcome how the guest ended and what its kernel log showed."""
    text = console.read_text()
    log = result.last("log")
    if log is None:
        panic = panic_reason(text)
        place = f"after {result.seconds:.0f} s{_where(result, commands)}; see {_short(console)}"
        if result.stalled:
            outcome.ending = "no boot"
            outcome.add(EXIT_BROKEN)
            _say(outcome.label, "BROKEN", f"guest did not come up ({result.stalled}), ended {place}")
        elif panic:
            outcome.ending = "panicked"
            outcome.add(EXIT_BROKEN)
            _say(outcome.label, "PANIC", f"guest panicked {place}")
        elif result.timed_out and result.events:
            outcome.ending = "hung"
            outcome.add(EXIT_HANG)
            _say(outcome.label, "HANG", f"guest hung, ended {place}")
        elif result.timed_out:
            outcome.ending = "no boot"
            outcome.add(EXIT_BROKEN)
            _say(outcome.label, "BROKEN", f"guest did not come up, ended {place}")
        else:
            outcome.ending = "ended early"
            outcome.add(EXIT_BROKEN)
            _say(outcome.label, "BROKEN", f"guest ended early {place}")
        for line in _telling(text.splitlines()):
            print(f"    {line}", flush=True)
        return
    outcome.log = complaints(log["since"])
    letters = taint_letters(foreign_taint(log["before"], log["after"]))
    if letters:
        outcome.log.append(f"tainted: {letters}")
    if outcome.log:
        if log_counts:
            outcome.add(EXIT_FAIL)
        _say(
            outcome.label,
            "KERNEL",
            f"the kernel log is not clean; see {_short(console.with_name('dmesg.log'))}",
        )
        for line in outcome.log[:_LAST_LINES]:
            print(f"    {line}", flush=True)


def _where(result: boot.Boot, commands: list[list[str]]) -> str:
    """In which command the guest was when it ended; empty when in none."""
    start, end = result.last("start"), result.last("end")
    if start is None or (end is not None and end["index"] == start["index"]):
        return ""
    words = shlex.join(commands[start["index"]])
    return " in " + (words if len(words) <= _WORDS else words[: _WORDS - 3] + "...")


def _telling(lines: list[str]) -> list[str]:
    """The last kernel lines that a reader needs: from the first splat on, or else the very last."""
    lines = [line for line in lines if line]
    first = next((i for i, line in enumerate(lines) if complaints([line])), None)
    return lines[first : first + _LAST_LINES] if first is not None else lines[-_LAST_LINES:]


def _short(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
