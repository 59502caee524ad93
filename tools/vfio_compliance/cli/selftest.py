# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance selftest`: does this installation work? Takes seconds, and needs no device and no network."""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..common import origin
from ..common.project import INSTALLED, PROJECT
from ..common.words import counted, printable
from ..results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_OK, Verdict
from .checkout import Complaint, catalogue, loaded, root
from .parser import Commands

if TYPE_CHECKING:
    from ..results.summary import Summary

#: The device that is judged, and a rule that it is made to break, by the first of the rule's defects.
_DEVICE, _RULE = Path("reference"), "v1.reserved.reads-zero"
#: How many of the changed files are named.
_MOST = 5
_SEED = "--seed=1"

_DESCRIPTION = "Check whether this installation works. Only the reference device is opened, which is started for it."


class Found(NamedTuple):
    """The result of one part."""

    good: bool
    text: str


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("selftest", help="check whether this installation works", description=_DESCRIPTION)
    parser.set_defaults(carry_out=carry_out)


def carry_out(_: argparse.Namespace) -> int:
    """Print a line for each part; EXIT_BROKEN if one does not work."""
    code = EXIT_OK
    for name, part in _PARTS.items():
        try:
            found = part()
        except (Complaint, OSError) as error:
            found = Found(False, str(error))
        head, *rest = found.text.splitlines() or ["no output"]
        print(f"{'ok' if found.good else 'BROKEN':8}{name:10}{printable(head)}", flush=True)
        for line in rest:
            print(f"{'':18}{printable(line)}")
        code = code if found.good else EXIT_BROKEN
    return code


def _files() -> Found:
    """The files are those that were built."""
    if not INSTALLED:
        return Found(root().is_dir(), f"the checkout {PROJECT}: `git status` shows what was changed")
    lines = origin.damage()
    more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    if lines:
        return Found(False, "\n".join([*lines[:_MOST], *more]))
    made = origin.record()
    return Found(True, f"{counted(len(made.files) if made else 0, 'file')} as built, in {PROJECT.parent}")


def _rules() -> Found:
    """Rules, profiles and plans can be read."""
    from ..profiles import ProfileError, plan, shipped

    known = catalogue()
    profiles = shipped.profiles()
    for file in profiles.values():
        loaded(file)
    plans = sorted(plan.FOLDER.glob("*.yaml"))
    try:
        wrong = [problem for file in plans for problem in plan.load(file).problems(known.rules)]
    except ProfileError as error:
        wrong = error.problems
    if wrong:
        return Found(False, "\n".join(map(str, wrong)))
    counts = (counted(len([*known]), "rule"), counted(len(profiles), "profile"), counted(len(plans), "plan"))
    return Found(len(profiles) > 0 and len(plans) > 0, ", ".join(counts))


def _reference() -> Found:
    """The reference device keeps all rules of a short run."""
    code, text, _ = _run("--plan=smoke")
    return Found(code == EXIT_OK, text)


def _defect() -> Found:
    """One defect of it is caught, by its rule."""
    defect = next(iter(catalogue().rules[_RULE].defects))
    code, text, summary = _run(f"--defect={defect}", f"--only={_RULE}")
    caught = code == EXIT_FAIL and summary is not None and summary.device_verdicts.get(_RULE) is Verdict.FAIL
    return Found(
        caught, f"{defect} breaks {_RULE}, which the run shows" if caught else f"{defect} was not caught: {text}"
    )


def _run(*options: str) -> tuple[int, str, Summary | None]:
    """Exit code and last line of a run of the reference device, and its result; None if it did not begin."""
    from ..results import journal
    from ..results.reading import summarise
    from ..watch.supervise import Order, RunError, run

    screen = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="vfio-") as folder:
        out = Path(folder, "run")
        try:
            code = run(root(), loaded(_DEVICE), out, [*options, _SEED], screen, 100, Order(quiet=True))
            return code, screen.getvalue().strip(), summarise(journal.read(out / journal.NAME))
        except (RunError, journal.JournalError) as error:
            return EXIT_BROKEN, str(error), None


def _version() -> Found:
    """Which version it is; a changed one keeps its number, and each report says that it was changed."""
    from ..rules.version import described, suite_facts

    return Found(True, described(suite_facts()))


_PARTS: dict[str, Callable[[], Found]] = {
    "version": _version,
    "files": _files,
    "rules": _rules,
    "reference": _reference,
    "defect": _defect,
}
