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
The file is checked to its last byte before the device is touched. The device is reset, given each buffer with the size
that it had when it was saved, set running, compared with what the saved one showed, and reset again. That it is another
device or another version of its driver is told, and tried nevertheless.

exit codes: 0 the state was taken, and is the same as far as it can be seen; 1 the device took it and has another state,
or refused it and was left of no use; 2 the file is damaged, or it could not be tried; 3 a call hung; 4 it was refused
cleanly: the driver said so, and a reset brings the device back
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "restore",
        help="give a device the state that a file holds",
        description="Restore a state that vfio-compliance save has kept, on the same device or driver or another one.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("profile", type=Path, help="a file, or the name of one that is shipped, such as reference")
    option("file", type=Path, help="a file that vfio-compliance save has written")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Restore the state; exit code as --help says."""
    profile = loaded(arguments.profile)
    return overseen(profile, "not restored", lambda calls: _restore(profile, arguments.file, calls)).told()


def _restore(profile: Profile, path: Path, calls: Inflight | None) -> Outcome:
    from ..common.words import counted
    from ..run.keeping import Fate
    from ..states.command import restore

    restored = restore(profile, path, calls)
    given, manifest = restored.given, restored.manifest
    size, buffers = counted(manifest.size, "byte"), counted(len(manifest.buffers), "buffer")
    lines = [f"saved: {size} in {buffers}, {manifest.identity.get('saved', 'nobody knows when')}"]
    lines += [f"another {line}" for line in restored.differs]
    lines.append(f"{given.fate.value}: {given.seen}")
    return Outcome(
        {Fate.SAME: EXIT_OK, Fate.UNCOMPARED: EXIT_OK, Fate.REFUSED: _CLEANLY}.get(given.fate, EXIT_FAIL), lines
    )
