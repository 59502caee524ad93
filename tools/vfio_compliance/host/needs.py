# SPDX-License-Identifier: GPL-2.0-only
"""What is needed of the host, whether it is there, and how to get it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .machine import Machine


class State(Enum):
    """Whether something is there."""

    OK = "ok"
    MISSING = "missing"
    NOT_NEEDED = "not needed for this"
    UNKNOWN = "unknown"


class Need(NamedTuple):
    """One thing. ``says`` is what was seen; if the thing is missing, the command or action that helps."""

    what: str
    state: State
    says: str = ""


def need(what: str, there: bool, remedy: str, seen: str = "") -> Need:
    """Something that is there, or not."""
    return Need(what, State.OK, seen) if there else Need(what, State.MISSING, remedy)


def is_debian(machine: Machine) -> bool:
    """Whether apt-get installs what is missing: on Debian, or a distribution based on it."""
    words: list[str] = []
    for line in machine.text("etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "ID_LIKE"):
            words += value.strip("\"'").split()
    return "debian" in words
