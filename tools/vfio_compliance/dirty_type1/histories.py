# SPDX-License-Identifier: GPL-2.0-only
"""Histories of guest memory, each played once per run and judged by several rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..device import DeviceError
from ..run.checks import NotApplicable, Unjudged
from .guest_memory import Answer
from .scripts import SCRIPTS

if TYPE_CHECKING:
    from ..run.session import Session


class Histories:
    """The scripts of model.dirty_scripts, played on the device of a run."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._played = session.transport.tracer.shared(self._play)

    def play(self, name: str) -> list[Answer]:
        """The bitmaps of a script. Raises NotApplicable, and Unjudged where the driver did not go along to its end."""
        played = self._played(name)
        if isinstance(played, Exception):
            raise played
        return played

    def _play(self, name: str) -> list[Answer] | Exception:
        self._session.plain()
        try:
            with self._session.guest() as memory:
                return memory.play(SCRIPTS[name])
        except NotApplicable as reason:
            return reason
        except DeviceError as error:
            return Unjudged(f"{error}")
