# SPDX-License-Identifier: GPL-2.0-only
"""The second device of a run: of the same kind and, with a kernel, in the same container."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial

from ..common.words import counted
from ..device import Device, Region, Unreachable
from ..profiles import SecondInKernel, SpareInKernel, SpareServer
from ..transport import CallTimeout, PeerGone, TransportError
from .errors import Broken
from .interface import Attachment
from .opened import OpenDevice
from .recovery import Recovery


class SecondDevice:
    """Opened when a test needs it, and closed after that."""

    def __init__(self, opened: OpenDevice, recovery: Recovery, attachments: Sequence[Attachment]) -> None:
        self._opened, self._recovery, self._attachments = opened, recovery, attachments
        self._kept: Device | None = None

    @cached_property
    def _device(self) -> Device | None:
        """Created once the device, whose container it shares, has been reached."""
        second = self._opened.profile.device.second
        return self._opened.beside(second) if second else None

    @property
    def name(self) -> str:
        """Its name in a report; empty if the profile names none."""
        second = self._opened.profile.device.second
        if second is None:
            return ""
        if isinstance(second, SecondInKernel):
            return second.name
        return second.socket or "a second server, started by the same command"

    @property
    def is_kept(self) -> bool:
        """Whether it was left open."""
        return self._kept is not None

    def close(self) -> None:
        """Close it if it was kept open."""
        kept, self._kept = self._kept, None
        try:
            if kept is not None:
                kept.close()
        except (TransportError, RuntimeError) as error:
            self._opened.note(f"the second device: {error}")

    @contextmanager
    def opened(self, *, keep: bool = False) -> Iterator[Device | None]:
        """The second device, open and ready, until the block ends; None if the profile names none.

        With ``keep``, it stays open until close() if the block succeeds, and is then reused as it was left, RUNNING.

        Raises Broken if it cannot be opened or is of another kind, Unreachable if it is not RUNNING.
        """
        if self._device is None:
            yield None
            return
        if self._opened.out_of_reach:
            self._recovery.reset()
        if not keep or not self._is_usable():
            self.close()
        device, self._kept = self._kept, None
        try:
            device = device or self._open(self._device)
            yield device
            self._kept = device if keep else None
        finally:
            if self._kept is None:
                self._device.close()

    def _is_usable(self) -> bool:
        """Whether it was kept open, and can be used as it is."""
        if self._kept is None or not self._kept.transport.is_open or self._kept.transport.gone:
            return False
        try:
            return not self._unready(self._kept)
        except TransportError as error:
            self._opened.report_trouble(error)
            self._kept.transport.shutdown()
            return False

    def _open(self, device: Device) -> Device:
        """Raises Broken, Unreachable."""
        opened = self._opened
        place = f"{opened.profile.where('device.second')}: the second device"
        problem, remedy = "", ""
        errors: list[TransportError] = []
        ways: list[Callable[[Device], bool]] = [
            lambda device: True,
            self._recovery.restart,
            self._recover,
            *(partial(self._replace, spare) for spare in opened.spares),
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
                    opened.report_trouble(met)
                return device
            opened.note(f"the second device did not reach running: {problem}")
        if not device.transport.is_open:
            raise Broken(f"{place} cannot be opened: {problem}", remedy)
        raise Unreachable("bringing the second device to running", "running after a reset", problem)

    def _prepare(self, device: Device, place: str) -> str:
        """Bring the open device to a usable state; return what is wrong with it, or nothing. Raises Broken."""
        opened = self._opened
        if other := _difference(opened.described or opened.device.regions, device.regions):
            raise Broken(f"{place} is of another kind: {other}", "name a device of the same kind")
        if not self._unready(device):
            return ""
        if self._recovery.resettable:
            try:
                device.try_reset()
            except (CallTimeout, PeerGone) as error:
                opened.report_trouble(error)
                self._recovery.reset_failed(error)
                device.transport.shutdown()
                device.open()
        if self._unready(device):
            device.reopen()
        return self._unready(device, insist=True)

    def _unready(self, device: Device, *, insist: bool = False) -> str:
        """What prevents an interface from being used on the device; empty if all can be."""
        return next(filter(None, (each.unready(device, insist=insist) for each in self._attachments)), "")

    def _recover(self, device: Device) -> bool:
        second = self._opened.profile.device.second
        if not second or not second.recovery:
            return False
        device.transport.shutdown()
        self._opened.run_recovery("device.second.recovery", second.recovery)
        return True

    def _replace(self, spare: SpareInKernel | SpareServer, device: Device) -> bool:
        device.transport.shutdown()
        self._opened.note(f"a spare device replaces the second device: {spare}")
        self._device = self._opened.beside(spare)
        return True


def _difference(first: list[Region], second: list[Region]) -> str:
    """How two devices with these regions differ in kind; empty if they do not. Raises DeviceError."""
    if len(first) != len(second):
        return f"it has {counted(len(second), 'region')}, not {len(first)}"
    for mine, its in zip(first, second, strict=True):
        if mine.size != its.size:
            return f"its region {its.index} has {counted(its.size, 'byte')}, not {mine.size}"
        if mine.type != its.type:
            return f"its region {its.index} has type {its.type}, not {mine.type}"
    return ""
