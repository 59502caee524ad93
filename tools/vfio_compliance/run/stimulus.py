# SPDX-License-Identifier: GPL-2.0-only
"""Carries out what the profile says about making the device work, change, and fail."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVar

from ..device import Device, DeviceError, DmaMap, Region, Unreachable
from ..device.dma import DMA_SIZE, IOVA
from ..profiles import Dirty, MapSection, Profile, Read, Step, VisibleState, Wait, Write, programs
from ..transport import PeerGone, ProtocolViolation, TransportError
from .checks import missing

T = TypeVar("T")


@dataclass(frozen=True)
class Activity:
    """Something that changes while the device works. ``sample`` looks at it; ``within`` is in seconds."""

    name: str
    sample: Callable[[], int]
    #: A working device shows a change within this time.
    within: float
    #: Gives the device time between two looks.
    pause: Callable[[float], None]

    def goes_on(self) -> bool:
        """Whether a change shows up in time; returns as soon as it does."""
        first, now = self.watch()
        return now != first

    def watch(self) -> tuple[int, int]:
        """Look again and again for as long as a working device may need; first value, and the first that differs.

        The two are equal when nothing changed.
        """
        now = first = self.sample()
        end = time.monotonic() + self.within
        while now == first and time.monotonic() < end:
            self.pause(self.within / 16)
            now = self.sample()
        return first, now


def steps_of(profile: Profile) -> Iterator[tuple[str, Step]]:
    """Every register access of the profile's stimulus and setup, with its place."""
    if running := profile.stimulus.running:
        yield "stimulus.running.sample", running.sample
    for name, steps in programs(profile.stimulus, profile.setup).items():
        for index, step in enumerate(steps):
            if not isinstance(step, MapSection):
                yield f"{name}.{index}", step


class Actor:
    """The profile's stimulus, bound to an open device.

    What the profile denies raises NotApplicable, what it says nothing about Silent.
    """

    def __init__(self, device: Device, profile: Profile) -> None:
        self._device = device
        self.profile = profile
        self._stimulus = profile.stimulus

    def wanted(self, key: str, value: T | None) -> T:
        """``value`` of a key below ``stimulus``."""
        if value is None:
            raise missing(f"stimulus.{key}", denied=self.profile.denies(f"stimulus.{key}"))
        return value

    def set_up(self, moment: str, find: Callable[[Device], Iterable[Region]]) -> None:
        """The steps of ``setup.after_open`` or ``setup.after_reset``. Raises DeviceError, Unreachable.

        ``find`` gives the regions of a device that the step ``map`` maps, as far as they can be mapped.
        """
        steps: Sequence[Step | MapSection] = getattr(self.profile.setup, moment)
        for step in steps:
            if isinstance(step, MapSection):
                for region in find(self._device):
                    region.map_areas()
            else:
                self.run(f"setup.{moment}", [step], {})

    def counter(self) -> Activity:
        """What ``stimulus.running`` samples."""
        running = self.wanted("running", self._stimulus.running)
        sample = running.sample
        return Activity(
            "the running sample",
            lambda: self.run("stimulus.running.sample", [sample], {})[0],
            running.changes_within,
            self._device.transport.pause,
        )

    @contextmanager
    def dma(self) -> Iterator[Activity]:
        """Memory that the device writes over and over, by ``stimulus.dma``, until the block ends."""
        self.wanted("dma", self._stimulus.dma)  # before memory is mapped for it
        with (
            DmaMap(self._device.transport, IOVA, DMA_SIZE) as memory,
            self.stream(IOVA, DMA_SIZE, in_any_state=True) as within,
        ):
            yield Activity(
                "the memory that the device writes",
                lambda: zlib.crc32(memory.view),
                within,
                self._device.transport.pause,
            )

    @contextmanager
    def stream(self, iova: int, length: int, *, in_any_state: bool = False) -> Iterator[float]:
        """Memory that is mapped already written over and over, until the block ends; at least once in so many seconds.

        The block may leave the device ``in_any_state``: it is reset before it is told to stop, and what goes wrong
        with that is not judged. Raises NotApplicable, Silent.
        """
        dma = self.wanted("dma", self._stimulus.dma)
        variables = {"$iova": iova, "$length": length}
        self.run("stimulus.dma.start", dma.start, variables)
        try:
            yield dma.writes_within
        except BaseException:  # is not to be hidden by a device that cannot be stopped any more
            with suppress(DeviceError, TransportError):
                self.run("stimulus.dma.stop", dma.stop, variables)
            raise
        with suppress(DeviceError, PeerGone, ProtocolViolation) if in_any_state else nullcontext():
            if in_any_state:
                self._device.try_reset()
            self.run("stimulus.dma.stop", dma.stop, variables)

    # -- single writes, for dirty page tracking -------------------------------------------------------------------

    @property
    def largest_write(self) -> int:
        """Most bytes that write() takes at once."""
        return self._dirty().largest

    def write(self, iova: int, length: int) -> None:
        """Have the device write ``length`` bytes at ``iova``; they are written when this returns."""
        self.run("stimulus.dirty.write", self._dirty().write, {"$iova": iova, "$length": length})

    @property
    def can_pin(self) -> bool:
        """Whether the profile says how to have pages pinned."""
        return bool(self._stimulus.dirty and self._stimulus.dirty.pin)

    def pin(self, iova: int, length: int) -> None:
        """Have the driver pin the pages of a range, which it may write from now on."""
        steps = self.wanted("dirty.pin", self._dirty().pin)
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
        """Whether the profile says how a working device is told from a stopped one."""
        return self._stimulus.running is not None

    @property
    def can_put(self) -> bool:
        """Whether the profile says how to put a value into the visible state."""
        return self._stimulus.visible_state is not None

    def put(self, value: int) -> None:
        """Put ``value`` into the visible state."""
        self.run("stimulus.visible_state.set", self._visible().set, {"$value": value})

    def show(self) -> list[int]:
        """What the visible state's observers read."""
        return self.run("stimulus.visible_state.observe", self._visible().observe, {})

    def _visible(self) -> VisibleState:
        return self.wanted("visible_state", self._stimulus.visible_state)

    def run(self, name: str, steps: Sequence[Step], variables: Mapping[str, int]) -> list[int]:
        """Values of the read steps, in order.

        Raises Unreachable: no rule says that the registers of the profile's stimulus are there.
        """
        values = []
        try:
            for step in steps:
                region = self._device.region(step.region)
                if isinstance(step, Write):
                    value = variables[step.value] if isinstance(step.value, str) else step.value
                    region.write(step.offset, step.width, value & (1 << 8 * step.width) - 1)
                elif isinstance(step, Read):
                    values.append(region.read(step.offset, step.width))
                else:
                    self._wait(step)
        except DeviceError as error:
            raise Unreachable(f"{error.what}, by {name} of the profile", error.expected, error.seen) from None
        return values

    def _wait(self, step: Wait) -> None:
        region = self._device.region(step.region)
        end = time.monotonic() + step.within
        while (value := region.read(step.offset, step.width) & step.mask) != step.equals:
            if time.monotonic() > end:
                raise DeviceError(
                    f"waiting on 0x{step.offset:x} of region {step.region} for {step.within:g} s",
                    f"0x{step.equals:x} under mask 0x{step.mask:x}",
                    f"0x{value:x}",
                )
            self._device.transport.pause(step.within / 1024)
