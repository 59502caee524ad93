# SPDX-License-Identifier: GPL-2.0-only
"""What a run is made with: the facts of suite, kernel, driver and host, and the files that say what is judged."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..profiles import Profile
    from ..watch.made_with import MadeWith

_PLAN, _WAIVERS = "--plan", "--waivers"


def made_with(profile: Profile, options: Sequence[str]) -> MadeWith:
    """As it is now. A file that cannot be read has no digest: whatever needs the file reports it."""
    from ..results.events import Environment
    from ..results.folder import KERNEL_CONFIG, KERNEL_CONFIG_DIGEST
    from ..run.environment import gather, kernel_config
    from ..watch.made_with import MadeWith

    inputs: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for path in input_files(profile, options):
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            inputs[str(path)] = hashlib.sha256(content).hexdigest()
            files[path.name if path.name not in files else f"{len(files)}-{path.name}"] = content
    files |= {KERNEL_CONFIG: config} if (config := kernel_config()) else {}
    facts = gather(profile)
    if config:
        facts[KERNEL_CONFIG_DIGEST] = hashlib.sha256(config).hexdigest()
    return MadeWith(Environment(facts, inputs, tuple(options), os.getcwd()), files)


def input_files(profile: Profile, options: Sequence[str]) -> Iterator[Path]:
    """The profile, its file of functions, the plan, and the files of waivers."""
    from ..profiles.plan import file_of

    yield profile.path
    if profile.actions:
        yield profile.action_file
    given = [option.partition("=") for option in options]
    yield file_of(next((value for name, _, value in reversed(given) if name == _PLAN), None))
    yield from (Path(value) for name, _, value in given if name == _WAIVERS)
