# SPDX-License-Identifier: GPL-2.0-only
"""The ways back to a usable device."""

from __future__ import annotations

from collections.abc import Callable

from ..common.words import counted
from ..device import Device, DeviceError, Unreachable
from ..device.errors import errno_name
from ..profiles import VfioUserDevice
from ..transport import CallTimeout, PeerGone, TransportError
from .errors import Broken, Lost
from .interface import Attachment
from .opened import OpenDevice

#: After this many failures in a row, the device is no longer brought to running, and a hanging reset no longer tried.
_MOST_FAILURES = 3


class Recovery:
    """Brings the device of a run back. The documented way is the reset.

    If that does not help, the device is opened again, a vfio-user server that the profile can start is restarted, and
    the profile's recovery command is run; each is noted.
    """

    def __init__(self, opened: OpenDevice) -> None:
        self._opened = opened
        #: The device announces that it can be reset; otherwise it is left as it is.
        self.resettable = False
        self._bad_resets = 0
        #: Why the device could not be brought to running the last time, and how many times in a row.
        self._stuck, self._failures = "", 0

    def make_usable(self, attachment: Attachment) -> None:
        """Make the device ready for use by an interface. Raises Unreachable, Broken, Lost, CallTimeout."""
        if self._failures < _MOST_FAILURES:
            self._stuck = self._bring_back(attachment, self._as_it_is)
            self._failures = self._failures + 1 if self._stuck else 0
        if self._stuck:
            raise Unreachable("bringing the device to running", "running after a reset", self._stuck)

    def reset(self) -> None:
        """Reset the device, or do whatever replaces a reset. Raises Broken, Lost, CallTimeout."""
        self._bring_back(None, self._reset)

    def reopen(self) -> None:
        """Open the device again. Raises Broken, Lost, CallTimeout."""
        self._bring_back(None, self._reopen)

    def renew(self) -> None:
        """Reset the device or, if it has no reset, open it again. Raises Broken, Lost, CallTimeout."""
        self._bring_back(None, self._reset if self.resettable else self._reopen)

    def _bring_back(self, attachment: Attachment | None, first: Callable[[], bool]) -> str:
        """Take one way after another, ``first`` first, until the device is open and the interface can be used.

        Returns what is wrong with it after the last of them; empty if all is well. Raises Broken if it cannot even be
        opened, Lost if another process still has a way.
        """
        opened = self._opened
        problem = remedy = ""
        for way in (first, self._reopen, self._restart, self._recover):
            try:
                if not way():
                    continue
                problem = attachment.unready(opened.device, insist=way != first) if attachment else ""
            except DeviceError as error:
                problem = str(error)
            except (Broken, TransportError) as error:
                opened.report_trouble(error)
                opened.lost, problem, remedy = True, error.message, error.remedy
            if not problem:
                return ""
            opened.note_once(f"the device did not reach running: {problem}")
        if not opened.lost:
            return problem
        if opened.has_another_way:
            raise Lost(f"the device cannot be opened again: {problem}")
        raise Broken(f"the device cannot be opened again: {problem}", remedy)

    def _as_it_is(self) -> bool:
        return not self._opened.out_of_reach

    def _reset(self) -> bool:
        if self._opened.out_of_reach:
            return False
        if not self.resettable:
            return True  # there is no way to a known state; each user of the container clears it
        try:
            outcome = self._opened.device.try_reset()
        except (CallTimeout, PeerGone) as error:
            self.reset_failed(error)
            raise
        if outcome.ok:
            self._forget_touches()
        else:
            self._opened.note_once(f"the device refused a reset: {errno_name(outcome.errno)}")
        return outcome.ok

    def _forget_touches(self) -> None:
        """The device is in a known state. A reset or an open by the case itself is what the case judges."""
        transport = self._opened.transport
        transport.touched = transport.lasting = transport.questioned = False

    def reset_failed(self, error: TransportError) -> None:
        """A reset did not end normally; after several times, it is no longer part of the set-up."""
        self._bad_resets += 1
        if self._bad_resets == _MOST_FAILURES:
            self.resettable = False
            often = counted(_MOST_FAILURES, "time")
            self._opened.note(f"the device is no longer reset before a case: {error.message}, {often}")

    def _reopen(self) -> bool:
        self._opened.lost = True
        self._opened.device.reopen()
        self._opened.lost = False
        self._forget_touches()
        return True

    def _restart(self) -> bool:
        return self.restart(self._opened.device) and self._reopen()

    def restart(self, device: Device) -> bool:
        """End the server of ``device``, if opening it again starts another one."""
        known = self._opened.profile.device
        if not isinstance(known, VfioUserDevice) or not known.command:
            return False
        self._opened.note("the server was restarted to bring the device back to running")
        device.transport.shutdown()
        return True

    def _recover(self) -> bool:
        command = self._opened.profile.device.recovery
        if not command:
            return False
        self._opened.transport.shutdown()
        self._opened.run_recovery("device.recovery", command)
        return self._reopen()
