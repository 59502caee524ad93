# SPDX-License-Identifier: GPL-2.0-only
"""Why a call has no outcome at all.

A device that refuses a call is not an error here, but an ``Outcome``. These are raised if there is nothing
to judge, or if the other side broke the protocol that carries calls.
"""

from __future__ import annotations

import errno
from typing import ClassVar

from ..common.moment import AfterCall


class TransportError(AfterCall):
    """Base of all: ``message`` says what is wrong and where, ``remedy`` what can be done about it."""

    #: The errno with which the trace records such a call.
    code: ClassVar[int] = errno.EIO

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy
        #: What was done before, a line for each step, if that was recorded.
        self.path = ""

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}"


class SetupError(TransportError):
    """The device cannot be reached: the host or the configuration is at fault, not the driver."""

    code = errno.ENODEV


class PeerGone(TransportError):
    """The other side closed the connection or died."""

    code = errno.EPIPE


class GivenUp(PeerGone):
    """The connection ended in an earlier call, whose error said so: this says nothing about the present one."""


class ProtocolViolation(TransportError):
    """The other side sent something that the protocol does not allow.

    ``exchange`` is the message concerned, ``expected`` and ``seen`` are the two sides of the complaint.
    """

    code = errno.EPROTO

    def __init__(self, exchange: str, expected: str, seen: str) -> None:
        super().__init__(
            f"{exchange}: expected {expected}, got {seen}",
            "correct the server; this connection cannot be used any further",
        )
        self.exchange = exchange
        self.expected = expected
        self.seen = seen


class Overlong(ProtocolViolation):
    """More came back than there is room for; through a pointer, it would have been written past the end."""


class CallTimeout(TransportError):
    """A call did not come back by its deadline; ``call`` names it, ``deadline`` is in seconds."""

    code = errno.ETIMEDOUT

    def __init__(self, call: str, deadline: float, detail: str = "no answer") -> None:
        super().__init__(
            f"{call}: {detail} within {deadline:g} s",
            "find out why the device does not answer, or raise limits.call in the profile if it is only slow",
        )
        self.call = call
        self.deadline = deadline
