# SPDX-License-Identifier: GPL-2.0-only
"""One open device for the length of a run, and the way back to a known state before each test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from typing import TypeVar

from ..common.calls import OPENING
from ..common.words import counted
from ..device import Device, DeviceError, Region
from ..profiles import Access, Profile, Range, SetupStep, Step, every_step
from ..results import events
from ..results.registers import recorded
from ..results.setting import UsedRegion
from ..transport import TransportError
from .defects import DefectSwitch
from .errors import Broken
from .interface import Attachment, Interface
from .opened import OpenDevice
from .program import end_actions
from .recovery import Recovery
from .second import SecondDevice

A = TypeVar("A", bound=Attachment)


class Session(OpenDevice):
    """Opens the profile's device once; passes it to one test after another in a known state."""

    def __init__(self, profile: Profile, defects: Sequence[str], interfaces: Sequence[Interface]) -> None:
        """Raises Broken if defects are requested that the profile has no way to switch on."""

        def find(device: Device) -> list[Region]:
            return [region for interface in interfaces for region in interface.find(device)]

        super().__init__(profile, defects, find)
        self.recovery = Recovery(self)
        self._switch = DefectSwitch(profile, defects, lambda event: self.emit(event))
        self.attachments = [interface.attach(self) for interface in interfaces]
        #: The device must be reset before the next case, whatever was done to it.
        self.in_doubt = True
        self._rule, self._within_rule = "", False
        #: The present case found the device, its container or the second device as another case of its rule left it.
        self.left_over = False
        self._second = SecondDevice(self, self.recovery, self.attachments)

    def of(self, kind: type[A]) -> A:
        """What an interface knows about the device, by its class."""
        return next(each for each in self.attachments if isinstance(each, kind))

    def judges(self, rule: str) -> None:
        """A case of this rule begins.

        What the cases of another rule have left is cleared: their effect on each other is judged by their own rule.
        """
        self._within_rule = rule == self._rule
        self._rule = rule
        self.left_over = self._within_rule and self.transport.questioned
        if not self._within_rule:
            self.in_doubt |= self.transport.questioned
            self._second.close()

    def start_over(self) -> None:
        """The present case is run again, after a reset."""
        self.in_doubt, self.left_over = True, False
        self._second.close()

    def failed(self, name: str) -> None:
        """A case of the interface with this name did not pass."""
        self.in_doubt = True
        self._second.close()
        for attachment in self.attachments:
            if attachment.interface.name == name:
                attachment.failed()

    def left_open(self, name: str) -> None:
        """A case of the interface with this name asked for what the specification leaves open: anything may follow.

        An interface without a region is used only through the container.
        """
        if any(each.interface.name == name and each.interface.region_type for each in self.attachments):
            self.in_doubt = True
        else:
            self.transport.questioned = True

    # -- begin and end --------------------------------------------------------------------------------------------

    def start(self, way: int = 0) -> None:
        """Switch on the defects, open the device, and check that the profile describes this device.

        ``way`` is the first way that is tried: opening it, running the recovery command before that, each spare
        device. Raises Broken, TransportError.
        """
        self._switch.on()
        self.reach(way)
        self.lost = False
        for attachment in self.attachments:
            attachment.look()
        self.transport.resting = frozenset(region.index for each in self.attachments for region in each.regions)
        with suppress(DeviceError):
            self.described = self.device.regions
            self._check_profile()
        with suppress(DeviceError):
            self.recovery.resettable = self.device.announces_reset
        identity = self.transport.identity()
        for attachment in self.attachments:
            identity |= attachment.identity()
        self.emit(events.Target(identity, self.used_regions))

    @property
    def used_regions(self) -> tuple[UsedRegion, ...]:
        """The regions that interfaces use, with their registers."""
        return tuple(
            UsedRegion(region.index, known.name, tuple(map(recorded, known.registers)), tuple(known.drawn))
            for known, regions in ((each.interface, each.regions) for each in self.attachments)
            for region in regions
        )

    def _check_profile(self) -> None:
        """Raises Broken if the stimulus does not fit this device."""
        if any(each.missing for each in self.attachments if each.interface.name in self.profile.interfaces):
            return  # the wrong device, most likely: each case says so
        for place, step in every_step(self.profile.stimulus, self.profile.setup).items():
            if isinstance(step, (Access, Range)):
                self._check_access(place, step)
            elif not isinstance(step, Step):
                self._check_mapping(place, step)

    def _check_access(self, place: str, step: Access | Range) -> None:
        size = step.width if isinstance(step, Access) else step.size
        offset = step.offset if isinstance(step.offset, int) else 0  # a computed offset is tried out
        if step.region >= len(self.device.regions):
            seen = f"the device has {counted(len(self.device.regions), 'region')}, counted from 0"
        elif offset + size > (there := self.device.regions[step.region].size):
            seen = f"region {step.region} has {counted(there, 'byte')}"
        else:
            return
        raise Broken(
            f"{self.profile.where(place)}: {place} is for {counted(size, 'byte')} at 0x{offset:x} of region "
            f"{step.region}, but {seen}",
            "correct the stimulus in the profile",
        )

    def _check_mapping(self, place: str, step: SetupStep) -> None:
        """Check that what must be mapped can be, at least in part."""
        regions = list(self.actor.mapped_by(step, self._find))
        if regions and not any(region.areas for region in regions):
            which = " and ".join(f"region {region.index}" for region in regions)
            raise Broken(
                f"{self.profile.where(place)}: {place} must map {which}, of which nothing can be mapped",
                "take the step out, or correct it",
            )

    def finish(self) -> None:
        """Close the device and restore the host; whatever fails becomes a note."""
        problems = []
        end_actions()
        for undo in (*(each.shutdown for each in reversed(self.transports)), self._switch.restore):
            try:
                undo()
            except (TransportError, OSError, RuntimeError) as error:
                problems.append(error)
        for problem in problems:
            self.note(f"at the end of the run: {problem}")

    # -- what tests get -------------------------------------------------------------------------------------------

    def as_after_reset(self) -> Device:
        """The device, open, as after a reset: it is reset, or whatever replaces a reset is done, if necessary.

        From one case of a rule to the next, a device on which only the migration was touched needs no reset.

        Raises Broken, Lost, CallTimeout.
        """
        if self.spoilt:
            self.spoilt = False
            self.recovery.reopen()
        continues = self.continues
        if not self.is_as_reset():
            if continues and self._is_brought_back():
                self.left_over = True
            else:
                self._reset(self.recovery.reset)
        return self.device

    @property
    def continues(self) -> bool:
        """Whether an earlier case of the same rule has left the device so that this one can continue from there."""
        return self._within_rule and not (self.in_doubt or self.out_of_reach or self.spoilt or self.transport.lasting)

    def _is_brought_back(self) -> bool:
        return not self._answers(lambda each: not each.brought_back())

    def renewed(self) -> None:
        """Bring the device to its state after a reset; one that announces no reset is opened again if necessary.

        Raises Broken, Lost, CallTimeout.
        """
        if not self.is_as_reset():
            self._reset(self.recovery.renew)

    def _reset(self, reset: Callable[[], None]) -> None:
        """A second reset clears what a first one leaves of a fault: a device that has failed is reset twice."""
        twice = not self.out_of_reach and self._answers(lambda each: each.has_failed())
        reset()
        if twice:
            reset()

    def after_reset(self) -> Device:
        """As as_after_reset(), but always reset: what depends on the reset is judged, or something failed."""
        self.in_doubt = True
        return self.as_after_reset()

    def is_as_reset(self) -> bool:
        """Whether nothing was done to the device since it was opened or reset, and it reads accordingly.

        What a case did to the container is cleared elsewhere. If in doubt, no.
        """
        if self.in_doubt or self.out_of_reach or self.transport.touched:
            self.in_doubt = False
            return False
        return not self._answers(lambda each: not each.reads_as_reset())

    def _answers(self, question: Callable[[Attachment], bool]) -> bool:
        """Whether any interface says yes, or the device does not answer and must be opened again."""
        tracer = self.transport.tracer
        part = tracer.part
        tracer.enter(OPENING)
        try:
            return any(map(question, self.attachments))
        except TransportError as error:
            self.report_trouble(error)
            self.lost = True
            return True
        finally:
            tracer.enter(part)

    def second(self, *, keep: bool = False) -> AbstractContextManager[Device | None]:
        """Another device of the same kind, open and ready, until the block ends; None if the profile names none.

        With ``keep``, it stays open for the next cases of the same rule, and is then as it was left, RUNNING.

        Raises Broken if it cannot be opened or is of another kind, Unreachable if it is not RUNNING.
        """
        self.left_over |= keep and self._second.is_kept
        return self._second.opened(keep=keep)

    @property
    def second_name(self) -> str:
        """The name of the second device in a report; empty if the profile names none."""
        return self._second.name
