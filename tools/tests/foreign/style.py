# SPDX-License-Identifier: GPL-2.0-only
"""What a style is: the good device with one thing changed, and what a fair judge says of it.

``breaks`` was written before the suite was run on the style, with few exceptions. ``may`` and ``unjudged`` were in part
widened after it, so they are weaker evidence. Rule patterns are those of fnmatch.
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
    """Subclasses that have a docstring are styles, by their name in lower case with hyphens."""

    #: Whether the text allows it.
    good: ClassVar[bool] = False
    #: The rules that it breaks. A judge names exactly these,
    breaks: ClassVar[set[str]] = set()
    #: and may name these: each has its reason in a comment.
    may: ClassVar[set[str]] = set()
    #: Rules that cannot be judged because of what is broken; of the others all cases are judged.
    unjudged: ClassVar[set[str]] = set()
    #: Rules of which at least a case is judged, passed or failed; for styles whose ``unjudged`` is wide.
    judged: ClassVar[set[str]] = set()
    #: Whether the server's death is a verdict; None where it hangs up and lives, which may be told as either.
    dies: ClassVar[bool | None] = False
    #: Exit code where the rules do not say it.
    exit: ClassVar[int | None] = None
    #: What the profile says otherwise: dotted keys, None takes one out.
    profile: ClassVar[dict[str, object]] = {}
    #: "v1" is judged by the rules of the region and of clients, "dirty" by those of dirty tracking.
    part: ClassVar[str] = "v1"
    #: Only these rules are run, where a whole run would take minutes.
    only: ClassVar[tuple[str, ...]] = ()
    #: What a project must have to judge it.
    needs: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__dict__.get("__doc__"):
            KNOWN[re.sub(r"(?<!^)(?=[A-Z0-9])", "-", cls.__name__).lower()] = cls

    def once(self) -> bool:
        """True for the first caller of all processes of this style; the others go on as if nothing had been."""
        try:
            os.close(os.open(os.path.join(self.scratch, "once"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


#: Transitions of the good device that the text does not draw: the profile claims them.
STATES = ("running", "pre-copy", "stop-and-copy", "stop", "resuming")
TEXT_DRAWS = {
    ("running", "stop"),
    ("running", "stop-and-copy"),
    ("stop-and-copy", "stop"),
    ("running", "pre-copy"),
    ("pre-copy", "stop-and-copy"),
    ("running", "resuming"),
    ("resuming", "running"),
}
UNDRAWN = [f"{old} -> {new}" for old in STATES for new in STATES if old != new and (old, new) not in TEXT_DRAWS]
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
