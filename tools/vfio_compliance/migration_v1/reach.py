# SPDX-License-Identifier: GPL-2.0-only
"""The way to the state that a test is about, for any device, however it behaves."""

from __future__ import annotations

from ..device import Unreachable
from ..transport import CallTimeout
from ..uapi.migration_v1 import DeviceState
from .flows import Flows
from .migration import Migration

#: The states in which data is read, and the next state of the probe from each.
_NEXT = {
    DeviceState.PRE_COPY: DeviceState.STOP_AND_COPY,
    DeviceState.STOP_AND_COPY: DeviceState.STOP,
}


class Reach:
    """Brings the device along states.

    Tests leave a saving state at once, as a whole state takes long to read. A driver that does not allow this breaks a
    separate rule, and all other rules are judged on a device whose data is read first.
    """

    def __init__(self, migration: Migration, flows: Flows) -> None:
        self._migration, self._flows = migration, flows
        #: The saving states that cannot be left before their data has been read, once that was tried.
        self._drained: frozenset[DeviceState] | None = None

    def get_ready(self) -> None:
        """Find out, once, which saving states the device does not leave before their data is read; this resets it.

        Raises Unreachable.
        """
        if self._drained is None:
            self._drained = frozenset(state for state in _NEXT if not self._lets_go(state))
            self._migration.begin()

    def holds(self, state: DeviceState) -> bool:
        """Whether the device does not leave a saving state before its data has been read, as get_ready() found out."""
        return state in (self._drained or ())

    def __call__(self, *states: DeviceState, leaving: bool = False) -> None:
        """Bring a RUNNING device into each of ``states``, the last of which must be left again if ``leaving``.

        Raises Unreachable.
        """
        region = self._migration.region()
        for left, state in enumerate(states, 1 - len(states)):
            region.enter(state)
            if self.holds(state) and (left or leaving):
                self._flows.drain(region)

    def _lets_go(self, state: DeviceState) -> bool:
        session, region = self._migration.session, self._migration.begin()
        region.enter(state)
        try:
            region.enter(_NEXT[state])
        except (Unreachable, CallTimeout) as error:
            session.lost |= isinstance(error, CallTimeout)
            session.report_trouble(error)
            return False
        return True
