# SPDX-License-Identifier: GPL-2.0-only
"""What the commands that move a state between a device and a file have in common."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_HANG
from .checkout import Complaint, print_wrapped

if TYPE_CHECKING:
    from ..profiles import Profile
    from ..results.inflight import Inflight

_REMEDY = "find out why the call does not return, or raise limits.test in the profile if the device is only slow"


class Outcome(NamedTuple):
    """How a command ended: its exit code, and its output, line by line."""

    code: int
    lines: list[str]

    def report(self) -> int:
        """Print it; the exit code. Raises Complaint for what the user can fix."""
        if self.code == EXIT_BROKEN:
            raise Complaint("\n".join(self.lines))
        for line in self.lines:
            print_wrapped(line)
        return self.code


def overseen(profile: Profile, not_done: str, work: Callable[[Inflight | None], Outcome]) -> Outcome:
    """The outcome of ``work`` on the device of a profile; what the device refused is the device's fault."""
    kernel = profile.device.transport != "vfio-user"
    return apart(
        kernel, profile.limits.test, not_done, lambda calls: _carried_out(not_done, lambda: work(calls)), _REMEDY
    )


def apart(
    kernel: bool, within: float, not_done: str, work: Callable[[Inflight | None], Outcome], remedy: str = ""
) -> Outcome:
    """The outcome of ``work``, which notes its calls in the ``Inflight`` that it is passed, if any.

    A call into a kernel may never return, and no signal ends it. There the work is done by another process, and given
    up if a call takes longer than ``within`` seconds. A server that does not answer is given up by the transport.
    Raises KeyboardInterrupt.
    """
    from ..watch.alone import Hung, alone

    if not kernel:
        return work(None)
    try:
        return Outcome(*json.loads(alone(lambda calls: json.dumps(work(calls)).encode(), within)))
    except Hung as error:
        return Outcome(EXIT_HANG, [f"{not_done}: {error}" + (f"; {remedy}" if remedy else "")])
    except RuntimeError as error:
        return Outcome(EXIT_BROKEN, [f"{not_done}: {error}; its output is above"])


def _carried_out(not_done: str, work: Callable[[], Outcome]) -> Outcome:
    """What the device refused is its fault; the rest the user can fix."""
    from ..device import DeviceError
    from ..states.archive import StateError
    from ..states.command import NotReached

    try:
        return work()
    except DeviceError as error:
        return Outcome(EXIT_FAIL, [f"{not_done}: {error}"])
    except NotReached as error:
        return Outcome(EXIT_HANG if error.hang else EXIT_BROKEN, [f"{not_done}: {error}"])
    except (StateError, OSError) as error:
        return Outcome(EXIT_BROKEN, [f"{not_done}: {error}"])
