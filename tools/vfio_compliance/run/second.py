# SPDX-License-Identifier: GPL-2.0-only
"""The second device of a run: of the same kind, and behind a kernel in the same container."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ..device import Device, Region, Unreachable
from ..profiles import SecondInKernel, SpareInKernel, SpareServer
from ..transport import CallTimeout, PeerGone, Transport, TransportError
from .errors import Broken
from .reaching import Where

if TYPE_CHECKING:
    from .session import Session


class SecondDevice:
    """Opened when a test wants it, and closed after that."""

    def __init__(self, session: Session) -> None:
        self._session = session
        where = session.profile.device.second
        self._device = self._beside(where) if where else None

    def _beside(self, where: Where) -> Device:
        return self._session.beside(where)

    @property
    def transport(self) -> Transport | None:
        """The way to it; None where the profile names none."""
        return self._device.transport if self._device else None

    @property
    def name(self) -> str:
        """What a report calls it; nothing where the profile names none."""
        second = self._session.profile.device.second
        if second is None:
            return ""
        if isinstance(second, SecondInKernel):
            return second.name
        return second.socket or "a second server, started by the same command"

    @contextmanager
    def opened(self) -> Iterator[Device | None]:
        """It, open and ready, until the block ends; None where the profile names none.

        Raises Broken when it cannot be opened or is of another kind, Unreachable when it is not RUNNING.
        """
        if self._device is None:
            yield None
            return
        if self._session.out_of_reach:
            self._session.plain()
        try:
            yield self._open(self._device)
        finally:
            self._device.close()

    def _open(self, device: Device) -> Device:
        """Raises Broken, Unreachable."""
        session = self._session
        place = f"{session.profile.where('device.second')}: the second device"
        problem, remedy = "", ""
        errors: list[TransportError] = []
        ways: list[Callable[[Device], bool]] = [
            lambda device: True,
            session.recovery.restart,
            self._recover,
            *(partial(self._replace, spare) for spare in session.spares),
        ]
        for way in ways:
            try:
                if not way(device):
                    continue
                device = self._device or device
                device.open()
                problem = self._prepare(device, place)
            except TransportError as error:
                errors.append(error)
                device.transport.shutdown()
                problem, remedy = error.message, error.remedy.replace("device.", "device.second.")
            if not problem:
                for met in errors:
                    session.tell_trouble(met)
                return device
            session.note(f"the second device did not get to running: {problem}")
        if not device.transport.is_open:
            raise Broken(f"{place} cannot be opened: {problem}", remedy)
        raise Unreachable("bringing the second device to running", "running after a reset", problem)

    def _prepare(self, device: Device, place: str) -> str:
        """Bring it, which is open, to where it can be used; what is wrong with it, or nothing. Raises Broken."""
        session = self._session
        if other := _difference(session.described or session.device.regions, device.regions):
            raise Broken(f"{place} is of another kind: {other}", "name a device of the same kind")
        if session.recovery.resettable:
            try:
                device.try_reset()
            except (CallTimeout, PeerGone) as error:
                session.tell_trouble(error)
                session.recovery.reset_failed(error)
                device.transport.shutdown()
                device.open()
        if any(each.unready(device, insist=False) for each in session.attachments):
            device.reopen()
        problems = (each.unready(device, insist=True) for each in session.attachments)
        return next(filter(None, problems), "")

    def _recover(self, device: Device) -> bool:
        second = self._session.profile.device.second
        if not second or not second.recovery:
            return False
        device.transport.shutdown()
        self._session.recovery.run("device.second.recovery", second.recovery)
        return True

    def _replace(self, spare: SpareInKernel | SpareServer, device: Device) -> bool:
        device.transport.shutdown()
        self._session.note(f"a spare device takes the place of the second device: {spare}")
        self._device = self._beside(spare)
        return True


def _difference(first: list[Region], second: list[Region]) -> str:
    """In what two devices with these regions are not of the same kind; nothing when they are. Raises DeviceError."""
    if len(first) != len(second):
        return f"it has {len(second)} regions, not {len(first)}"
    for mine, its in zip(first, second, strict=True):
        if mine.size != its.size:
            return f"its region {its.index} has {its.size} bytes, not {mine.size}"
        if mine.type != its.type:
            return f"its region {its.index} has type {its.type}, not {mine.type}"
    return ""
