# SPDX-License-Identifier: GPL-2.0-only
"""A style: the good device with one change, and the verdict of a fair judge.

With few exceptions, ``breaks`` was written before the suite was run on the style. Some of ``may`` and ``unjudged`` were
widened later, so they are weaker evidence. Rule patterns are those of fnmatch.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from typing import ClassVar, NoReturn

from device import Device

KNOWN: dict[str, type[Style]] = {}


class Style(Device):
    """Subclasses with a docstring are styles, named as the class, in lower case with hyphens."""

    #: Whether the specification allows it.
    good: ClassVar[bool] = False
    #: The rules that it breaks. A judge names exactly these,
    breaks: ClassVar[set[str]] = set()
    #: and may name these: each has its reason in a comment.
    may: ClassVar[set[str]] = set()
    #: Rules that the fault keeps from being judged; all cases of the others are judged.
    unjudged: ClassVar[set[str]] = set()
    #: Rules of which at least one case passes or fails; for styles with many rules in ``unjudged``.
    judged: ClassVar[set[str]] = set()
    #: Whether the server's death is reported; None if it hangs up and lives, which may be reported or not.
    dies: ClassVar[bool | None] = False
    #: The exit code, if it does not follow from the rules.
    exit: ClassVar[int | None] = None
    #: Changes to the profile: dotted keys; None removes one.
    profile: ClassVar[dict[str, object]] = {}
    #: "v1" is judged by the rules of the region and of clients, "dirty" by those of dirty tracking.
    part: ClassVar[str] = "v1"
    #: Only these rules are run, if a whole run would take minutes.
    only: ClassVar[tuple[str, ...]] = ()
    #: What a project must have to judge it.
    needs: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__dict__.get("__doc__"):
            KNOWN[re.sub(r"(?<!^)(?=[A-Z0-9])", "-", cls.__name__).lower()] = cls

    def once(self) -> bool:
        """True for the first call in all processes of this style; False for all others."""
        try:
            os.close(os.open(os.path.join(self.scratch, "once"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


#: Transitions of the good device that the specification does not draw: the profile claims them.
STATES = ("running", "pre-copy", "stop-and-copy", "stop", "resuming")
DRAWN = {
    ("running", "stop"),
    ("running", "stop-and-copy"),
    ("stop-and-copy", "stop"),
    ("running", "pre-copy"),
    ("pre-copy", "stop-and-copy"),
    ("running", "resuming"),
    ("resuming", "running"),
}
UNDRAWN = [f"{old} -> {new}" for old in STATES for new in STATES if old != new and (old, new) not in DRAWN]
SELF_WRITES = [f"{state} -> {state}" for state in STATES]


def segfault() -> NoReturn:
    """End by SIGSEGV, without a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def abort() -> NoReturn:
    """End by SIGABRT, without a core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


def leave(status: int) -> NoReturn:
    """End with a status."""
    os._exit(status)


def hang() -> NoReturn:
    """Never answer; SIGTERM ends it."""
    while True:
        time.sleep(3600)
