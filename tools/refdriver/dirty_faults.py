# SPDX-License-Identifier: GPL-2.0-only
"""A record of dirty pages that is kept wrong in the ways that defects.py names."""

from __future__ import annotations

from errno import EINVAL

from .bitmap_faults import OF_QUERIES, OF_UNMAPPINGS, Range, Spoiler
from .dirty import DirtyTracker, Mapped
from .pages import Bitmap, PageSet
from .pins import Pin
from .refusal import Refusal

_EVERYWHERE = (0, 1 << 64)
#: Bytes of the largest bitmap that is spoiled.
_LARGEST_SPOILED = 1 << 20
#: Queries after which a tracker is tired, and writes that a log between two of them holds.
_MOST_QUERIES, _MOST_LOGGED = 4, 8


def make_tracker(mapped: Mapped, everything: bool, defects: frozenset[str]) -> DirtyTracker:
    """The record of one container."""
    return FaultyTracker(mapped, everything, defects) if defects else DirtyTracker(mapped, everything)


class FaultyTracker(DirtyTracker):
    """Each step goes wrong as the defects have it, and right where none of them is about it."""

    def __init__(self, mapped: Mapped, everything: bool, defects: frozenset[str]) -> None:
        super().__init__(mapped, everything)
        self._defects = defects
        #: Whether tracking has ended once; nothing is reported until the device is reset.
        self.has_ended = False
        self._wedged = False
        self._unmapping = False
        # Since START: the mappings and pins that were there before, mappings told of, queries, the writes counted.
        self._old: set[int] = set()
        self._old_pins: set[Pin] = set()
        self._introduced: set[int] = set()
        self._told_pins: set[Pin] = set()
        self._queries = 0
        self._writes = 0
        self._logged = 0
        self._deaf = False
        self._skew = 0
        self._reported = PageSet()
        self._unpinned = PageSet()
        self._queried: list[tuple[int, int]] = []
        self._left_over = 0
        self._overdue = (0, 0)

    # From START to STOP.

    def start(self) -> None:
        """Begin."""
        if self.tracking:
            self._start_again()
            return
        if "tracking-start-needs-mapping" in self._defects and not self._mapped(*_EVERYWHERE):
            raise Refusal(EINVAL)
        super().start()
        self._old = {start for start, _ in self._mapped(*_EVERYWHERE)}
        self._old_pins = set(self.pins.meeting(*_EVERYWHERE))

    def _start_again(self) -> None:
        if "dirty-restart-refused" in self._defects:
            raise Refusal(EINVAL)
        if "tracking-restart-wedges" in self._defects:
            self._wedged = True
        if "tracking-restart-clears" in self._defects:
            self._written.clear()

    def stop(self) -> None:
        """End, and forget, but for what is kept."""
        if not self.tracking and "tracking-stop-again-wedges" in self._defects and self._mapped(*_EVERYWHERE):
            self._wedged = True
        self.has_ended |= self.tracking
        kept = self._kept_by_stop()
        super().stop()
        for pages in kept:
            self._written.add(*pages)
        for record in (
            *(self._old, self._old_pins, self._introduced, self._told_pins),
            *(self._reported, self._unpinned, self._queried),
        ):
            record.clear()
        self._queries = self._logged = self._skew = self._left_over = 0
        self._deaf = False
        self._overdue = (0, 0)

    def _kept_by_stop(self) -> list[tuple[int, int]]:
        """Pages that STOP does not forget, as first and end."""
        kept = self._written
        if "tracking-stop-forgets-first-word" in self._defects:
            for start, _ in self._mapped(*_EVERYWHERE):
                first = start // self.page_size
                kept.discard(first, first + 64)
        elif "tracking-stop-keeps-unpinned" in self._defects:
            kept = self._unpinned
        elif "tracking-stale-after-stop" not in self._defects:
            return []
        return [
            (page + bit, page + bit + 1)
            for page, bits in kept.within(0, _EVERYWHERE[1] // self.page_size)
            for bit in range(bits.bit_length())
            if bits >> bit & 1
        ]

    def reset(self) -> None:
        """The device was reset, which helps one that had got stuck."""
        self.has_ended = False
        if self._wedged:
            self._wedged = False
            self._written.clear()

    # What the device does.

    def wrote(self, address: int, length: int, streamed: bool = False) -> None:
        """Take note of a write, or fail to."""
        if not streamed:
            self._settle()
        if self.tracking and not self._misses(address, streamed):
            for start, some in self._noticed(address, length):
                super().wrote(start, some)
        if streamed:
            self._settle()

    def _misses(self, address: int, streamed: bool) -> bool:
        """Whether a write is not recorded at all."""
        if self._overlooks(address):
            return True
        self._writes += 1
        self._logged += 1
        return (
            ("bitmap-drops-every-64th" in self._defects and self._writes % 64 == 0)
            or ("bitmap-log-overflows" in self._defects and self._logged > _MOST_LOGGED)
            or ("tracking-below-4g-only" in self._defects and address >= 1 << 32)
            or ("stream-untracked" in self._defects and streamed)
        )

    def _noticed(self, address: int, length: int) -> list[tuple[int, int]]:
        """The parts of a write that are recorded."""
        if "bitmap-misses-long-write" in self._defects:
            return [(address, 1)]
        if "bitmap-long-write-ends" in self._defects:
            return [(address, 1), (address + length - 1, 1)]
        if "bitmap-write-stops-at-word" in self._defects:
            word = 64 * self.page_size
            return [(address, min(length, word - address % word))]
        return [(address, length)]

    def unpin(self, pin: Pin) -> None:
        """Unpin a range, unless it is overlooked: then without a word."""
        if not self._knows(pin):
            self.pins.remove(pin)
            return
        if self.tracking:
            self._unpinned.add(*self._pages(pin.address, pin.size))
        super().unpin(pin)

    def forget(self, address: int, size: int) -> None:
        """Drop the record of a range that is mapped no longer, and what defects make of that."""
        self._old.discard(address)
        self._introduced.discard(address)
        if "bitmap-unmapped-lingers" not in self._defects:
            super().forget(address, size)
        if "unmap-forgets-word" in self._defects:
            first, end = self._pages(address, size)
            self._written.discard(first // 64 * 64, -(-end // 64) * 64)
        if "tracking-ends-when-unmapped" in self._defects and not self._mapped(*_EVERYWHERE):
            self.stop()

    def drop(self, address: int, size: int) -> None:
        """Drop the record of a range that stays mapped."""
        self._written.discard(*self._pages(address, size))

    def stain(self, address: int, size: int) -> None:
        """Record a range as written, as far as it is mapped."""
        for start, length in self._mapped(address, size):
            super().wrote(start, length)

    def _settle(self) -> None:
        """Drop what was reported, where that was put off (defect bitmap-race)."""
        self._written.discard(*self._overdue)
        self._overdue = (0, 0)

    def _overlooks(self, address: int) -> bool:
        """Whether the mapping at an address is not tracked."""
        if not self._defects & {"tracking-new-mappings-only", "tracking-old-mappings-only"}:
            return False
        old = any(start in self._old for start, _ in self._mapped(address, 1))
        return old if "tracking-new-mappings-only" in self._defects else not old

    def _knows(self, pin: Pin) -> bool:
        if "tracking-forgets-pinned" in self._defects and pin in self._old_pins:
            return False
        return not self._overlooks(pin.address)

    # What is asked for.

    def get(self, address: int, size: int, room: int) -> Bitmap:
        """A bitmap that is spoiled, or a record that is left spoiled."""
        self._settle()
        self._queries += 1
        if "tracking-tires" in self._defects and self._queries > _MOST_QUERIES:
            self._deaf = True
        if "bitmap-range-ignored" in self._defects:
            address = next((start for start, _ in self._mapped(*_EVERYWHERE)), address)
        bitmap = super().get(address, size, room)
        self._spoil(bitmap, address, size, OF_QUERIES)
        self._remember(bitmap, address, size)
        return bitmap

    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        """The same of a range that is being unmapped."""
        self._settle()
        asked = size
        if "unmap-bitmap-neighbours" in self._defects:
            size = -(-size // (64 * self.page_size)) * 64 * self.page_size
        self._unmapping = True
        bitmap = super().get_unmapped(address, size, room)
        self._unmapping = False
        if "unmap-after-query-empty" in self._defects and self._was_queried(address, asked):
            bitmap = Bitmap(room)
        self._spoil(bitmap, address, asked, OF_UNMAPPINGS)
        return bitmap

    def _was_queried(self, address: int, size: int) -> bool:
        first, end = self._pages(address, size)
        return any(low < end and first < high for low, high in self._queried)

    def _lay_out(self, address: int, size: int, room: int) -> Bitmap:
        return Bitmap(room) if self._deaf or self._wedged else super()._lay_out(address, size, room)

    def _always(self, address: int, size: int) -> list[tuple[int, int]]:
        whole = super()._always(address, size)
        if self._everything:
            return whole
        pins = [pin for pin in self.pins.meeting(address, size) if self._knows(pin) and not self._conceals(pin)]
        first_alone = "tracking-pins-first-page" in self._defects and not self._unmapping
        return [(pin.address, self.page_size if first_alone else pin.size) for pin in pins]

    def _conceals(self, pin: Pin) -> bool:
        """Whether a pinned range is not reported before it is unpinned, or unmapped."""
        if self._unmapping:
            return "unmap-forgets-pinned" in self._defects
        if "tracking-forgets-later-pins" in self._defects and pin not in self._old_pins:
            return True
        return "tracking-pinned-once" in self._defects and pin in self._told_pins

    def _clear(self, first: int, end: int) -> None:
        if "bitmap-not-cleared" in self._defects:
            return
        if "bitmap-race" in self._defects:
            self._overdue = (first, end)
            return
        if "bitmap-clears-too-much" in self._defects:
            first, end = first // 64 * 64, -(-end // 64) * 64
        if "bitmap-cut-clears-mapping" in self._defects:
            for start, length in self._mapped(first * self.page_size, (end - first) * self.page_size):
                low, high = self._pages(start, length)
                first, end = min(first, low), max(end, high)
        super()._clear(first, end)

    def _spoil(self, bitmap: Bitmap, address: int, size: int, spoilers: dict[str, Spoiler]) -> None:
        """Have those of the defects that are about the bitmap itself change it."""
        if len(bitmap.content) > _LARGEST_SPOILED:
            return
        first, end = self._pages(address, size)
        mapped = [self._pages(*mapping) for mapping in self._mapped(address, size)]
        inside = [(max(low, first) - first, min(high, end) - first) for low, high in mapped]
        of = Range(first, end - first, 8 * len(bitmap.content), inside)
        bits = int.from_bytes(bitmap.content, "little")
        for name, spoiler in spoilers.items():
            if name in self._defects:
                bits = spoiler(bits, of)
        if spoilers is OF_QUERIES:
            bits = self._spoil_by_what_was(bits, of, [start for start, _ in self._mapped(address, size)])
        bitmap.content[:] = (bits & (1 << of.room) - 1).to_bytes(of.room // 8, "little")

    def _spoil_by_what_was(self, bits: int, of: Range, mapped: list[int]) -> int:
        """The same where it depends on the queries before."""
        bits <<= self._skew
        if "bitmap-set-once" in self._defects:
            for page, told in self._reported.within(of.first, of.first + of.pages):
                bits &= ~(told << page - of.first if page >= of.first else told >> of.first - page)
            for bit in range(bits.bit_length()):
                if bits >> bit & 1:
                    self._reported.add(of.first + bit, of.first + bit + 1)
        if "bitmap-new-mapping-dirty" in self._defects:
            for start, (low, high) in zip(mapped, of.mapped, strict=True):
                if start not in self._old | self._introduced:
                    bits |= (1 << high) - (1 << low)
            self._introduced.update(mapped)
        if "bitmap-buffer-reused" in self._defects:
            bits, self._left_over = bits | self._left_over, bits
        return bits

    def _remember(self, bitmap: Bitmap, address: int, size: int) -> None:
        """What a query leaves behind."""
        defects = self._defects
        self._logged = 0
        self._queried.append(self._pages(address, size))
        self._told_pins.update(self.pins.meeting(address, size))
        if "bitmap-unaligned-base" in defects:
            self._skew = self._skew or next(
                ((address - start) // self.page_size % 64 for start, _ in self._mapped(address, size)), 0
            )
        if "tracking-one-shot" in defects:
            self._deaf = True
        if "bitmap-ends-tracking" in defects:
            self.stop()
        if "bitmap-cut-wedges" in defects and any(
            start < address or start + length > address + size for start, length in self._mapped(address, size)
        ):
            self.stop()
