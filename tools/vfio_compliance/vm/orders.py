# SPDX-License-Identifier: GPL-2.0-only
"""What one call is to do: on which kernels, how, and which commands."""

import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: The first word of a command that is known to make the kernel complain.
IGNORE_LOG = "--ignore-log"

#: What every guest judges by default, and what one with the reference module loaded judges in addition.
TARGETS, MODULE_TARGETS = ("qemu-edu",), ("refdriver-kernel",)
#: No waiver can excuse a kernel that is known to complain there.
_OPTIONS = {"qemu-edu": ["--plan", "qemu-edu"]}


@dataclass(frozen=True)
class Given:
    """A module of the user: its file, and its parameters, each ``name=value``."""

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
    #: The guest's memory, as QEMU writes it.
    memory: str
    cpus: int
    #: Whether the reference driver is built and loaded, and whether complaints in the kernel log count.
    module: bool
    log_counts: bool
    #: Commands for the guest; none: the kernel's default ones. The log does not count during one that begins with
    #: ``IGNORE_LOG``.
    commands: Sequence[list[str]] = ()
    #: The user's modules, commands that prepare their devices, the profiles of these, and the selection of rules.
    modules: Sequence[Given] = ()
    setup: Sequence[str] = ()
    profiles: Sequence[Path] = ()
    only: Sequence[str] = ()
    #: For the kernel's command line, and for QEMU's.
    append: Sequence[str] = ()
    qemu: Sequence[str] = ()
    #: How many times a kernel is booted again to continue after its guest has died.
    again: int = 1
    #: Whether anything is booted once all is ready.
    boot: bool = True
    #: Whether the exit code is one for ``git bisect run``.
    bisect: bool = False

    def call_for(self, series: str, tree: Path | None) -> list[str]:
        """The command line for such a guest of one kernel, without its commands: to see a failure again.

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
        # With =, since it begins with a dash.
        return [*words, *([f"--qemu-arg={shlex.join(self.qemu)}"] if self.qemu else [])]

    def targets(self, *, module: bool) -> list[str]:
        """The profiles that a guest judges without commands; ``module``: the reference driver is loaded."""
        if self.profiles:
            return [str(path) for path in self.profiles]
        return [*TARGETS, *(MODULE_TARGETS if module else ())]

    def default_commands(self, *, module: bool) -> list[list[str]]:
        """What a guest runs by default."""
        only = [word for what in self.only for word in ("--only", what)]
        return [
            ["vfio-compliance", "run", path, *_OPTIONS.get(name(path), ()), *only, "--out", f"{{out}}/{name(path)}"]
            for path in self.targets(module=module)
        ]


def name(profile: str) -> str:
    """The name of the folder for a profile's run."""
    return Path(profile).stem


def fill(command: Sequence[str], out: Path, label: str) -> list[str]:
    """A guest command with ``{out}`` and ``{kernel}`` replaced."""
    return [word.replace("{out}", str(out)).replace("{kernel}", label) for word in command]


def words(command: Sequence[str]) -> list[str]:
    """A guest command without its marker."""
    return list(command[1:] if command[:1] == [IGNORE_LOG] else command)


def resuming(command: Sequence[str], folder: Path) -> list[str]:
    """The command that continues the run in a folder, and writes the reports that the first command was to write."""
    given = words(command)
    reports = [word for word in given if word.startswith("--report=")]
    reports += [f"--report={value}" for option, value in itertools.pairwise(given) if option == "--report"]
    return ["vfio-compliance", "run", "--resume", str(folder), *reports]
