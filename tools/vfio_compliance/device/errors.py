# SPDX-License-Identifier: GPL-2.0-only
"""What the verbs raise."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..transport import PeerGone, ProtocolViolation


def errno_name(number: int) -> str:
    """``EINVAL (Invalid argument)`` for 22; ``errno 4095`` for a number that the system does not know; 0 is none."""
    if not number:
        return "an error without an errno"
    known = errno.errorcode.get(number)
    return f"{known} ({os.strerror(number)})" if known else f"errno {number}"


class DeviceError(Exception):
    """The driver refused or cut short what a verb asked for, or answered something that cannot be used.

    ``what`` says what was done, ``expected`` and ``seen`` what should have come and what came. ``errno`` is that of a
    refusal, 0 for an answer that cannot be used.
    """

    def __init__(self, what: str, expected: str, seen: str, errno: int = 0) -> None:
        super().__init__(f"{what}: expected {expected}, seen {seen}")
        self.what = what
        self.expected = expected
        self.seen = seen
        self.errno = errno


class StepFailed(DeviceError):
    """A step of saving or resuming that the driver refused, or answered with something that cannot be used.

    ``step`` names it: a register, ``place``, ``size``, ``data`` or ``end``.
    """

    def __init__(self, step: str, what: str, expected: str, seen: str, errno: int = 0) -> None:
        super().__init__(what, expected, seen, errno)
        self.step = step


class Unreachable(DeviceError):
    """What a test starts from could not be reached.

    ``judged_by`` is the id of the rule that judges the way there, where it is known.
    """

    judged_by = ""


@contextmanager
def given(judged_by: str = "") -> Iterator[None]:
    """Steps that a rule stands on and other rules are about, one of them ``judged_by``.

    Raises Unreachable where the driver refuses a step, ends the connection or breaks its protocol.
    """
    try:
        yield
    except Unreachable:
        raise
    except DeviceError as error:
        reached = Unreachable(error.what, error.expected, error.seen)
    except (PeerGone, ProtocolViolation) as error:
        reached = Unreachable(error.message, "an answer", "none that can be used")
    else:
        return
    reached.judged_by = judged_by
    raise reached from None
