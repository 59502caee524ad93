# SPDX-License-Identifier: GPL-2.0-only
"""The command: run, report, list, explain, check, judge, proxy, vm."""

from __future__ import annotations

import argparse
import datetime
import io
import os
import random
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__, profiles
from .. import rules as spec
from ..results.verdict import EXIT_BROKEN, EXIT_OK

_LABEL = 10


class Complaint(Exception):
    """Something that the user can put right; the message is all there is to say."""


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command; its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal has every letter
    try:
        code = _carry_out(words)
        sys.stdout.flush()
    except (Complaint, spec.SpecError) as error:
        print(f"vfio-compliance: {error}", file=sys.stderr)
        return EXIT_BROKEN
    except profiles.ProfileError as error:
        print(error, file=sys.stderr)
        return EXIT_BROKEN
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be written goes nowhere
        return EXIT_BROKEN
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


def _carry_out(words: list[str]) -> int:
    # These have options of their own.
    if words[:1] == ["check"]:
        from ..profiles.command import check

        return check(words[1:], spec.load(_root() / "suites").rules.keys())
    if words[:1] == ["vm"]:
        from ..vm.command import main as vm

        return vm(words[1:])
    if words[:1] == ["judge"]:
        from ..clients.command import main as judge

        return judge(words[1:], _width())
    if words[:1] == ["proxy"]:
        from ..clients.record import main as proxy

        return proxy(words[1:])
    arguments = _parser().parse_args(words)
    code: int = arguments.carry_out(arguments)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vfio-compliance",
        description="Judge a VFIO migration driver, rule by rule.",
        epilog="exit codes: 0 all held, 1 a rule was broken, 2 not everything could be judged (also when interrupted), "
        "3 a call hung, 4 nothing was judged",
    )
    parser.add_argument("--version", action="version", version=f"vfio-compliance {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="judge the device of a profile")
    run.add_argument("profile", type=Path, help="a file such as profiles/reference.yaml")
    run.add_argument("--out", type=Path, help="folder for the journal and all else that is found")
    run.add_argument(
        "--only", action="append", default=[], metavar="WHAT", help="a rule, its beginning, a clause, a case"
    )
    run.add_argument(
        "--skip", action="append", default=[], metavar="WHAT", help="leave out a rule, its beginning, a clause, a case"
    )
    run.add_argument("--plan", type=Path, metavar="FILE", help="a plan: which rules are left out of the run, and why")
    run.add_argument(
        "--defect", action="append", default=[], metavar="NAME", help="break the reference device on purpose"
    )
    run.add_argument(
        "--stress", metavar="TIME", help="explore the device for a time such as 1min, and judge nothing else"
    )
    run.add_argument("--seed", type=int, metavar="N", help="of what is random, as a report tells it")
    run.add_argument("--shuffle", action="store_true", help="run the cases in a random order, which the seed gives")
    run.set_defaults(carry_out=_run)

    report = commands.add_parser("report", help="show the result of a run again, from its journal")
    report.add_argument("folder", type=Path, help="what --out named, or the journal in it")
    report.set_defaults(carry_out=_report)

    listing = commands.add_parser("list", help="all rules: clause, rule, level, who has to keep it, test")
    listing.add_argument("pattern", nargs="?", help="a rule, its beginning, or a clause")
    listing.add_argument("--defects", action="store_true", help="the defects that prove them, and what none proves")
    listing.set_defaults(carry_out=_list)

    explain = commands.add_parser("explain", help="all about a rule")
    explain.add_argument("rule", help="a rule, its beginning, or a clause")
    explain.set_defaults(carry_out=_explain)

    commands.add_parser("check", help="check profiles and plans without touching a device")
    commands.add_parser("judge", help="judge a client by a trace of what it did, or by the journal of a run")
    commands.add_parser("proxy", help="record a trace of any client of a vfio-user server")
    commands.add_parser("vm", help="judge the reference kernel module in a virtual machine")
    return parser


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def _root() -> Path:
    """The folder that has the suites: the checkout this program runs from, or the present folder."""
    for root in (Path(__file__).resolve().parents[3], Path.cwd()):
        if (root / "suites").is_dir():
            return root
    raise Complaint("no folder `suites` here: start vfio-compliance in the project's checkout")


def _run(arguments: argparse.Namespace) -> int:
    from ..watch.supervise import RunError, run

    profile = profiles.load(arguments.profile)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = arguments.out or Path("results", f"{profile.name}-{now}")
    options = [f"--only={what}" for what in arguments.only] + [f"--defect={name}" for name in arguments.defect]
    options += [] if arguments.stress is None else [f"--stress={arguments.stress}"]
    options += [f"--skip={what}" for what in arguments.skip]
    options += [] if arguments.plan is None else [f"--plan={arguments.plan}"]
    # Every test process of the run takes the same.
    options += [f"--seed={random.randrange(1 << 32) if arguments.seed is None else arguments.seed}"]
    options += ["--shuffle"] if arguments.shuffle else []
    try:
        return run(_root(), profile, out, options, sys.stdout, _width())
    except RunError as error:
        raise Complaint(str(error)) from None


def _report(arguments: argparse.Namespace) -> int:
    from ..results import journal, summary
    from ..results.writers import terminal

    try:
        place = arguments.folder
        result = summary.summarise(journal.read(place / journal.NAME if place.is_dir() else place))
    except journal.JournalError as error:
        raise Complaint(str(error)) from None
    print(terminal.render(result, _width()))
    return result.exit_code


def _list(arguments: argparse.Namespace) -> int:
    from ..rules.tests import find

    catalogue = spec.load(_root() / "suites")
    tests = {test.rule: test for test in find(_root() / "suites")}
    rules = _matching(catalogue, arguments.pattern) if arguments.pattern else list(catalogue)
    if arguments.defects:
        _list_defects(rules)
        return EXIT_OK
    print(f"{'clause':8}{'rule':44}{'level':7}{'status':12}{'side':8}test")
    for rule in rules:
        test = tests.get(rule.id)
        where = f"{test.file.name}::{test.name}" if test else "none"
        print(f"{rule.clause:8}{rule.id:44}{rule.level:7}{rule.status:12}{rule.side:8}{where}")
    covered = {clause for rule in rules for clause in rule.clauses}
    print(f"{spec.numbers(rules)}; {len(covered)} clauses, {sum(rule.id in tests for rule in rules)} with a test")
    return EXIT_OK


def _list_defects(rules: list[spec.Rule]) -> None:
    """Each defect with the rules that it breaks, then the rules that none does, with the reason."""
    proofs = spec.by_defect(rules)
    for defect, proven in proofs.items():
        print(f"{defect:44}{', '.join(proven)}")
    unprovable: dict[str, list[str]] = {}
    for rule in rules:
        if rule.unprovable:
            unprovable.setdefault(rule.unprovable, []).append(rule.id)
    print(f"{len(proofs)} defects, {sum(bool(rule.defects) for rule in rules)} of {len(rules)} rules proven by them")
    for reason, names in unprovable.items():
        print(f"not proven by a defect: {', '.join(names)}\n    {reason}")


def _explain(arguments: argparse.Namespace) -> int:
    from ..rules.tests import find

    catalogue = spec.load(_root() / "suites")
    tests = {test.rule: test for test in find(_root() / "suites")}
    for rule in _matching(catalogue, arguments.rule):
        test = tests.get(rule.id)
        lines = {
            "rule": rule.says,
            "clause": "; ".join(f"{clause} {catalogue.clauses[clause]}" for clause in rule.clauses),
            "level": f"{rule.level}, {rule.status}, to be kept by the {rule.side}"
            + ("" if rule.blocking else "; a device that breaks it conforms all the same")
            + ("; judged by run --stress alone" if rule.on_request else ""),
            "source": rule.source,
            "stands on": ", ".join(rule.stands_on) or "no other rule",
            "test": f"{test.file.relative_to(_root())}:{test.line} {test.name}" if test else "none",
            "it says": test.says if test else "",
            "defects": ", ".join(rule.defects) or f"none can prove it: {rule.unprovable}",
        }
        print(rule.id)
        for label, text in lines.items():
            print(f"   {label:{_LABEL}}{text}")
    return EXIT_OK


def _matching(catalogue: spec.Catalogue, pattern: str) -> list[spec.Rule]:
    if rules := catalogue.matching(pattern):
        return rules
    raise Complaint(f"no rule or clause {pattern!r}; {catalogue.hint(pattern)}")


if __name__ == "__main__":
    sys.exit(main())
