# SPDX-License-Identifier: GPL-2.0-only
"""What the commands share that move a state between a device and a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.verdict import EXIT_FAIL, EXIT_HANG
from .checkout import Complaint, print_wrapped

if TYPE_CHECKING:
    from ..profiles import Profile


class Outcome:
    """The exit code of what ended before its time."""

    code = EXIT_FAIL


def loaded(path: Path) -> Profile:
    """The profile. Raises Complaint for one that is wrong."""
    from .. import profiles
    from ..interfaces import PROFILE

    try:
        return profiles.load(path, PROFILE)
    except profiles.ProfileError as error:
        raise Complaint(str(error)) from None


@contextmanager
def carrying_out(not_done: str) -> Iterator[Outcome]:
    """What the device did not let happen is told, and is its fault; Complaint for what the user can put right."""
    from ..device import DeviceError
    from ..states.archive import StateError
    from ..states.command import NotReached

    outcome = Outcome()
    try:
        yield outcome
    except DeviceError as error:
        print_wrapped(f"{not_done}: {error}")
    except NotReached as error:
        if not error.hang:
            raise Complaint(f"{not_done}: {error}") from None
        outcome.code = EXIT_HANG
        print_wrapped(f"{not_done}: {error}")
    except (StateError, OSError) as error:
        raise Complaint(f"{not_done}: {error}") from None
