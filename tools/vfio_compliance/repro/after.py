# SPDX-License-Identifier: GPL-2.0-only
"""The programs that a run makes from its failures, if asked for, once everything is judged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ..profiles import Profile
from ..results.case import Case
from ..results.events import Event, Programs
from ..results.summary import Summary
from ..run.errors import Broken
from ..transport import TransportError
from . import files
from .choice import failing
from .live import SHOWS, Target
from .make import Made, make
from .trace import NoProgram

#: Seconds that a compiler may take.
_COMPILING: Final = 60.0


def programs(profile: Profile, defects: Sequence[str], summary: Summary, folder: Path) -> Iterator[Event]:
    """Programs of one failing case of each rule, shortened and tried on the device of the run."""
    rules = [*failing(summary)]
    if not rules:
        return
    try:
        with Target(profile, defects) as target:
            for cases in rules:
                yield _program(summary, cases, folder, target)
    except (Broken, TransportError, OSError) as error:
        yield Programs(rules[0][0].id, (), False, f"no programs: {error}")


def _program(summary: Summary, cases: list[Case], folder: Path, target: Target) -> Programs:
    case = cases[0]
    try:
        made = make(summary, cases, folder, target)
        written = files.write(made.program, folder / files.NAME)
    except NoProgram as reason:
        return Programs(case.id, (), False, f"no program: {reason}")
    remark = f"{made.remark}; {_tried(made, written, target)}"
    return Programs(case.id, tuple(map(str, written)), made.reproducible, remark)


def _tried(made: Made, written: Sequence[Path], target: Target) -> str:
    """What the two files, as written, did on the device."""
    in_c, in_python = written
    compiler = shutil.which("cc")
    built = Path(target.folder, "built")
    commands = {"Python": [sys.executable, "-I", "-S", str(in_python)]}
    if compiler:
        asked = [compiler, "-o", str(built), str(in_c)]
        done = subprocess.run(asked, capture_output=True, timeout=_COMPILING, check=False)
        commands |= {} if done.returncode else {"C": [str(built)]}
    codes = {language: target.run(command, made.program.devices) for language, command in commands.items()}
    words = ", ".join(f"the one in {language} {_WORDS[code]}" for language, code in codes.items())
    return words if "C" in codes else f"{words}, the one in C was not compiled here"


_WORDS: Final = {SHOWS: "shows it", 0: "does not show it", 2: "cannot tell"}
