# SPDX-License-Identifier: GPL-2.0-only
"""From START to STOP: which pages are tracked at all, and for how long."""

from __future__ import annotations

from ...overlays import defect, part_of
from ..container import Container
from ..dirty import DirtyTracker, Mapped
from ..memory import GuestMemory
from ..pages import Bitmap, PageSet
from ..pins import Pin
from ..ranges import EVERYWHERE, Extent
from .history import Concealing, Ignoring

#: The number of queries after which a tracker stops reporting.
_MOST_QUERIES = 4


class Overlooking(Ignoring):
    """Ignores some mappings."""

    def _overlooks(self, old: bool) -> bool:
        """Whether mappings that were there at START are ignored, or those that were not."""
        raise NotImplementedError

    def _is_old(self, address: int) -> bool:
        return any(start in self._old for start, _ in self._mapped(address, 1))

    def _knows(self, pin: Pin) -> bool:
        return super()._knows(pin) and not self._overlooks(self._is_old(pin.address))

    def wrote(self, address: int, length: int) -> None:
        if not self._overlooks(self._is_old(address)):
            super().wrote(address, length)


@defect("tracking-new-mappings-only", "only pages of mappings made after START are reported")
class NewMappingsOnly(Overlooking):
    def _overlooks(self, old: bool) -> bool:
        return old


@defect("tracking-old-mappings-only", "only pages of mappings made before START are reported")
class OldMappingsOnly(Overlooking):
    def _overlooks(self, old: bool) -> bool:
        return not old


@defect("tracking-forgets-pinned", "pages pinned before START are not reported")
class ForgetsPinned(Ignoring):
    def _knows(self, pin: Pin) -> bool:
        return super()._knows(pin) and pin not in self._old_pins


@defect("tracking-forgets-later-pins", "pages pinned after START are reported only once they are unpinned")
class ForgetsLaterPins(Concealing):
    def _conceals(self, pin: Pin) -> bool:
        return super()._conceals(pin) or (not self._unmapping and pin not in self._old_pins)


@defect("tracking-pins-first-page", "only the first page of a pinned range is reported while it is pinned")
class PinsFirstPage(Concealing):
    def _always(self, address: int, size: int) -> list[Extent]:
        whole = super()._always(address, size)
        if self._unmapping or self._everything:
            return whole
        return [(start, self.page_size) for start, _ in whole]


@defect("tracking-pinned-once", "a pinned page is reported by only one bitmap while it is pinned")
class PinnedOnce(Concealing):
    def __init__(self, mapped: Mapped, scope: str) -> None:
        super().__init__(mapped, scope)
        self._reported_pins: set[Pin] = set()

    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        self._reported_pins.update(self.pins.meeting(address, size))
        return bitmap

    def stop(self) -> None:
        super().stop()
        self._reported_pins.clear()

    def _conceals(self, pin: Pin) -> bool:
        return super()._conceals(pin) or (not self._unmapping and pin in self._reported_pins)


@defect("tracking-below-4g-only", "writes at IOVAs of 2^32 and above are not recorded")
class Below4gOnly(DirtyTracker):
    def wrote(self, address: int, length: int) -> None:
        if address < 1 << 32:
            super().wrote(address, length)


class Silent(DirtyTracker):
    """May report nothing until STOP."""

    _silent = False

    def stop(self) -> None:
        super().stop()
        self._silent = False

    def _lay_out(self, address: int, size: int, room: int) -> Bitmap:
        return Bitmap(room) if self._silent else super()._lay_out(address, size, room)


@defect("tracking-one-shot", "after the first GET_BITMAP nothing is reported until the next STOP and START")
class OneShot(Silent):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        self._silent = True
        return bitmap


@defect("tracking-tires", "from the fifth GET_BITMAP on, nothing is reported until the next STOP and START")
class Tires(Silent):
    _queries = 0

    def get(self, address: int, size: int, room: int) -> Bitmap:
        self._queries += 1
        self._silent |= self._queries > _MOST_QUERIES
        return super().get(address, size, room)

    def stop(self) -> None:
        super().stop()
        self._queries = 0


