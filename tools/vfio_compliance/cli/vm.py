# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance vm`: the suite, or any command, on real kernels in virtual machines."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .parser import Commands

if TYPE_CHECKING:
    from ..vm.command import Orders

_KERNELS = ["5.10", "6.1", "6.12", "7.3"]
_TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
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


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "vm",
        help="judge the reference kernel module in a virtual machine",
        description="Boot real kernels in virtual machines, load the reference driver, run commands inside.",
        epilog=_EPILOG,
        usage="%(prog)s [options] [-- COMMAND... [--then COMMAND...]...]",
    )
    option = parser.add_argument
    option("--kernels", type=_series, metavar="LIST", help=f"of Debian, newest of each (default {','.join(_KERNELS)})")
    option("--kernel", type=Path, action="append", default=[], metavar="PATH", help="your build tree or bzImage")
    option("--headers", type=Path, metavar="DIR", help="what to build the module against, for a bare bzImage")
    option("--out", type=Path, default=Path("results/vm"), metavar="DIR", help="results (default results/vm)")
    option("--cache", type=Path, metavar="DIR", help="kernels and builds (default ~/.cache/vfio-compliance)")
    option("--deadline", type=_duration, default=900.0, metavar="TIME", help="limit of one boot (default 15min)")
    option(
        "--accel",
        choices=("auto", "kvm", "tcg"),
        default="auto",
        help="KVM, emulation (tcg), or KVM where a kernel boots on it (auto, default)",
    )
    option("--memory", default="1G", metavar="SIZE", help="of the guest (default 1G)")
    option("--cpus", type=int, default=2, metavar="N", help="of the guest (default 2)")
    option("--ignore-log", action="store_true", help="a kernel log that is not clean is shown, and does not count")
    option("--no-module", action="store_true", help="neither build nor load the reference driver")
    option("commands", nargs=argparse.REMAINDER, action=_Split, default=[], help=argparse.SUPPRESS)
    parser.set_defaults(carry_out=carry_out, wrong=parser.error)


def carry_out(arguments: argparse.Namespace) -> int:
    """Boot the kernels; the worst exit code of all."""
    from ..common.signals import terminated_as_interrupted
    from ..vm.command import run

    with terminated_as_interrupted():  # a guest is not to outlive whoever started it
        return run(orders(arguments))


def orders(arguments: argparse.Namespace) -> Orders:
    """What is asked for. Exits on options that do not go together."""
    from ..vm.command import Orders

    if arguments.headers and not arguments.kernel:
        arguments.wrong("--headers belongs to --kernel")
    return Orders(
        kernels=arguments.kernels or ([] if arguments.kernel else _KERNELS),
        own=arguments.kernel,
        headers=arguments.headers,
        out=arguments.out,
        cache=arguments.cache,
        deadline=arguments.deadline,
        accel=arguments.accel,
        memory=arguments.memory,
        cpus=arguments.cpus,
        module=not arguments.no_module,
        log_counts=not arguments.ignore_log,
        commands=arguments.commands,
    )


class _Split(argparse.Action):
    """Takes all words from a lone -- on: the commands for the guest, with --then between them."""

    def __call__(
        self, parser: argparse.ArgumentParser, arguments: argparse.Namespace, words: Any, option: str | None = None
    ) -> None:
        before, after = _cut(words, "--")
        if before:
            parser.error(f"unrecognized arguments: {' '.join(before)}; a COMMAND stands after a lone --")
        commands = []
        while after is not None:
            command, after = _cut(after, "--then")
            commands.append(command)
        if len(commands) > 1 and not all(commands):
            parser.error("--then stands between two commands")
        arguments.commands = [command for command in commands if command]


def _cut(words: Sequence[str], separator: str) -> tuple[list[str], list[str] | None]:
    """The words before the first separator, and those after it; None where there is none."""
    if separator not in words:
        return list(words), None
    place = words.index(separator)
    return list(words[:place]), list(words[place + 1 :])


def _duration(text: str) -> float:
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
