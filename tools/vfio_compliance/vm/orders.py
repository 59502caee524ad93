# SPDX-License-Identifier: GPL-2.0-only
"""What one call is to do: on which kernels, how, and what in them."""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: The first word of a command that is known to upset the kernel.
IGNORE_LOG = "--ignore-log"

#: What every guest judges without other orders, and what one with the reference module loaded judges too.
TARGETS, MODULE_TARGETS = ("qemu-edu",), ("refdriver-kernel",)
#: A kernel that is known to complain there cannot be excused by a waiver.
_OPTIONS = {"qemu-edu": ["--plan", "qemu-edu"]}


@dataclass(frozen=True)
class Given:
    """A module of the user's: its file, and its parameters, each ``name=value``."""

    path: Path
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Orders:
    """All that the command line says."""

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
    #: For the guest; none: those that the kernel asks for. The log does not count during one that begins with
    #: ``IGNORE_LOG``.
    commands: Sequence[list[str]] = ()
    #: The user's modules, what makes their devices ready, the profiles of these, and what of the rules is judged.
    modules: Sequence[Given] = ()
    setup: Sequence[str] = ()
    profiles: Sequence[Path] = ()
    only: Sequence[str] = ()
    #: For the kernel's command line, and for QEMU's.
    append: Sequence[str] = ()
    qemu: Sequence[str] = ()
    #: How many times a kernel is booted again after its guest has died, to go on.
    again: int = 1
    #: Whether anything is booted once all is there.
    boot: bool = True
    #: Whether the exit code is one for ``git bisect run``.
    bisect: bool = False

    def call_for(self, series: str, tree: Path | None) -> list[str]:
        """The call that makes such a guest of one kernel, without what it runs: for who wants to see a failure again.

        ``tree`` is the user's own kernel, None for Debian's of the ``series``.
        """
        words = ["vfio-compliance", "vm"]
        words += ["--kernels", series] if tree is None else ["--kernel", str(tree)]
        words += ["--headers", str(self.headers)] if self.headers else []
        words += [] if self.module else ["--no-module"]
        for option, values in (
            ("--module", [",".join([str(each.path), *each.parameters]) for each in self.modules]),
            ("--setup", self.setup),
            ("--append", self.append),
        ):
            words += [word for value in values for word in (option, value)]
        # With =, for it begins with a dash.
        return [*words, *([f"--qemu-arg={shlex.join(self.qemu)}"] if self.qemu else [])]

    def targets(self, *, module: bool) -> list[str]:
        """The profiles that a guest is judged by without commands; ``module``: the reference driver is loaded."""
        if self.profiles:
            return [str(path) for path in self.profiles]
        return [*TARGETS, *(MODULE_TARGETS if module else ())]

    def default_commands(self, *, module: bool) -> list[list[str]]:
        """What a guest runs without other orders."""
        only = [word for what in self.only for word in ("--only", what)]
        return [
            ["vfio-compliance", "run", path, *_OPTIONS.get(name(path), ()), *only, "--out", f"{{out}}/{name(path)}"]
            for path in self.targets(module=module)
        ]


def name(profile: str) -> str:
    """What the folder of a profile's run is called."""
    return Path(profile).stem


def fill(command: Sequence[str], out: Path, label: str) -> list[str]:
    """A guest command with ``{out}`` and ``{kernel}`` replaced."""
    return [word.replace("{out}", str(out)).replace("{kernel}", label) for word in command]


def words(command: Sequence[str]) -> list[str]:
    """A guest command without the word that says something about it."""
    return list(command[1:] if command[:1] == [IGNORE_LOG] else command)


def resuming(command: Sequence[str], folder: Path) -> list[str]:
    """What goes on with the run in a folder that a command has begun, and writes the reports that this was to write."""
    given = words(command)
    reports = [word for word in given if word.startswith("--report=")]
    reports += [f"--report={value}" for option, value in itertools.pairwise(given) if option == "--report"]
    return ["vfio-compliance", "run", "--resume", str(folder), *reports]