@defect("tracking-ends-when-unmapped", "tracking ends when the last mapping is unmapped")
class EndsWhenUnmapped(DirtyTracker):
    def forget(self, address: int, size: int) -> None:
        super().forget(address, size)
        if not self._mapped(*EVERYWHERE):
            self.stop()


@defect("bitmap-ends-tracking", "GET_BITMAP ends tracking")
class BitmapEndsTracking(DirtyTracker):
    def get(self, address: int, size: int, room: int) -> Bitmap:
        bitmap = super().get(address, size, room)
        self.stop()
        return bitmap


class Keeping(DirtyTracker):
    """Does not forget everything at STOP."""

    def stop(self) -> None:
        kept, self._written = self._kept(), PageSet()
        super().stop()
        self._written = kept

    def _kept(self) -> PageSet:
        return self._written


defect("tracking-stale-after-stop", "STOP does not forget: the next START reports the old pages again")(Keeping)


@defect("tracking-stop-forgets-first-word", "STOP forgets only the first 64 pages of each mapping")
class StopForgetsFirstWord(Keeping):
    def _kept(self) -> PageSet:
        kept = super()._kept()
        for start, _ in self._mapped(*EVERYWHERE):
            first = start // self.page_size
            kept.discard(first, first + 64)
        return kept


@defect("tracking-stop-keeps-unpinned", "STOP does not forget pages that were unpinned while pages were tracked")
class StopKeepsUnpinned(Keeping):
    def __init__(self, mapped: Mapped, scope: str) -> None:
        super().__init__(mapped, scope)
        self._unpinned = PageSet()

    def unpin(self, pin: Pin) -> None:
        if self.tracking:
            self._unpinned.add(*self._pages(pin.address, pin.size))
        super().unpin(pin)

    def _kept(self) -> PageSet:
        kept, self._unpinned = self._unpinned, PageSet()
        return kept


class Lasting(DirtyTracker):
    """Remembers something until the device is reset: that it is stuck, or that tracking has ended once."""

    has_ended = False
    _wedged = False

    def stop(self) -> None:
        self.has_ended |= self.tracking
        super().stop()

    def recover(self) -> None:
        """The device was reset."""
        self.has_ended = False
        if self._wedged:
            self._wedged = False
            self._written.clear()

    def _lay_out(self, address: int, size: int, room: int) -> Bitmap:
        return Bitmap(room) if self._wedged else super()._lay_out(address, size, room)


class Recovering(GuestMemory):
    """Reports resets to the tracker."""

    def reset(self) -> None:
        super().reset()
        self._recover()

    def detach(self) -> None:
        super().detach()
        self._recover()

    def _recover(self) -> None:
        assert isinstance(self.dirty, Lasting)
        self.dirty.recover()


@defect("tracking-restart-wedges", "a second START succeeds, and nothing is reported from then on until reset")
class RestartWedges(Lasting):
    def start(self) -> None:
        self._wedged |= self.tracking
        super().start()


@defect("tracking-restart-clears", "a second START forgets the record")
class RestartClears(DirtyTracker):
    def start(self) -> None:
        if self.tracking:
            self._written.clear()
        super().start()


@defect(
    "tracking-stop-again-wedges", "after a STOP when off, while something is mapped, nothing is reported until reset"
)
class StopAgainWedges(Lasting):
    def stop(self) -> None:
        self._wedged |= not self.tracking and bool(self._mapped(*EVERYWHERE))
        super().stop()


@defect("bitmap-while-stopped", "GET_BITMAP succeeds while nothing is tracked")
class BitmapWhileStopped(Container):
    def _check_tracking(self) -> None:
        return


@defect("bitmap-after-stop", "GET_BITMAP succeeds after STOP, though not before the first START")
class BitmapAfterStop(Container):
    def _check_tracking(self) -> None:
        assert isinstance(self._dirty, Lasting)
        if not self._dirty.has_ended:
            super()._check_tracking()


part_of("bitmap-after-stop")(Lasting)
part_of("tracking-restart-wedges", "tracking-stop-again-wedges", "bitmap-after-stop")(Recovering)
