# SPDX-License-Identifier: GPL-2.0-only
"""Carries out a profile's lists of steps on a device."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from ..common.words import counted
from ..device import Device, DeviceError, Unreachable
from ..profiles import (
    Access,
    CallAction,
    CountIrq,
    Digest,
    DisableIrq,
    EnableIrq,
    Fill,
    Profile,
    Range,
    Read,
    ReadFile,
    Step,
    TriggerIrq,
    UnmaskIrq,
    Wait,
    WaitFile,
    WaitIrq,
    Write,
    WriteFile,
    number,
    quoted,
)
from .actions import ActionError, Actions
from .checks import NotApplicable
from .errors import ProfileFault
from .verbs import Verbs, number_in

#: What a register must hold in full: of any other number, only the lowest bytes are written.
_PLACE = {"$iova", "$length"}

#: A function of the profile's file that failed this many times is not called again.
_MOST_FAILURES = 3


class _Known:
    """What is kept for a device from one program to the next."""

    def __init__(self, profile: Profile) -> None:
        #: How many times each list of steps was begun.
        self.begun: Counter[str] = Counter()
        within = profile.actions.within if profile.actions else 0.0
        self.actions = Actions(profile.action_file, within) if profile.actions else None
        #: How many times each function of the file failed.
        self.failed: Counter[str] = Counter()


_KNOWN: WeakKeyDictionary[Device, _Known] = WeakKeyDictionary()


def end_actions() -> None:
    """End the processes in which files of profiles run; a later call starts another one."""
    for known in list(_KNOWN.values()):
        if known.actions:
            known.actions.close()


class Programs:
    """The steps of a profile, bound to a device."""

    def __init__(self, device: Device, profile: Profile) -> None:
        self._profile = profile
        self._verbs = Verbs(device)
        if device not in _KNOWN:
            _KNOWN[device] = _Known(profile)
        self._known = _KNOWN[device]

    def run(self, place: str, steps: Sequence[Step], variables: Mapping[str, int]) -> list[int]:
        """Do the steps of the list at a ``place`` in the profile; return the values that they gave, in order.

        Raises Unreachable if the device does not cooperate: no rule requires what the profile uses.
        Raises ProfileFault for what cannot be done on any device.
        """
        self._known.begun[place] += 1
        now = time.time_ns()
        known = {"$now": now // 10**9, "$now_ns": now, "$count": self._known.begun[place], **variables}
        values: list[int] = []
        try:
            for step in steps:
                found = _DOERS[type(step)](self, step, known)
                if into := getattr(step, "into", None):
                    known[into] = found[-1]
                values += found
        except DeviceError as error:
            raise Unreachable(f"{error.what}, by {place} of the profile", error.expected, error.seen) from None
        except ValueError as error:
            where = self._profile.where(place)
            raise ProfileFault(f"{where}: {place}: {error}", "correct the profile") from None
        return values

    # -- the steps ------------------------------------------------------------------------------------------------

    def _read(self, step: Read, known: Mapping[str, int]) -> list[int]:
        return [self._verbs.read(step.region, _offset(step, known), step.width) & step.mask]

    def _write(self, step: Write, known: Mapping[str, int]) -> list[int]:
        value = number(step.value, known)
        if value >> 8 * step.width and not _PLACE.isdisjoint(getattr(step.value, "names", ())):
            raise NotApplicable(f"{value:#x} does not fit into a register of {counted(step.width, 'byte')}")
        self._verbs.write(step.region, _offset(step, known), step.width, value)
        return []

    def _wait(self, step: Wait, known: Mapping[str, int]) -> list[int]:
        offset, equals = _offset(step, known), number(step.equals, known)
        self._verbs.wait(step.region, offset, step.width, equals, step.within, step.mask)
        return []

    def _fill(self, step: Fill, known: Mapping[str, int]) -> list[int]:
        offset, value = _offset(step, known), number(step.value, known)
        self._verbs.fill(step.region, offset, step.size, value, step.at_once)
        return []

    def _digest(self, step: Digest, known: Mapping[str, int]) -> list[int]:
        return [self._verbs.digest(step.region, _offset(step, known), step.size, step.at_once)]

    def _write_file(self, step: WriteFile, known: Mapping[str, int]) -> list[int]:
        self._verbs.write_file(step.path, step.text.fill(known))
        return []

    def _read_file(self, step: ReadFile, known: Mapping[str, int]) -> list[int]:
        return [number_in(self._verbs.read_file(step.path))]

    def _wait_file(self, step: WaitFile, known: Mapping[str, int]) -> list[int]:
        self._verbs.wait_file(step.path, step.text.fill(known), step.within)
        return []

    def _enable_irq(self, step: EnableIrq, known: Mapping[str, int]) -> list[int]:
        self._verbs.enable_irq(step.index, step.vector)
        return []

    def _disable_irq(self, step: DisableIrq, known: Mapping[str, int]) -> list[int]:
        self._verbs.disable_irq(step.index)
        return []

    def _trigger_irq(self, step: TriggerIrq, known: Mapping[str, int]) -> list[int]:
        self._verbs.trigger_irq(step.index, step.vector)
        return []

    def _unmask_irq(self, step: UnmaskIrq, known: Mapping[str, int]) -> list[int]:
        self._verbs.unmask_irq(step.index, step.vector)
        return []

    def _count_irq(self, step: CountIrq, known: Mapping[str, int]) -> list[int]:
        return [self._verbs.count_irq(step.index, step.vector)]

    def _wait_irq(self, step: WaitIrq, known: Mapping[str, int]) -> list[int]:
        self._verbs.wait_irq(step.index, step.vector, step.within)
        return []

    def _call(self, step: CallAction, known: Mapping[str, int]) -> list[int]:
        """Raises ProfileFault for a failure in the file, not in the device."""
        actions, failed = self._known.actions, self._known.failed
        assert actions is not None  # checked when the profile was loaded
        if failed[step.name] >= _MOST_FAILURES:
            which = f"the function `{step.name}` of {self._profile.action_file}"
            often = counted(_MOST_FAILURES, "time")
            raise ProfileFault(f"{which} has failed {often}, and is not called again", "correct the file")
        try:
            return actions.call(step.name, self._verbs, {name.removeprefix("$"): known[name] for name in step.known})
        except ActionError as error:
            failed[step.name] += 1
            printed = error.output.strip().splitlines()[-1:]
            said = f"{error}; it printed last: {quoted(printed[0])}" if printed else str(error)
            raise ProfileFault(said, error.remedy) from None


def _offset(step: Access | Range, known: Mapping[str, int]) -> int:
    """Raises ValueError for an offset that no region can have."""
    offset = number(step.offset, known)
    if not 0 <= offset < 1 << 63:
        raise ValueError(f"the offset `{step.offset}` is {offset}")
    return offset


_DOERS: dict[type[Step], Callable[[Programs, Any, Mapping[str, int]], list[int]]] = {
    Read: Programs._read,
    Write: Programs._write,
    Wait: Programs._wait,
    Fill: Programs._fill,
    Digest: Programs._digest,
    WriteFile: Programs._write_file,
    ReadFile: Programs._read_file,
    WaitFile: Programs._wait_file,
    EnableIrq: Programs._enable_irq,
    DisableIrq: Programs._disable_irq,
    TriggerIrq: Programs._trigger_irq,
    UnmaskIrq: Programs._unmask_irq,
    CountIrq: Programs._count_irq,
    WaitIrq: Programs._wait_irq,
    CallAction: Programs._call,
}
