# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance run --resume FOLDER`: continue a run that ended early."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .checkout import Complaint, loaded, root, width
from .made_with import made_with

if TYPE_CHECKING:
    from ..results.reports import Wanted


def carry_out(out: Path, wanted: Sequence[Wanted], quiet: bool) -> int:
    """Run what has no verdict; exit code of the whole run. Raises Complaint if anything has changed."""
    from ..results import journal
    from ..run.environment import changes
    from ..watch import resume
    from ..watch.supervise import Order, RunError, run

    try:
        resume.begun(out / journal.NAME)
        begun, before = resume.made_with(out / journal.NAME)
    except (RunError, journal.JournalError) as error:
        raise Complaint(str(error)) from None
    if before.directory != os.getcwd():
        raise Complaint(f"{out}: the run was started in {before.directory}: go there first")
    for path in before.inputs:
        if not Path(path).is_file():
            raise Complaint(
                f"{out}: {path}, by which the run was judged, is missing: bring it back, or start a new run"
            )
    profile = loaded(Path(begun.profile.path))
    now = made_with(profile, before.options)
    changed = [
        *_files(before.inputs, now.environment.inputs),
        *changes(dict(before.facts), dict(now.environment.facts)),
    ]
    if changed:
        lines = "\n".join(f"  {each}" for each in changed)
        raise Complaint(f"{out}: not resumed, because this has changed; change it back, or start a new run:\n{lines}")
    try:
        order = Order(begun.rounds, wanted, now, resume=True, quiet=quiet)
        return run(root(), profile, out, before.options, sys.stdout, width(), order)
    except (RunError, journal.JournalError) as error:
        raise Complaint(str(error)) from None


def _files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [f"{path} has other contents" for path, digest in before.items() if now.get(path) != digest]
