# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance save PROFILE FILE`: save the state of a device to a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..results.verdict import EXIT_OK
from .checkout import Complaint, loaded
from .parser import Commands
from .stateful import Outcome, overseen

if TYPE_CHECKING:
    from ..profiles import Profile
    from ..results.inflight import Inflight

_EPILOG = """\
The device is reset, given a visible value if the profile says how (stimulus.visible_state), saved, and reset again.
FILE is a tar file: manifest.json names the origin of the state and has the size and digest of each buffer, data has the
buffers, SHA256SUMS the digests of both. The state can hold a guest's secrets, so only the file's owner can read it.
While the state is saved, the temporary folder (TMPDIR) holds it a second time.

exit codes: 0 saved, 1 the driver did not complete the save, 2 it could not be done, 3 a call hung
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "save",
        help="save the state of a device to a file",
        description="Save the state of a profile's device to a file, for vfio-compliance restore.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("profile", type=Path, help="a file, or the name of a shipped one, such as reference")
    option("file", type=Path, help="a new file; an existing one is never replaced")
    option("--live", action="store_true", help="save by way of pre-copy, and also keep the data of that phase")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Save the state; the exit code is as in --help."""
    from ..common.signals import terminated_as_interrupted
    from ..states.archive import StateError, new_file

    profile = loaded(arguments.profile)
    try:
        with terminated_as_interrupted(), new_file(arguments.file) as file:
            outcome = overseen(profile, "not saved", lambda calls: _save(arguments, file, profile, calls))
            if outcome.code:
                raise _Unsaved  # the file does not get its name
    except _Unsaved:
        pass
    except StateError as error:
        raise Complaint(f"not saved: {error}") from None
    return outcome.report()


class _Unsaved(Exception):
    """There is no state to keep."""


def _save(arguments: argparse.Namespace, file: BinaryIO, profile: Profile, calls: Inflight | None) -> Outcome:
    from ..common.words import counted
    from ..states.command import save_into

    manifest = save_into(file, profile, live=arguments.live, calls=calls)
    file.flush()
    size, buffers = counted(manifest.size, "byte"), counted(len(manifest.buffers), "buffer")
    lines = [f"saved: {size} in {buffers}, to {arguments.file}"]
    if manifest.shown is None:
        lines.append(
            "the file does not say what the device showed: the profile has no stimulus.visible_state, so a restored "
            "state cannot be compared"
        )
    return Outcome(EXIT_OK, lines)
