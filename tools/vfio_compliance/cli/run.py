# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance run PROFILE`: judge a device."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.suggest import did_you_mean, similar
from ..common.words import enumerated
from ..results.verdict import EXIT_OK
from ..results.writers import FORMATS
from .checkout import Complaint, loaded, results, root, width
from .made_with import made_with
from .parser import Commands

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..profiles import Profile
    from ..results.events import Event
    from ..results.summary import Summary

#: Names the profile if the command line does not: in tox, the caller's options come after the profile.
_NAMED_BY = "VFIO_PROFILE"


_PROFILE = f"a file, or the name of a shipped one, such as reference (default: the one that {_NAMED_BY} names)"

_DIGITS = 4


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="judge the device of a profile")
    option = parser.add_argument
    option("profile", type=Path, nargs="?", help=_PROFILE)
    option(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="continue the interrupted run in this folder with the same options: cases without a verdict are run",
    )
    option("--out", type=Path, metavar="DIR", help="folder for all output (default: results/NAME-DATE-TIME)")
    option(
        "--only",
        action="append",
        default=[],
        metavar="WHAT",
        help="run only this rule, beginning of a rule, clause or case; repeatable",
    )
    option(
        "--exclude",
        action="append",
        default=[],
        metavar="WHAT",
        help="leave out this rule, beginning of a rule, clause or case; repeatable",
    )
    option("--plan", metavar="NAME", help="smoke, ci (the default), certification, or a file with a plan of your own")
    option(
        "--waivers",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a file of known deviations, in addition to those in the profile; repeatable",
    )
    option("--no-should", action="store_true", help="rules of level should or may do not count for the verdict")
    option(
        "--defect",
        action="append",
        default=[],
        metavar="NAME",
        help="break the reference device on purpose (list --defects); repeatable",
    )
    option("--stress", metavar="TIME", help="run only the stress tests, for a time such as 30s or 1h")
    option(
        "--state",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="after the cases, restore this state, a file from the command save, and report the outcome; repeatable",
    )
    option("--seed", type=int, metavar="N", help="seed of all that is random, as printed in a report")
    option("--shuffle", action="store_true", help="run the cases in a random order, given by the seed")
    option(
        "--dry-run",
        action="store_true",
        help="show how many cases would run, with resets, saves and time; nothing is opened",
    )
    option("--repeat", type=_rounds, default=1, metavar="N", help="run all cases N times, and name the flaky ones")
    option("--quiet", action="store_true", help="show nothing but the last line, which is the verdict")
    option(
        "--repro",
        action="store_true",
        help="write stand-alone programs for one failing case of each rule; implies --keep-data",
    )
    option("--keep-data", action="store_true", help="keep all data that is moved, in the folder of the run")
    option(
        "--report",
        action="append",
        default=[],
        type=_wanted,
        metavar="NAME=FILE",
        help=f"also write the result to a file, as {enumerated(FORMATS)}; repeatable",
    )
    parser.set_defaults(carry_out=carry_out, parser=parser)


def _rounds(text: str) -> int:
    from ..results.events import MOST_ROUNDS

    if not text.isdecimal() or not 1 <= int(text[:_DIGITS]) <= MOST_ROUNDS or len(text) > _DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_ROUNDS}")
    return int(text)


def carry_out(arguments: argparse.Namespace) -> int:
    """Judge the device; exit code of the run."""
    from ..results.reports import Wanted
    from ..watch.supervise import Order, RunError, run

    wanted = [Wanted(*each) for each in arguments.report]
    if len({each.path.absolute() for each in wanted}) < len(wanted):
        raise Complaint("--report names one file twice")
    if arguments.resume is not None:
        from .resume import carry_out as resume

        _refuse_more(arguments)
        return resume(arguments.resume, wanted, arguments.quiet)
    named = arguments.profile or os.environ.get(_NAMED_BY)
    if not named:
        raise Complaint("name the device to judge: vfio-compliance run PROFILE")
    if arguments.repeat > 1 and arguments.state:
        raise Complaint("--state is tried once, at the end of a run: leave out --repeat")
    profile = loaded(Path(named))
    if arguments.dry_run:
        return _dry_run(arguments, profile)
    out, options = arguments.out or results(profile.name), _options(arguments)
    try:
        programs = _programs(profile, arguments.defect) if arguments.repro else None
        order = Order(arguments.repeat, wanted, made_with(profile, options), quiet=arguments.quiet, programs=programs)
        return run(root(), profile, out, options, sys.stdout, width(), order)
    except RunError as error:
        raise Complaint(str(error)) from None


def _wanted(text: str) -> tuple[str, Path]:
    """A requested report. Raises ArgumentTypeError."""
    name, _, file = text.partition("=")
    if name not in FORMATS:
        known = enumerated(f"{each}=" for each in FORMATS)
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with {known}{did_you_mean(similar(name, FORMATS))}")
    if not file or Path(file).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} names no file")
    return name, Path(file)


#: Options that say how a run is shown, not what it does; and what the parser itself adds.
_HOW = ("resume", "report", "quiet", "carry_out", "parser")


def _refuse_more(arguments: argparse.Namespace) -> None:
    """A run is resumed as it began: nothing can be added."""
    for name, value in vars(arguments).items():
        if name not in _HOW and value != arguments.parser.get_default(name):
            word = name if name == "profile" else f"--{name.replace('_', '-')}"
            raise Complaint(f"--resume continues the run as it began: leave out {word}")


def _dry_run(arguments: argparse.Namespace, profile: Profile) -> int:
    from ..results import costs
    from ..results.writers import dry
    from ..watch.dry import dry_run
    from ..watch.supervise import RunError

    try:
        summary = dry_run(root(), profile, _options(arguments), arguments.repeat)
    except RunError as error:
        raise Complaint(str(error)) from None
    print(dry.render(summary, costs.forecast(summary, costs.table()), width()))
    return EXIT_OK


def _options(arguments: argparse.Namespace) -> list[str]:
    """The options of each test process of the run, the same for all."""
    import random

    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed
    options = [f"--only={what}" for what in arguments.only] + [f"--defect={name}" for name in arguments.defect]
    options += [] if arguments.stress is None else [f"--stress={arguments.stress}"]
    options += [f"--exclude={what}" for what in arguments.exclude]
    options += [] if arguments.plan is None else [f"--plan={arguments.plan}"]
    options += [f"--state={path.absolute()}" for path in arguments.state]
    options += [f"--waivers={path}" for path in arguments.waivers]
    options += ["--no-should"] if arguments.no_should else []
    options += [f"--seed={seed}"]
    options += ["--shuffle"] if arguments.shuffle else []
    return [*options, "--keep-data"] if arguments.keep_data or arguments.repro else options


def _programs(profile: Profile, defects: Sequence[str]) -> Callable[[Summary, Path], Iterator[Event]]:
    """Makes programs of the failures of a run, tried on the run's own device."""
    from ..repro.after import programs

    return partial(programs, profile, defects)
