# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance vm`: the suite, or any command, on real kernels in virtual machines."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.words import counted
from ..results.verdict import EXIT_FAIL, EXIT_OK
from .checkout import Complaint, loaded
from .parser import Commands

if TYPE_CHECKING:
    from ..vm.orders import Given, Orders

_KERNELS = ["5.10", "6.1", "6.12", "7.3"]
_SERIES = r"\d+\.\d[\w.+~-]*"
#: Folders of which a guest has its own.
_UNSEEN = ("/run", "/dev", "/proc", "/sys")
_TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_EPILOG = """\
Without a COMMAND, the suite judges the profile qemu-edu on every kernel, and refdriver-kernel where the reference
driver is loaded. The driver is left out, with a message, on kernels that it does not support. A table of rules by
kernels comes last, and is also written to matrix.txt in the folder of results. Results of an earlier call there are
replaced.

Each COMMAND runs inside the guest as root, in the folder that has the suites, with this Python environment on its PATH
and without a shell. The guest sees the host's files, and its changes to them are lost; only {out}, the kernel's own
folder of results, is kept. {out} and {kernel} are replaced in every argument. A lone --then separates commands that run
one after the other in the same boot, whatever the exit code of the one before. With --ignore-log before a command, the
kernel's log does not count while it runs:

  vfio-compliance vm --kernels 6.12 -- vfio-compliance run refdriver-kernel --out {out} \\
      --then pytest -p no:cacheprovider tools/tests/proofs/test_defects.py --target profiles/refdriver-kernel.yaml

A module of your own is loaded before all else, after its dependencies. It replaces the kernel's module of that name,
such as vfio_iommu_type1. --setup is a shell command that sets up its device. --profile and --only say what is judged,
as in `run`:

  vfio-compliance vm --kernels 6.12 --module ./vfio_iommu_type1.ko
  vfio-compliance vm --kernels 6.12 --no-module --module ./mtty.ko --setup ./make-mtty --profile mtty.yaml

If a guest dies during a run, the run is kept: the host adds the end that it saw to the journal, and another guest
continues after the case that was running, unless --continue 0.

Exit code: the worst of all kernels, in the order 1 fail, 3 hang, 2 broken, 4 nothing judged, 0. A guest that misses its
deadline is a hang. One that panics outside of a run, or does not boot, is broken. A kernel log with a warning, an oops
or a foreign taint is a fail. With --bisect it is 0, 1 for a fail or a hang, and 125 if the commit cannot be judged.
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "vm",
        help="judge the reference kernel module in a virtual machine",
        description="Boot real kernels in virtual machines, load the reference driver, and run commands inside.",
        epilog=_EPILOG,
        usage="%(prog)s [options] [-- COMMAND... [--then COMMAND...]...]",
    )
    option = parser.add_argument
    option(
        "--kernels", type=_series, metavar="LIST", help=f"Debian's newest of each series (default {','.join(_KERNELS)})"
    )
    option("--kernel", type=Path, action="append", default=[], metavar="PATH", help="your build tree or bzImage")
    option(
        "--headers",
        metavar="DIR",
        help="headers to build the module against, for a bare bzImage. Alone, with a Debian series such as 6.12: "
        "show where its headers are, and the compiler that they need",
    )
    option("--config-check", type=Path, metavar="TREE", help="show which options a kernel's configuration lacks")
    option(
        "--module",
        type=_module,
        action="append",
        default=[],
        metavar="KO[,NAME=VALUE...]",
        help="load this module of yours",
    )
    option(
        "--setup", action="append", default=[], metavar="COMMAND", help="command for the guest's shell, before all else"
    )
    option("--profile", type=Path, action="append", default=[], metavar="FILE", help="judge the device of this profile")
    option("--only", action="append", default=[], metavar="WHAT", help="a rule, its beginning, a clause, a case")
    option("--out", type=Path, default=Path("results/vm"), metavar="DIR", help="results (default results/vm)")
    option("--cache", type=Path, metavar="DIR", help="kernels and builds (default ~/.cache/vfio-compliance)")
    option("--deadline", type=_duration, default=900.0, metavar="TIME", help="limit of one boot (default 15min)")
    option(
        "--accel",
        choices=("auto", "kvm", "tcg"),
        default="auto",
        help="KVM, emulation (tcg), or KVM if a kernel boots on it (auto, default)",
    )
    option("--memory", default="1G", metavar="SIZE", help="memory of the guest (default 1G)")
    option("--cpus", type=_count, default=2, metavar="N", help="processors of the guest (default 2)")
    option("--append", action="append", default=[], metavar="WORDS", help="words for the kernel's command line")
    option("--qemu-arg", action="append", default=[], metavar="WORDS", help="words for QEMU: --qemu-arg='-device edu'")
    option(
        "--continue",
        dest="again",
        type=_times,
        default=1,
        metavar="N",
        help="guests that may continue a run (default 1)",
    )
    option("--bisect", action="store_true", help="give an exit code for `git bisect run`")
    option("--ignore-log", action="store_true", help="show a kernel log that is not clean, but do not count it")
    option("--prepare", action="store_true", help="fetch kernels and build the module, but boot nothing")
    option("--no-module", action="store_true", help="neither build nor load the reference driver")
    option("commands", nargs=argparse.REMAINDER, action=_Split, default=[], help=argparse.SUPPRESS)
    parser.set_defaults(carry_out=carry_out, wrong=parser.error)


def carry_out(arguments: argparse.Namespace) -> int:
    """Boot the kernels; the worst exit code of all."""
    from ..common.signals import terminated_as_interrupted
    from ..vm.command import run

    if arguments.config_check is not None:
        return _config_check(arguments.config_check)
    if arguments.headers and not arguments.kernel:
        return _headers(arguments)
    with terminated_as_interrupted():  # no guest may outlive this command
        return run(orders(arguments))


def orders(arguments: argparse.Namespace) -> Orders:
    """What is asked for. Exits if options contradict each other."""
    from ..profiles import shipped
    from ..vm.orders import Orders

    for word, given in (("--profile", arguments.profile), ("--only", arguments.only)):
        if given and arguments.commands:
            arguments.wrong(f"{word} is for the suite, but a COMMAND was given: leave out one of them")
    for path in [*arguments.profile, *(each.path for each in arguments.module), arguments.out]:
        if (unseen := next((at for at in _UNSEEN if path.absolute().is_relative_to(at)), None)) is not None:
            raise Complaint(f"{path}: a guest has its own {unseen}: put the file into another folder")
    for path in arguments.profile:
        loaded(path)  # an invalid profile is reported before anything is booted
    return Orders(
        kernels=arguments.kernels or ([] if arguments.kernel else _KERNELS),
        own=arguments.kernel,
        headers=Path(arguments.headers) if arguments.headers else None,
        out=arguments.out,
        cache=arguments.cache,
        deadline=arguments.deadline,
        accel=arguments.accel,
        memory=arguments.memory,
        cpus=arguments.cpus,
        module=not arguments.no_module and (not arguments.profile or any(map(_of_reference, arguments.profile))),
        log_counts=not arguments.ignore_log,
        commands=arguments.commands,
        modules=arguments.module,
        setup=arguments.setup,
        profiles=[shipped.file_of(path).absolute() for path in arguments.profile],
        only=arguments.only,
        append=arguments.append,
        qemu=[word for words in arguments.qemu_arg for word in shlex.split(words)],
        again=arguments.again,
        bisect=arguments.bisect,
        boot=not arguments.prepare,
    )


def _of_reference(profile: Path) -> bool:
    """Whether a profile is for the reference driver's module, which is built and loaded only for such profiles."""
    from ..vm.reference import NAME

    return NAME in profile.read_text()


