# SPDX-License-Identifier: GPL-2.0-only
"""What something needs of the host, whether it is there, and what brings it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .machine import Machine


class State(Enum):
    """Whether something is there."""

    OK = "ok"
    MISSING = "missing"
    NOT_NEEDED = "not needed for this"
    UNKNOWN = "not known"


class Need(NamedTuple):
    """One thing. ``says`` is what was seen of it; of what is missing, the command or the deed that mends it."""

    what: str
    state: State
    says: str = ""


def need(what: str, there: bool, remedy: str, seen: str = "") -> Need:
    """Something that is there, or not."""
    return Need(what, State.OK, seen) if there else Need(what, State.MISSING, remedy)


def is_debian(machine: Machine) -> bool:
    """Whether apt-get brings what is missing: Debian, or a distribution that is made of it."""
    words: list[str] = []
    for line in machine.text("etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "ID_LIKE"):
            words += value.strip("\"'").split()
    return "debian" in words
