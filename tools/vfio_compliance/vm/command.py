# SPDX-License-Identifier: GPL-2.0-only
"""The suite, or any command, on real kernels in virtual machines."""

import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vfio_compliance.common import project
from vfio_compliance.common.project import KMOD
from vfio_compliance.results import matrix
from vfio_compliance.results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_HANG, EXIT_OK, worst_exit
from vfio_compliance.vm import bytecode, host, kernels, modules, reference
from vfio_compliance.vm.accelerator import Accelerator
from vfio_compliance.vm.cache import Cache, reporting_when_full
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.guests import Guests, Interrupted
from vfio_compliance.vm.headers import compiler
from vfio_compliance.vm.orders import Given, Orders
from vfio_compliance.vm.outcome import Outcome, table
from vfio_compliance.vm.shown import say, short

_WIDEST = 100
#: The exit code that makes git skip a commit.
_SKIP = 125


def run(orders: Orders) -> int:
    """Boots each kernel and runs the commands in it; returns the exit code."""
    tools = list(host.BOOT)
    tools += host.FETCH if orders.kernels else ()
    tools += host.BUILD if orders.module else ()
    complaints = host.missing(tools)
    obstacle = host.why_no_kvm() if orders.accel != "tcg" else ""
    complaints += [f"--accel kvm: {obstacle}"] if obstacle and orders.accel == "kvm" else []
    if complaints:
        print("\n".join(complaints), file=sys.stderr)
        return for_bisect(EXIT_BROKEN) if orders.bisect else EXIT_BROKEN
    accelerator = Accelerator(orders.accel, obstacle)
    print(accelerator.says, flush=True)
    with bytecode.compiling():
        return _boot_each(orders, accelerator)


def _boot_each(orders: Orders, accelerator: Accelerator) -> int:
    running = _Run(orders, accelerator)
    wanted: list[tuple[str, Path | None]] = [(label, None) for label in orders.kernels]
    wanted += [(path.resolve().name, path) for path in orders.own]
    outcomes: list[Outcome] = []
    for label, path in wanted:
        outcomes.append(Outcome(label))
        try:
            running.kernel(outcomes[-1], path)
        except (KeyboardInterrupt, Interrupted):
            print("\ninterrupted: the virtual machine has been ended, and no unfinished files are kept", flush=True)
            outcomes[-1].ending = "interrupted"
            outcomes[-1].add(EXIT_BROKEN)
            break
    running.compare()
    print()
    print("\n".join(table(outcomes)))
    print(f"results: {running.out}")
    code = worst_exit(o.code for o in outcomes)
    return for_bisect(code) if orders.bisect else code


def for_bisect(code: int) -> int:
    """The exit code for ``git bisect run``: good, bad, or skip this commit."""
    return EXIT_OK if code == EXIT_OK else 1 if code in (EXIT_FAIL, EXIT_HANG) else _SKIP


def fetch(cache: Cache, outcome: Outcome) -> kernels.Kernel:
    """Debian's newest kernel of a series, from the cache if it is there. Raises VmError, OSError."""
    label = outcome.label
    start = time.monotonic()
    found = kernels.find(cache, label)
    outcome.release = found.release
    downloads = cache.root / "downloads"
    downloads.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=downloads) as folder:
        if found.note:
            say(label, "note", found.note)
        if found.fetch:
            say(label, "fetch", f"{found.release}, {found.size / 1e6:.0f} MB")
            with reporting_when_full(downloads):
                found.fetch(Path(folder))
        else:
            say(label, "fetch", f"{found.release} is cached")
        outcome.seconds["fetch"] = time.monotonic() - start
        start = time.monotonic()
        if found.fetch:
            say(label, "unpack", str(cache.path("kernels", found.release)))
        kernel = kernels.unpack(cache, label, found.release, sorted(Path(folder).glob("*.deb")))
        outcome.seconds["unpack"] = time.monotonic() - start
    return kernel


