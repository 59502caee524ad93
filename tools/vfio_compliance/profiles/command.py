# SPDX-License-Identifier: GPL-2.0-only
"""Whether a profile, a plan or a list of waivers is right, and if not, where it is wrong."""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator

from vfio_compliance.common.words import counted
from vfio_compliance.profiles import plan, waiver_files
from vfio_compliance.profiles.device import commands
from vfio_compliance.profiles.document import WHOLE_FILE, Problem, ProfileError
from vfio_compliance.profiles.loader import load
from vfio_compliance.profiles.profile import Profile
from vfio_compliance.profiles.records import Record
from vfio_compliance.profiles.steps import FileStep, WriteFile
from vfio_compliance.profiles.stimulus import every_step
from vfio_compliance.profiles.which import Which, which

_BEFORE, _WIDTH = 60, 100  # characters of a long line shown before the place, and altogether


def check(files: Iterable[str], kind: Record, rules: Collection[str] | None = None) -> int:
    """Load each file, a profile of the format `kind`, a plan or waivers, and say what is wrong with it, and where.

    If it is right, print the programs that a run would start, the files that it would read and write, and
    `path: ok`.

    Names of rules are compared with `rules`, the ids of the catalogue, if these are given. Returns 0 if all are
    right, and 2 otherwise: a wrong profile is a fault of the set-up, not of the device.
    """
    right = [_check(path, kind, rules) for path in files]
    return 0 if all(right) else 2


def _check(path: str, kind: Record, rules: Collection[str] | None) -> bool:
    try:
        lines = _LINES[which(path)](path, kind, rules)
    except ProfileError as error:
        for problem in error.problems:
            print(problem)
            print(_excerpt(problem), end="")
        count = len(error.problems)
        print(f"{path}: {counted(count, 'problem')}")
        return False
    for line in lines:
        print(line)
    print(f"{path}: ok")
    return True


def _plan(path: str, _: Record, rules: Collection[str] | None) -> list[str]:
    loaded = plan.load(path)
    if rules is not None and (problems := loaded.problems(rules)):
        raise ProfileError(problems)
    return []


def _profile(path: str, kind: Record, rules: Collection[str] | None) -> list[str]:
    loaded = load(path, kind)
    _check_waivers(loaded, rules)
    return [f"{loaded.where(dotted)}: {dotted} {does}" for dotted, does in _touched(loaded)]


def _waivers(path: str, _: Record, rules: Collection[str] | None) -> list[str]:
    _check_waivers(waiver_files.load(path), rules)
    return []


def _check_waivers(holder: Profile | waiver_files.WaiverFile, rules: Collection[str] | None) -> None:
    """Raises ProfileError."""
    problems = waiver_files.expired(holder, datetime.datetime.now(datetime.timezone.utc).date())
    if rules is not None:
        problems += waiver_files.unknown_rules(holder.source, holder.waivers, rules)
    if problems:
        raise ProfileError(problems)


_LINES: dict[Which, Callable[[str, Record, Collection[str] | None], list[str]]] = {
    Which.PROFILE: _profile,
    Which.PLAN: _plan,
    Which.WAIVERS: _waivers,
}


def _touched(profile: Profile) -> Iterator[tuple[str, str]]:
    """What a run may start, read and write on this machine: the key in the profile, and a clause for it."""
    for dotted, command in commands(profile.device).items():
        yield dotted, f"runs {_joined(command)}"
    if profile.actions:
        yield "actions.file", f"runs functions of {profile.action_file}"
    for dotted, step in every_step(profile.stimulus, profile.setup).items():
        if isinstance(step, FileStep):
            yield dotted, f"{'writes' if isinstance(step, WriteFile) else 'reads'} {step.path}"


def _joined(command: Collection[str]) -> str:
    """The arguments in a row; quoted if they would not be read as one each."""
    return " ".join(each if re.fullmatch(r"[^\s'\"\\]+", each) else shlex.quote(each) for each in command)


def _excerpt(problem: Problem) -> str:
    """The line of a problem with a caret under its place, or nothing if there is no line to show."""
    if problem.place == WHOLE_FILE or not problem.text:
        return ""
    column = problem.place.column - 1
    start = max(0, column - _BEFORE) if len(problem.text) > _WIDTH else 0
    shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in problem.text[start : start + _WIDTH])
    caret = "".join(c if c == "\t" else " " for c in shown[: column - start])
    return f"    {shown}\n    {caret}^\n"
