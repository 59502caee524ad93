# SPDX-License-Identifier: GPL-2.0-only
"""Why a case did not pass, or a run did not go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Stop(NamedTuple):
    """Why a run did not go on, or a call did not return, and what somebody can do about it."""

    message: str
    remedy: str


#: What a check asked: that a call succeeds, that it fails, that values are these, that a value is one of these, that
#: bits of a bitmap are set or clear, that something changes, or does not; that a bit is set in one of the bitmaps of a
#: round: then ``seen`` has five calls, the last before what the rounds do not need, the last of that, the last before
#: all rounds, before this one, and before its part in which that should have been.
SUCCESS, ERROR, EQUAL, ONE_OF = "success", "an error", "equal", "one of"
SET, CLEAR, CHANGE, REST = "set", "clear", "a change", "no change"
ROUND = "set in a round"


@dataclass(frozen=True, slots=True)
class Compared:
    """What a check asked, what it saw and what it would have allowed, as data: by it a program can ask the same.

    A number stands in hexadecimal, bytes as ``sha256:`` and their digest.
    """

    asked: str
    seen: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Further:
    """Another way in which a case failed, beside the one that is told first."""

    what: str
    expected: str
    seen: str
    path: str = ""

    def __str__(self) -> str:
        """In one line."""
        return f"{self.what}: expected {self.expected}, seen {self.seen}"


@dataclass(frozen=True, slots=True)
class Failure:
    """What was done, and what came of it. What does not apply is empty; None where an empty text would say something.

    Raises ValueError for what was expected without what was seen: that says nothing.
    """

    #: What was done.
    what: str
    expected: str | None = None
    seen: str | None = None
    #: What somebody can do about it.
    remedy: str = ""
    #: A line for each step of the way there, in columns.
    path: str = ""
    #: Options by which a run does the same again.
    options: str = ""
    #: What was compared, where that can be put as data.
    compared: Compared | None = None
    #: Other ways in which the same case failed.
    further: tuple[Further, ...] = ()
    #: Where the suite itself stumbled.
    traceback: str = ""
    #: The key that the profile does not give, and without which nothing can be judged.
    wants: str = ""
    #: Whether the case was left out on purpose.
    skipped: bool = False
    #: What was said of the case before something graver was.
    also: str = ""
    #: What became of the test process afterwards.
    then: str = ""
    #: The end of the server meanwhile.
    server: str = ""
    #: The kernel's complaints meanwhile.
    kernel: str = ""
    #: The reason of the waiver that excuses it, or why one does not.
    waiver: str = ""

    def __post_init__(self) -> None:
        if self.expected is not None and self.seen is None:
            raise ValueError("what was expected, without what was seen")

    def __str__(self) -> str:
        """In one line: "WHAT: expected EXPECTED, seen SEEN"."""
        return self.what if self.expected is None else f"{self.what}: expected {self.expected}, seen {self.seen}"

    @property
    def brief(self) -> str:
        """In one line, without what was expected."""
        return self.what if self.seen is None else f"{self.what}: seen {self.seen}"

    @property
    def whole(self) -> str:
        """In one line, with all that is known of what was expected and seen."""
        return self.brief if self.expected is None else str(self)