def headers_of(series: str, cache: Path | None) -> list[str]:
    """A line each: where the headers of a Debian kernel are, which compiler they need, and how to build a module.

    Raises VmError, OSError.
    """
    kept = Cache(cache or project.cache())
    with kept.locked():
        kernel = fetch(kept, Outcome(series))
    assert kernel.headers is not None
    wanted = compiler(kernel.headers)
    return [
        f"release:  {kernel.release}",
        f"headers:  {kernel.headers}",
        f"compiler: {wanted or 'unknown'}",
        f"build:    make -C {kernel.headers} M=$PWD modules",
    ]


class _Run:
    """One call of the program: everything that its kernels share."""

    def __init__(self, orders: Orders, accelerator: Accelerator) -> None:
        self.orders = orders
        self.accelerator = accelerator
        self.out = orders.out.absolute()
        self.cache = Cache(orders.cache or project.cache())
        self.labels: list[str] = []
        #: The runs that were made, by kernel.
        self.columns: list[matrix.Column] = []

    def kernel(self, outcome: Outcome, path: Path | None = None) -> None:
        """Takes one kernel through all stages. Our own faults go into its outcome, and the next kernel follows.

        Raises Interrupted or KeyboardInterrupt if the user ends the call.
        """
        label = series = outcome.label
        try:
            with self.cache.locked():
                kernel = kernels.own(path, self.orders.headers) if path else fetch(self.cache, outcome)
                label = outcome.label = self._unused(kernel.label)
                outcome.release = kernel.release
                if kernel.note:
                    say(label, "note", kernel.note)
                own = modules.own(self.orders.modules, kernel)
                driver = _given(own) or self._reference(kernel, outcome)
                own = [each for each in own if each["name"] != reference.NAME]
            if not self.orders.boot:
                outcome.ending = "not booted"
                return
            call = self.orders.call_for(series, path)
            guests = Guests(self.orders, self.accelerator, kernel, self.out / label, outcome, own, driver, call)
            try:
                guests.run()
            finally:
                self.columns += guests.columns
        except (VmError, OSError) as error:
            say(label, "BROKEN", str(error), getattr(error, "detail", ""))
            outcome.ending = outcome.ending or "not run"
            outcome.add(EXIT_BROKEN)

    def compare(self) -> None:
        """Shows the table of rules by kernels, if anything was judged, and writes all of it to a file."""
        if not self.columns:
            return
        width = shutil.get_terminal_size((_WIDEST, 24)).columns
        print("\n".join(matrix.render(self.columns, width)))
        file = self.out / "matrix.txt"
        try:
            file.write_text("\n".join(matrix.render(self.columns, _WIDEST, whole=True)[1:]) + "\n")
        except OSError as error:
            print(f"all rules: cannot be written: {short(file)}: {error.strerror}")
        else:
            print(f"all rules: {short(file)}")

    def _unused(self, label: str) -> str:
        """A label that no earlier kernel of this call has: each is the name of a folder of results."""
        same = self.labels.count(label)
        self.labels.append(label)
        return f"{label}-{same + 1}" if same else label

    def _reference(self, kernel: kernels.Kernel, outcome: Outcome) -> Given | None:
        """The module of the reference driver for a kernel; None if it is not wanted, or does not fit."""
        if not self.orders.module or kernel.headers is None:
            return None
        if why := reference.unfit(kernel):
            say(outcome.label, "note", f"without the reference module: {why}")
            return None
        start = time.monotonic()
        cached = reference.built(self.cache, KMOD, kernel)
        say(outcome.label, "build", f"{reference.NAME}.ko" + (" is cached" if cached else ""))
        ko = reference.build(self.cache, KMOD, kernel)
        outcome.seconds["build"] = time.monotonic() - start
        return Given(ko)


def _given(own: Sequence[dict[str, Any]]) -> Given | None:
    """The user's own reference driver; None without one."""
    mine = (each for each in own if each["name"] == reference.NAME)
    return next((Given(Path(each["path"]), tuple(each["parameters"])) for each in mine), None)