def _headers(arguments: argparse.Namespace) -> int:
    """Show where the headers of a Debian series are."""
    from ..vm.command import headers_of
    from ..vm.errors import VmError

    if not re.fullmatch(_SERIES, arguments.headers):
        arguments.wrong(f"--headers {arguments.headers} belongs to --kernel; by itself it takes a series such as 6.12")
    try:
        print("\n".join(headers_of(arguments.headers, arguments.cache)))
    except (VmError, OSError) as error:
        raise Complaint("\n".join(filter(None, [str(error), getattr(error, "detail", "")]))) from None
    return EXIT_OK


def _config_check(tree: Path) -> int:
    """Show which options a kernel's configuration lacks; fails if any is missing."""
    from ..vm.errors import VmError
    from ..vm.headers import lacking

    try:
        missing = lacking(tree)
    except VmError as error:
        raise Complaint(str(error)) from None
    for name, what in missing.items():
        print(f"CONFIG_{name}: {what}")
    print(f"{counted(len(missing), 'option')} missing in {tree}" if missing else f"{tree} lacks nothing")
    return EXIT_FAIL if missing else EXIT_OK


class _Split(argparse.Action):
    """Takes all words after a lone --: the commands for the guest, with --then between them."""

    def __call__(
        self, parser: argparse.ArgumentParser, arguments: argparse.Namespace, words: Any, option: str | None = None
    ) -> None:
        from ..vm.orders import IGNORE_LOG

        before, after = _cut(words, "--")
        if before:
            parser.error(f"unrecognized arguments: {' '.join(before)}; a COMMAND comes after a lone --")
        commands = []
        while after is not None:
            command, after = _cut(after, "--then")
            commands.append(command)
        if len(commands) > 1 and not all(commands):
            parser.error("--then belongs between two commands")
        if [IGNORE_LOG] in commands:
            parser.error(f"{IGNORE_LOG} belongs before a command")
        arguments.commands = [command for command in commands if command]


def _cut(words: Sequence[str], separator: str) -> tuple[list[str], list[str] | None]:
    """The words before the first separator, and those after it; None without a separator."""
    if separator not in words:
        return list(words), None
    place = words.index(separator)
    return list(words[:place]), list(words[place + 1 :])


def _duration(text: str) -> float:
    """Seconds from ``500ms``, ``30s``, ``15min`` or ``1h``. Raises argparse.ArgumentTypeError otherwise."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|min|h)", text.strip())
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 30s, 15min or 1h")
    return float(match[1]) * _TIMES[match[2]]


def _module(text: str) -> Given:
    """``PATH.ko`` with parameters after commas. Raises argparse.ArgumentTypeError."""
    from ..vm.orders import Given

    path, *parameters = text.split(",")
    # A value may contain commas, such as a list of numbers.
    whole: list[str] = []
    for word in parameters:
        if "=" in word or not whole:
            whole.append(word)
        else:
            whole[-1] += f",{word}"
    if not path or any("=" not in word for word in whole):
        raise argparse.ArgumentTypeError(f"{text!r} is not PATH.ko[,NAME=VALUE...]")
    return Given(Path(path), tuple(whole))


def _count(text: str) -> int:
    number = _times(text)
    if not number:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _times(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number up to 999")
    return int(text)


def _series(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = [name for name in names if not re.fullmatch(_SERIES, name)]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of kernels such as 6.1,6.12")
    return names
