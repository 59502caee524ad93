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
from vfio_compliance.vm.cache import Cache, telling_when_full
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.guests import Guests, Interrupted
from vfio_compliance.vm.headers import compiler
from vfio_compliance.vm.orders import Given, Orders
from vfio_compliance.vm.outcome import Outcome, table
from vfio_compliance.vm.shown import say, short

_WIDEST = 100
#: What tells git to skip a commit.
_SKIP = 125


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
            print("\ninterrupted: the virtual machine is ended, nothing half-made is kept", flush=True)
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
    """What ``git bisect run`` is told: good, bad, or that this commit says nothing."""
    return EXIT_OK if code == EXIT_OK else 1 if code in (EXIT_FAIL, EXIT_HANG) else _SKIP


def fetch(cache: Cache, outcome: Outcome) -> kernels.Kernel:
    """Debian's newest kernel of a series, out of the cache if it is there. Raises VmError, OSError."""
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
            with telling_when_full(downloads):
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
    """Where the headers of a Debian kernel are, which compiler they want, and how a module is built: a line each.

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
        f"compiler: {wanted or 'not known'}",
        f"build:    make -C {kernel.headers} M=$PWD modules",
    ]


class _Run:
    """One call of the program: what is the same for all its kernels."""

    def __init__(self, orders: Orders, accelerator: Accelerator) -> None:
        self.orders = orders
        self.accelerator = accelerator
        self.out = orders.out.absolute()
        self.cache = Cache(orders.cache or project.cache())
        self.labels: list[str] = []
        #: The runs that were made, by kernel.
        self.columns: list[matrix.Column] = []

    def kernel(self, outcome: Outcome, path: Path | None = None) -> None:
        """Takes one kernel all the way. Our own faults end in its outcome: the next kernel gets its turn.

        Raises Interrupted or KeyboardInterrupt when somebody wants the call to end.
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
        """Shows the table of rules by kernels, if anything was judged, and keeps the whole of it."""
        if not self.columns:
            return
        width = shutil.get_terminal_size((_WIDEST, 24)).columns
        print("\n".join(matrix.render(self.columns, width)))
        file = self.out / "matrix.txt"
        try:
            file.write_text("\n".join(matrix.render(self.columns, _WIDEST, whole=True)[1:]) + "\n")
        except OSError as error:
            print(f"all rules: not kept: {short(file)}: {error.strerror}")
        else:
            print(f"all rules: {short(file)}")

    def _unused(self, label: str) -> str:
        """A label that no earlier kernel of this call has, for each names a folder of results."""
        same = self.labels.count(label)
        self.labels.append(label)
        return f"{label}-{same + 1}" if same else label

    def _reference(self, kernel: kernels.Kernel, outcome: Outcome) -> Given | None:
        """The module of the reference driver for a kernel; None where it is not wanted, or does not fit."""
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
    """The reference driver, where the user brings one; None where not."""
    mine = (each for each in own if each["name"] == reference.NAME)
    return next((Given(Path(each["path"]), tuple(each["parameters"])) for each in mine), None)
