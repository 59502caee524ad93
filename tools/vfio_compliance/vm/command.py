# SPDX-License-Identifier: GPL-2.0-only
"""``vfio-compliance vm``: the suite, or any command, on real kernels in virtual machines."""

import argparse
import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vfio_compliance.results import journal as journals
from vfio_compliance.results import matrix, summary
from vfio_compliance.results.kernel_log import complaints, taint_letters
from vfio_compliance.results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_HANG, worst_exit
from vfio_compliance.vm import boot, host, kernels, module
from vfio_compliance.vm.accelerator import CHOICES, Accelerator
from vfio_compliance.vm.cache import Cache, default_root
from vfio_compliance.vm.console import foreign_taint, panic_reason
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.life import Life
from vfio_compliance.vm.outcome import Outcome, table

_PROJECT = Path(__file__).resolve().parents[3]
_KERNELS = ["5.10", "6.1", "6.12", "7.3"]
#: What every guest judges without other orders, and what one with the reference module loaded judges too.
_TARGETS, _MODULE_TARGETS = ["qemu-edu"], ["refdriver-kernel"]
_Report = Callable[[dict[str, Any], float], None]
_TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_LAST_LINES = 8
_WORDS = 50
_WIDEST = 100
_EPILOG = """\
Without a COMMAND the suite judges profiles/qemu-edu.yaml on every kernel, and profiles/refdriver-kernel.yaml where
the reference driver is loaded; it is left out, and that is said, on kernels that it is not made for. At the end comes
a table of rules by kernels, which is written to matrix.txt in the folder of results, too. What such a call left
there before is replaced.

Each COMMAND runs inside the guest as root, in the checkout, with this Python environment on its PATH and no
shell. The guest sees the host's files read-only (changes are forgotten); only {out}, the kernel's own results
folder, is kept. In every argument {out} and {kernel} are replaced. A lone --then separates commands that run
one after the other in the same boot, whatever the one before gave:

  vfio-compliance vm --kernels 6.12 -- vfio-compliance run profiles/refdriver-kernel.yaml --out {out} \\
      --then pytest -p no:cacheprovider tools/tests/proofs/test_defects.py --target profiles/refdriver-kernel.yaml

Exit code: the worst of all kernels, in the order 1 fail, 3 hang, 2 broken, 4 nothing judged, 0. A guest that
misses its deadline is a hang; one that panics or cannot be booted is broken; a kernel log with a warning, an
oops or a foreign taint is a fail.
"""


