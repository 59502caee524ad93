# SPDX-License-Identifier: GPL-2.0-only
"""How to see a failure again, and the result of the run's own rerun."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ..common.words import counted
from .case import NAMED, Case
from .folder import RERUN_BY
from .summary import Summary


def rerun(summary: Summary, case: Case) -> str:
    """The command that shows the failure of a case again: alone, or after the earlier cases that are needed."""
    return " ".join(filter(None, (summary.facts.get(RERUN_BY, ""), _here(summary, case))))


def _here(summary: Summary, case: Case) -> str:
    """The command where the run was made."""
    run = summary.run
    words = ["vfio-compliance", "run", run.profile.path]
    words += [word for defect in run.defects for word in ("--defect", defect)]
    words += ["--plan", run.plan.given] if run.plan.given else []
    words += ["--no-should"] if summary.scope.no_should else []
    words += [word for file in run.waiver_files for word in ("--waivers", file.path)]
    if case.passes_alone and not 0 < len(case.needs) <= NAMED:
        words += [*_options("--only", run.selection.only), *_options("--exclude", run.selection.exclude)]
        return shlex.join([*words, *(["--shuffle"] if run.shuffled else []), "--seed", str(run.seed)])
    words += ["--seed", str(run.seed)] if case.seeded and not case.why.options else []
    return shlex.join([*words, *case.why.options.split(), *_options("--only", [*case.needs, case.id])])


def again(summary: Summary, case: Case) -> str:
    """The result of the rerun of a case that passes alone; empty for any other case."""
    if not case.passes_alone:
        return ""
    before = [summary.cases[each].name if each in summary.cases else each for each in case.needs]
    if 0 < len(before) <= NAMED:
        return f"it passed alone, and failed after {', then '.join(before)}: what was left behind affects it"
    if before:
        return f"it passed alone, and failed after {counted(len(before), 'earlier case')}"
    most = max(len(rerun.after) for rerun in case.reruns)
    return "it did not fail again when run alone" + (f", nor after {counted(most, 'case')} before it" if most else "")


def _options(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
