# SPDX-License-Identifier: GPL-2.0-only
"""Carries out what the profile says about making the device run, change, and fail."""

from __future__ import annotations

import mmap
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, TypeVar

from ..common.words import counted
from ..device import Device, DeviceError, DmaMap, Region, Unreachable
from ..device.dma import DMA_SIZE, IOVA
from ..profiles import Dirty, MapRegion, MapSection, Profile, SetupStep, Step, VisibleState, Window, number
from ..transport import PeerGone, ProtocolViolation, TransportError
from .checks import NotApplicable, Silent, given, missing
from .errors import ProfileFault
from .program import Programs

T = TypeVar("T")

#: Actions and queries on a device that leave nothing behind once they are done.
_PASSING = frozenset(
    f"stimulus.{key}"
    for key in ("dirty.write", "dirty.wrote", "running.sample", "visible_state.observe", "window.start")
)


@dataclass(frozen=True)
class Activity:
    """Something that changes while the device runs. ``sample`` reads it; ``within`` is in seconds."""

    name: str
    sample: Callable[[], int]
    #: A running device shows a change within this time.
    within: float
    #: Gives the device time between two looks.
    pause: Callable[[float], None]

    def continues(self) -> bool:
        """Whether a change shows up in time; returns as soon as it does."""
        first, now = self.watch()
        return now != first

    def watch(self) -> tuple[int, int]:
        """Look repeatedly for as long as a running device may need; return the first value, and the first that differs.

        The two are equal if nothing changed.
        """
        now = first = self.sample()
        end = time.monotonic() + self.within
        while now == first and time.monotonic() < end:
            self.pause(self.within / 16)
            now = self.sample()
        return first, now