def duration(text: str) -> float:
    """Seconds from ``500ms``, ``30s``, ``15min`` or ``1h``. Raises argparse.ArgumentTypeError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|min|h)", text.strip())
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30s, 15min or 1h")
    return float(match[1]) * _TIMES[match[2]]


def _series(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if not re.fullmatch(r"\d+\.\d[\w.+~-]*", name)]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of kernels such as 6.1,6.12")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfio-compliance vm",
        description="Boot real kernels in virtual machines, load the reference driver, run commands inside.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [options] [-- COMMAND... [--then COMMAND...]...]",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--kernels", type=_series, metavar="LIST", help=f"of Debian, newest of each (default {','.join(_KERNELS)})")
    add("--kernel", type=Path, action="append", default=[], metavar="PATH", help="your build tree or bzImage")
    add("--headers", type=Path, metavar="DIR", help="what to build the module against, for a bare bzImage")
    add("--out", type=Path, default=Path("results/vm"), metavar="DIR", help="results (default results/vm)")
    add("--cache", type=Path, metavar="DIR", help=f"kernels and builds (default {default_root()})")
    add("--deadline", type=duration, default=900.0, metavar="TIME", help="limit of one boot (default 15min)")
    add(
        "--accel",
        choices=CHOICES,
        default="auto",
        help="KVM, emulation (tcg), or KVM where a kernel boots on it (auto, default)",
    )
    add("--memory", default="1G", metavar="SIZE", help="of the guest (default 1G)")
    add("--cpus", type=int, default=2, metavar="N", help="of the guest (default 2)")
    add("--ignore-log", action="store_true", help="a kernel log that is not clean is shown, and does not count")
    add("--no-module", action="store_true", help="neither build nor load the reference driver")
    return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[list[str]]]:
    """The options, and the guest commands (none: those that the kernel asks for). Exits on a usage error."""
    options, _, rest = _split(list(argv), "--")
    parser = _parser()
    arguments = parser.parse_args(options)
    if arguments.kernels is None:
        arguments.kernels = [] if arguments.kernel else list(_KERNELS)
    if arguments.headers and not arguments.kernel:
        parser.error("--headers belongs to --kernel")
    commands = []
    while rest:
        command, separator, rest = _split(rest, "--then")
        if not command or (separator and not rest):
            parser.error("--then stands between two commands")
        commands.append(command)
    return arguments, commands


def default_commands(*, module: bool) -> list[list[str]]:
    """What a guest runs without other orders; ``module``: the reference driver is loaded."""
    return [
        ["vfio-compliance", "run", f"profiles/{target}.yaml", "--out", f"{{out}}/{target}"]
        for target in [*_TARGETS, *(_MODULE_TARGETS if module else ())]
    ]


def _split(words: list[str], separator: str) -> tuple[list[str], bool, list[str]]:
    if separator not in words:
        return words, False, []
    place = words.index(separator)
    return words[:place], True, words[place + 1 :]


def fill(command: Sequence[str], out: Path, label: str) -> list[str]:
    """A guest command with ``{out}`` and ``{kernel}`` replaced."""
    return [word.replace("{out}", str(out)).replace("{kernel}", label) for word in command]


def main(argv: list[str]) -> int:
    """Runs ``vfio-compliance vm``; gives the exit code."""
    arguments, commands = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a guest is not to outlive whoever started it
    tools = list(host.BOOT)
    tools += host.FETCH if arguments.kernels else ()
    tools += () if arguments.no_module else host.BUILD
    complaints = host.missing(tools)
    obstacle = host.why_no_kvm() if arguments.accel != "tcg" else ""
    complaints += [f"--accel kvm: {obstacle}"] if obstacle and arguments.accel == "kvm" else []
    if complaints:
        print("\n".join(complaints), file=sys.stderr)
        return EXIT_BROKEN
    accelerator = Accelerator(arguments.accel, obstacle)
    print(accelerator.says, flush=True)
    run = _Run(arguments, commands, accelerator)
    wanted: list[tuple[str, Path | None]] = [(label, None) for label in arguments.kernels]
    wanted += [(path.resolve().name, path) for path in arguments.kernel]
    outcomes = []
    for label, path in wanted:
        try:
            outcomes.append(run.kernel(label, path))
        except KeyboardInterrupt:
            print("\ninterrupted: the virtual machine is ended, nothing half-made is kept", flush=True)
            outcomes.append(Outcome(label, ending="interrupted", code=EXIT_BROKEN))
            break
    run.compare()
    print()
    print("\n".join(table(outcomes)))
    print(f"results: {run.out}")
    return worst_exit(o.code for o in outcomes)


class _Run:
    """One call of the program: what is the same for all its kernels."""

    def __init__(self, arguments: argparse.Namespace, commands: list[list[str]], accelerator: Accelerator) -> None:
        self.arguments = arguments
        self.commands = commands
        self.accelerator = accelerator
        self.out: Path = arguments.out.absolute()
        self.cache = Cache(arguments.cache or default_root())
        self.labels: list[str] = []
        #: The runs that were made, by kernel.
        self.columns: list[matrix.Column] = []

    def kernel(self, label: str, path: Path | None = None) -> Outcome:
        """Takes one kernel all the way. Our own faults end in its outcome: the next kernel gets its turn."""
        outcome = Outcome(label)
        try:
            with self.cache.locked():
                kernel = kernels.own(path, self.arguments.headers) if path else self._debian(outcome)
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
        if self.arguments.no_module or kernel.headers is None:
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
        commands = self.commands
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
        waived = [line for run in runs.values() for line in run.waived_log]
        _judge(result, console, commands, outcome, waived, log_counts=not self.arguments.ignore_log)
        for place, run in runs.items():
            self.columns.append(matrix.column(label, run))
            if outcome.ending and not run.totals:
                subprocess.run([sys.executable, "-m", "vfio_compliance", "report", str(place)], check=False)

    def _start(self, kernel: kernels.Kernel, plan: Path, console: Path, report: _Report) -> boot.Boot:
        """Boots the kernel and follows it to its end, on KVM or by emulation."""
        label = console.parent.name
        deadline, scratch = self.arguments.deadline, plan.parent

        def attempt(kvm: bool, life: Life) -> boot.Boot:
            machine = boot.Machine(self.arguments.cpus, self.arguments.memory, kvm)
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
                yield journal.parent, summary.summarise(journals.read(journal))
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
    waived: Sequence[str],
    *,
    log_counts: bool,
) -> None:
    """Adds to the outcome how the guest ended and what its kernel log showed, but for lines that a run waived."""
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
    outcome.log = [line for line in complaints(log["since"]) if not any(known in line for known in waived)]
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
