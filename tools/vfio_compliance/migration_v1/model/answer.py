# SPDX-License-Identifier: GPL-2.0-only
"""How a device answered one access, and the report of an answer that is not allowed."""

from __future__ import annotations

from typing import NamedTuple

#: What is expected if the specification leaves the answer open.
ANYTHING = "any answer"


class Answer(NamedTuple):
    """The result of one access."""

    #: Bytes moved; -1 for an access that failed with an errno.
    value: int
    #: What was read.
    data: bytes = b""

    @property
    def refused(self) -> bool:
        """Whether it failed."""
        return self.value < 0

    @property
    def number(self) -> int:
        """What was read, as a number."""
        return int.from_bytes(self.data, "little")


class Deviation(Exception):
    """An answer that the specification forbids: the one ``expected``, and what was ``seen`` if the answer hides it."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(expected, seen)
        self.expected = expected
        self.seen = seen


def require(held: bool, expected: str, seen: str = "") -> str:
    """Returns ``expected``, the condition that was judged. Raises Deviation unless it ``held``."""
    if not held:
        raise Deviation(expected, seen)
    return expected
