# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance restore PROFILE FILE`: give a device the state that a file holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..results.verdict import EXIT_FAIL, EXIT_OK
from .checkout import loaded
from .parser import Commands
from .stateful import Outcome, overseen

if TYPE_CHECKING:
    from ..profiles import Profile
    from ..results.inflight import Inflight

_CLEANLY: Final = 4

_EPILOG = """\
The file is checked to its last byte before the device is touched. The device is reset, given each buffer with its size
at the save, set running, compared with what the saved device showed, and reset again. A different device, or a
different version of its driver, is reported, and does not stop the restore.

exit codes: 0 the state was taken, and is the same as far as can be seen; 1 the device took it and has a different
state, or refused it and is unusable; 2 the file is damaged, or the state could not be tried; 3 a call hung; 4 the state
was refused cleanly: the driver returned an error, and a reset brings the device back
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "restore",
        help="give a device the state that a file holds",
        description="Restore a state from vfio-compliance save, on the same device or driver or on another.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("profile", type=Path, help="a file, or the name of a shipped one, such as reference")
    option("file", type=Path, help="a file written by vfio-compliance save")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Restore the state; the exit code is as in --help."""
    profile = loaded(arguments.profile)
    return overseen(profile, "not restored", lambda calls: _restore(profile, arguments.file, calls)).report()


def _restore(profile: Profile, path: Path, calls: Inflight | None) -> Outcome:
    from ..common.words import counted
    from ..run.keeping import Fate
    from ..states.command import restore

    restored = restore(profile, path, calls)
    given, manifest = restored.given, restored.manifest
    size, buffers = counted(manifest.size, "byte"), counted(len(manifest.buffers), "buffer")
    lines = [f"saved: {size} in {buffers}, {manifest.identity.get('saved', 'at an unknown time')}"]
    lines += [f"another {line}" for line in restored.differs]
    lines.append(f"{given.fate.value}: {given.seen}")
    return Outcome(
        {Fate.SAME: EXIT_OK, Fate.UNCOMPARED: EXIT_OK, Fate.REFUSED: _CLEANLY}.get(given.fate, EXIT_FAIL), lines
    )
