# SPDX-License-Identifier: GPL-2.0-only
"""What a run would run, without a device: pytest collects the cases, and nothing is opened."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..profiles import Profile
from ..results import journal
from ..results.reading import summarise
from ..results.summary import Summary
from . import suites
from .supervise import RunError, last_words


def dry_run(root: Path, profile: Profile, options: Sequence[str], rounds: int) -> Summary:
    """The run as it would start, with every case that it would run. Raises RunError if it would not start."""
    with tempfile.TemporaryDirectory(prefix="vfio-") as folder:
        path, log = Path(folder, journal.NAME), Path(folder, "pytest.log")
        command = suites.command(root, "--collect-only", "-qq")
        command += [f"--profile={profile.path}", f"--journal={path}", f"--rounds={rounds}", *options]
        environment = suites.environment()
        with log.open("wb") as output:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False
            )
        if not path.exists():
            raise RunError(last_words(log))
        return summarise(journal.read(path))
