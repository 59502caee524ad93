# SPDX-License-Identifier: GPL-2.0-only
"""What the verbs raise."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..common.moment import AfterCall
from ..transport import Outcome, PeerGone, ProtocolViolation


def errno_name(number: int) -> str:
    """``EINVAL (Invalid argument)`` for 22; ``errno 4095`` for a number unknown to the system; 0 is not an errno."""
    if not number:
        return "an error without an errno"
    known = errno.errorcode.get(number)
    return f"{known} ({os.strerror(number)})" if known else f"errno {number}"


class DeviceError(AfterCall):
    """The driver refused a verb's request or did only a part of it, or gave an answer that cannot be used.

    ``what`` says what was done, ``expected`` which answer should have come, ``seen`` which came. ``errno`` is that of a
    refusal, None for an answer that cannot be used.
    """

    def __init__(self, what: str, expected: str, seen: str, errno: int | None = None) -> None:
        super().__init__(f"{what}: expected {expected}, seen {seen}")
        self.what = what
        self.expected = expected
        self.seen = seen
        self.errno = errno


def accepted(what: str, outcome: Outcome) -> None:
    """Raise DeviceError for a request, described by ``what``, that the driver refused."""
    if outcome.value < 0:
        raise DeviceError(what, "success", errno_name(outcome.errno), outcome.errno)


class StepFailed(DeviceError):
    """A step of saving or resuming that the driver refused, or whose answer cannot be used.

    ``step`` names it: a register, ``place``, ``size``, ``data`` or ``end``.
    """

    def __init__(self, step: str, what: str, expected: str, seen: str, errno: int | None = None) -> None:
        super().__init__(what, expected, seen, errno)
        self.step = step


class Unreachable(DeviceError):
    """What a test starts from could not be reached; another rule judges the way there."""


@contextmanager
def given() -> Iterator[None]:
    """Steps that a rule depends on, and that other rules judge.

    Raises Unreachable if the driver refuses a step, ends the connection or breaks its protocol.
    """
    try:
        yield
    except Unreachable:
        raise
    except DeviceError as error:
        raise Unreachable(error.what, error.expected, error.seen) from None
    except (PeerGone, ProtocolViolation) as error:
        raise Unreachable(error.message, "an answer", "none that can be used") from None