class Actor:
    """The profile's stimulus, bound to an open device.

    What the profile denies raises NotApplicable, what it does not mention raises Silent.
    """

    #: What leaves nothing that outlives the case: a shown value does no harm.
    ends_with_its_case: ClassVar[frozenset[str]] = _PASSING | {"stimulus.visible_state.set"}

    def __init__(self, device: Device, profile: Profile) -> None:
        self._device = device
        self.profile = profile
        self._stimulus = profile.stimulus
        self._programs = Programs(device, profile)

    def wanted(self, key: str, value: T | None) -> T:
        """``value`` of a key below ``stimulus``."""
        if value is None:
            raise missing(f"stimulus.{key}", denied=self.profile.denies(f"stimulus.{key}"))
        return value

    def set_up(self, moment: str, find: Callable[[Device], Iterable[Region]]) -> None:
        """The steps of ``setup.after_open`` or ``setup.after_reset``. Raises DeviceError, Unreachable.

        ``find`` gives the regions of a device that the step ``map`` maps, as far as possible.
        """
        steps: Sequence[SetupStep] = getattr(self.profile.setup, moment)
        place = f"setup.{moment}"
        for mapped, group in groupby(steps, key=lambda step: not isinstance(step, Step)):
            if not mapped:
                self.run(place, [step for step in group if isinstance(step, Step)], {})
                continue
            for region in (region for step in group for region in self.mapped_by(step, find)):
                region.map_areas()

    def mapped_by(self, step: SetupStep, find: Callable[[Device], Iterable[Region]]) -> Iterable[Region]:
        """The regions that a step of the set-up maps, as far as they can be mapped. Raises DeviceError."""
        if isinstance(step, MapRegion):
            return [self._device.region(step.region)]
        return find(self._device) if isinstance(step, MapSection) else []

    def counter(self) -> Activity:
        """What ``stimulus.running`` samples."""
        running = self.wanted("running", self._stimulus.running)
        return Activity(
            "stimulus.running",
            lambda: self._value("stimulus.running.sample", running.sample),
            running.changes_within,
            self._device.transport.pause,
        )

    def _value(self, place: str, step: Step) -> int:
        """The one value of a step. Raises ProfileFault for a function that returns none, or several."""
        values = self.run(place, [step], {})
        if len(values) != 1:
            where = f"{self.profile.where(place)}: {place} gives {counted(len(values), 'value')}"
            raise ProfileFault(where, "let the function return one number")
        return values[0]

    def memory_for(self, size: int) -> tuple[int, int]:
        """Where ``size`` bytes of memory are mapped for the device to write: their address, and at most ``size`` bytes.

        Raises Unreachable if the device gives the address, and it cannot be used.
        """
        window = self._stimulus.window
        if window is None:
            return IOVA, size
        start = self._window_start(window)
        if start % mmap.PAGESIZE or start + window.size > 1 << 64:
            what = "looking for the memory that the device writes, by stimulus.window of the profile"
            raise Unreachable(what, "the start of a page", f"{start:#x}")
        return start, min(size, window.size)

    def _window_start(self, window: Window) -> int:
        if isinstance(window.start, Step):
            return self._value("stimulus.window.start", window.start)
        return number(window.start, {})

    def within_reach(self, iova: int, length: int) -> None:
        """Raises NotApplicable for memory that the device cannot be made to write."""
        window = self._stimulus.window
        if window is None:
            return
        start = self._window_start(window)
        if not (start <= iova and iova + length <= start + window.size):
            raise NotApplicable(f"{counted(length, 'byte')} at 0x{iova:x}: the device writes only stimulus.window")

    @contextmanager
    def dma(self) -> Iterator[Activity]:
        """Memory that the device writes repeatedly, by ``stimulus.dma``, until the block ends."""
        self.wanted("dma", self._stimulus.dma)  # before memory is mapped for it
        iova, size = self.memory_for(DMA_SIZE)
        with (
            DmaMap(self._device.transport, iova, size) as memory,
            self.stream(iova, size, in_any_state=True) as within,
        ):
            yield Activity(
                "the memory that the device writes",
                lambda: zlib.crc32(memory.look()),
                within,
                self._device.transport.pause,
            )

    @contextmanager
    def stream(self, iova: int, length: int, *, in_any_state: bool = False) -> Iterator[float]:
        """Mapped memory is written repeatedly until the block ends; yields the seconds in which at least one comes.

        The block may leave the device ``in_any_state``: it is then reset before its writes are stopped, and failures of
        that are not judged. Raises NotApplicable, Silent.
        """
        dma = self.wanted("dma", self._stimulus.dma)
        self.within_reach(iova, length)
        variables = {"$iova": iova, "$length": length}
        transport = self._device.transport
        lasting = transport.lasting
        self.run("stimulus.dma.start", dma.start, variables)
        try:
            yield dma.writes_within
        except BaseException:  # must not be hidden by a device that can no longer be stopped
            with suppress(DeviceError, TransportError):
                self.run("stimulus.dma.stop", dma.stop, variables)
            raise
        with suppress(DeviceError, PeerGone, ProtocolViolation) if in_any_state else nullcontext():
            if in_any_state and not self.runs():
                self._device.try_reset()
            self.run("stimulus.dma.stop", dma.stop, variables)
            transport.lasting = lasting

    def runs(self) -> bool:
        """Whether it is known that the device is where its user begins. Raises DeviceError, TransportError."""
        return False

    # -- single writes, for dirty page tracking -------------------------------------------------------------------

    @property
    def largest_write(self) -> int:
        """Most bytes that write() takes at once."""
        return self._dirty().largest

    @property
    def least_write(self) -> int:
        """Fewest bytes that write() takes."""
        return self._dirty().least

    def write(self, iova: int, length: int) -> None:
        """Make the device write ``length`` bytes at ``iova``; they are written when this returns.

        Raises NotApplicable if it cannot.
        """
        self.within_reach(iova, length)
        self.run("stimulus.dirty.write", self._dirty().write, {"$iova": iova, "$length": length})

    @property
    def chooses(self) -> bool:
        """Whether the device itself chooses where it writes in the bytes that write() gives it."""
        return self._dirty().wrote is not None

    def wrote(self) -> tuple[int, int]:
        """Where such a device last wrote: address and bytes. Raises ProfileFault for anything but two values."""
        values = self.run("stimulus.dirty.wrote", self._dirty().wrote or (), {})
        if len(values) != 2:
            where = self.profile.where("stimulus.dirty.wrote")
            seen = f"{where}: stimulus.dirty.wrote gives {counted(len(values), 'value')}"
            raise ProfileFault(seen, "let it give two: the address and the number of bytes")
        return values[0], values[1]

    @property
    def can_pin(self) -> bool:
        """Whether the profile says how to have pages pinned."""
        return bool(self._stimulus.dirty and self._stimulus.dirty.pin)

    def pin(self, iova: int, length: int) -> None:
        """Make the driver pin the pages of a range, which it may then write. Raises NotApplicable like write()."""
        steps = self.wanted("dirty.pin", self._dirty().pin)
        self.within_reach(iova, length)
        self.run("stimulus.dirty.pin", steps, {"$iova": iova, "$length": length})

    def unpin(self, iova: int, length: int) -> None:
        """Undo pin() for the same range."""
        steps = self.wanted("dirty.unpin", self._dirty().unpin)
        self.run("stimulus.dirty.unpin", steps, {"$iova": iova, "$length": length})

    def _dirty(self) -> Dirty:
        return self.wanted("dirty", self._stimulus.dirty)

    # -- state and faults -----------------------------------------------------------------------------------------

    @property
    def can_watch(self) -> bool:
        """Whether the profile says how to distinguish a running device from a stopped one."""
        return self._stimulus.running is not None

    @property
    def can_put(self) -> bool:
        """Whether the profile says how to put a value into the visible state."""
        return self._stimulus.visible_state is not None

    def unseen(self) -> NotApplicable | Silent:
        """What to raise if a state must be seen, and the profile does not say how, or denies that it can be."""
        return missing("stimulus.visible_state", denied=self.profile.denies("stimulus.visible_state"))

    def put(self, value: int) -> None:
        """Put ``value`` into the visible state."""
        self.run("stimulus.visible_state.set", self._visible().set, {"$value": value})

    def show(self) -> list[int]:
        """What the visible state's observers read."""
        return self.run("stimulus.visible_state.observe", self._visible().observe, {})

    def _visible(self) -> VisibleState:
        return self.wanted("visible_state", self._stimulus.visible_state)

    def enable_irq(self, index: int, vector: int) -> None:
        """Make the driver report an interrupt from now on. Raises Unreachable."""
        with given():
            self._device.interrupts.enable(index, vector)

    def count_irq(self, index: int, vector: int) -> int:
        """How many times it has come since it was enabled. Raises Unreachable."""
        with given():
            return self._device.interrupts.count(index, vector)

    def run(self, name: str, steps: Sequence[Step], variables: Mapping[str, int]) -> list[int]:
        """Do the steps at ``name`` in the profile; return the values that they gave, in order.

        Raises Unreachable, as no rule requires what the profile uses. Raises ProfileFault.
        """
        transport = self._device.transport
        touched = transport.touched or name not in _PASSING
        lasting = transport.lasting or name not in self.ends_with_its_case
        values = self._programs.run(name, steps, variables)
        transport.touched, transport.lasting = touched, lasting
        return values
