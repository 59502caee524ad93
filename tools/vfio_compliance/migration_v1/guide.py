# SPDX-License-Identifier: GPL-2.0-only
"""The states of version 1 for the rules of other interfaces, which do not depend on them."""

from __future__ import annotations

from collections.abc import Collection

from ..run.checks import NotApplicable, Unjudged, given
from ..run.guide import Guide
from .flows import RESUMING, RUNNING
from .player import Stage
from .states import STATES, name

_STATES = {name(state): state for state in STATES}


class StateGuide(Stage, Guide):
    """Takes the device along, and writes it a whole state before it leaves resuming for running."""

    def begin(self, way: Collection[str]) -> None:
        """Prepare a running device, and a saved state for a way that resumes it.

        Raises Unreachable, and Unjudged if no state could be saved.
        """
        if {name(RESUMING), name(RUNNING)} <= {*way}:
            self.flows.suspend().complete()  # now, as it resets the device if it has not been made yet
            self.v1.begin()
        else:
            self.v1.require_running()

    def go(self, state: str, *, leaving: bool) -> None:
        """Bring the device to a state. Raises Unreachable, and NotApplicable if no drawn transition leads there."""
        region, wanted = self.v1.region(), _STATES[state]
        before = region.state()
        if wanted != RUNNING:
            self.reach(wanted, leaving=leaving)
        elif before == RESUMING:
            with given():
                region.load(self.flows.suspend().complete())
            region.enter(RUNNING)
        else:
            change = region.change_to(RUNNING)
            if not change.outcome.ok or change.now != RUNNING:
                raise NotApplicable(f"running is not reached from {name(before)}, which the specification leaves open")

    def settle(self) -> None:
        """The device was reset: write running if it does not run. Raises Unjudged."""
        if problem := self.v1.unready(self.v1.session.device, insist=True):
            raise Unjudged(f"after the reset {problem}")
