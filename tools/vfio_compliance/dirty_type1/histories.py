# SPDX-License-Identifier: GPL-2.0-only
"""Histories of guest memory, each played once per run and judged by several rules."""

from __future__ import annotations

from ..device import DeviceError
from ..run.checks import NotApplicable, Unjudged
from .guest_memory import Answer
from .interface import Dirtying
from .scripts import SCRIPTS


class Histories:
    """The scripts, played on the device of a run."""

    def __init__(self, dirtying: Dirtying) -> None:
        self._dirtying = dirtying
        self._played = dirtying.session.transport.tracer.shared(self._play)

    def play(self, name: str) -> list[Answer]:
        """The bitmaps of a script. Raises NotApplicable, and Unjudged where the driver did not go along to its end."""
        played = self._played(name)
        if isinstance(played, Exception):
            raise played
        return played

    def _play(self, name: str) -> list[Answer] | Exception:
        self._dirtying.session.plain()
        try:
            with self._dirtying.guest() as memory:
                return memory.play(SCRIPTS[name])
        except NotApplicable as reason:
            return reason
        except DeviceError as error:
            return Unjudged(f"{error}")
