# SPDX-License-Identifier: GPL-2.0-only
"""Why a case did not pass, or a run did not continue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Stop(NamedTuple):
    """Why a run did not continue, or a call did not return, and how to fix it."""

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
    """What a check compared, saw and would have accepted, as data, so that a program can check the same.

    A number is in hexadecimal; bytes are ``sha256:`` and their digest.
    """

    asked: str
    seen: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Further:
    """Another way in which a case failed, in addition to the one that is reported first."""

    what: str
    expected: str
    seen: str
    path: str = ""

    def __str__(self) -> str:
        """In one line."""
        return f"{self.what}: expected {self.expected}, seen {self.seen}"


@dataclass(frozen=True, slots=True)
class Failure:
    """What was done, and the result. What does not apply is empty, or None where an empty text would be an answer.

    Raises ValueError if there is an expectation without an observation.
    """

    #: What was done.
    what: str
    expected: str | None = None
    seen: str | None = None
    #: How to fix it.
    remedy: str = ""
    #: A line for each step that led to it, in columns.
    path: str = ""
    #: Options by which a run does the same again.
    options: str = ""
    #: What was compared, if that can be expressed as data.
    compared: Compared | None = None
    #: Other ways in which the same case failed.
    further: tuple[Further, ...] = ()
    #: Where the suite itself failed.
    traceback: str = ""
    #: The key that is missing in the profile, and without which nothing can be judged.
    wants: str = ""
    #: Whether the case was left out on purpose.
    skipped: bool = False
    #: The result of the case before something graver replaced it.
    also: str = ""
    #: What happened to the test process afterwards.
    then: str = ""
    #: The end of the server during the case.
    server: str = ""
    #: The kernel's complaints during the case.
    kernel: str = ""
    #: The reason of the waiver that excuses it, or why one does not.
    waiver: str = ""

    def __post_init__(self) -> None:
        if self.expected is not None and self.seen is None:
            raise ValueError("an expectation without an observation")

    def __str__(self) -> str:
        """In one line: "WHAT: expected EXPECTED, seen SEEN"."""
        return self.what if self.expected is None else f"{self.what}: expected {self.expected}, seen {self.seen}"

    @property
    def brief(self) -> str:
        """In one line, without what was expected."""
        return self.what if self.seen is None else f"{self.what}: seen {self.seen}"

    @property
    def whole(self) -> str:
        """In one line, with what was expected and seen as far as they are known."""
        return self.brief if self.expected is None else str(self)
