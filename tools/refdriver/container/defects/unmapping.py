# SPDX-License-Identifier: GPL-2.0-only
"""Unmapping with a bitmap, and without."""

from __future__ import annotations

from errno import EINVAL

from ...overlays import defect
from ...refusal import Refusal
from ...socket import wire
from ...socket.requests import Answer, check_argsz, fields
from ..container import UNMAP_FIXED, Container
from ..dirty import DirtyTracker, Mapped, bitmap_size
from ..pages import Bitmap
from ..pins import Pin
from ..ranges import EVERYWHERE
from . import tolerance
from .history import Concealing
from .spoiling import WORD, ones, second_word_lost, spoiling_unmapped
from .tolerance import Tolerant

_UNMAP = wire.DMA_UNMAP
_FLAGS = wire.UNMAP_GET_BITMAP | wire.UNMAP_ALL

defect("unmap-before-bitmap", "the range is unmapped before the bitmap is made, which is then empty")(
    spoiling_unmapped(lambda bits, of: 0)
)


@defect("unmap-reports-only", "an unmapping with a bitmap leaves the range mapped")
class ReportsOnly(Container):
    _with_bitmap = False

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        self._with_bitmap = True
        try:
            return super()._unmap_with_bitmap(body, argsz, address, size)
        finally:
            self._with_bitmap = False

    def _unmap(self, address: int, size: int) -> None:
        if self._with_bitmap:
            self._dirty.forget(address, size)
        else:
            super()._unmap(address, size)


@defect("unmap-after-query-empty", "the bitmap of an unmapping is empty if GET_BITMAP was asked for the range before")
class AfterQueryEmpty(DirtyTracker):
    def __init__(self, mapped: Mapped, scope: str) -> None:
        super().__init__(mapped, scope)
        self._queried: list[tuple[int, int]] = []

    def get(self, address: int, size: int, room: int) -> Bitmap:
        self._queried.append(self._pages(address, size))
        return super().get(address, size, room)

    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        first, end = self._pages(address, size)
        if any(low < end and first < high for low, high in self._queried):
            return Bitmap(room)
        return super().get_unmapped(address, size, room)

    def stop(self) -> None:
        super().stop()
        self._queried.clear()


@defect("unmap-forgets-pinned", "the bitmap of an unmapping leaves out pinned pages")
class ForgetsPinned(Concealing):
    def _conceals(self, pin: Pin) -> bool:
        return self._unmapping or super()._conceals(pin)


defect("unmap-short-argsz-accepted", "an unmapping with a bitmap succeeds with an argsz that leaves the bitmap out")(
    tolerance.taking_argsz(_UNMAP)
)
defect("unmap-argsz-40-accepted", "an unmapping with a bitmap succeeds with an argsz that lacks only its address")(
    tolerance.taking_argsz_without_address(_UNMAP)
)


@defect("unmap-short-argsz-unmaps", "an unmapping with a bitmap refused for its argsz unmaps nevertheless")
class ShortArgszUnmaps(Tolerant):
    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        _, room = fields(wire.BITMAP, body, wire.UNMAP.size)
        if not self._has_room(_UNMAP, argsz, UNMAP_FIXED + room):
            self._unmap_anyway(address, size)
        return super()._unmap_with_bitmap(body, argsz, address, size)


defect("unmap-small-buffer-accepted", "an unmapping accepts and fills a bitmap too small for the range")(
    tolerance.taking_small_buffer(_UNMAP)
)
defect("unmap-buffer-rounded-down", "an unmapping accepts and fills a bitmap that lacks the word of the last pages")(
    tolerance.rounding_buffer_down(_UNMAP)
)
defect("unmap-exact-buffer-only", "an unmapping refuses a bitmap larger than needed")(
    tolerance.taking_exact_buffer_only(_UNMAP)
)


class Undoing(Tolerant):
    """Changes the range although it refuses to unmap it."""

    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        try:
            return super()._unmap_with_bitmap(body, argsz, address, size)
        except Refusal:
            page_size, room = fields(wire.BITMAP, body, wire.UNMAP.size)
            self._has_refused(address, size, page_size, room)
            raise

    def _has_refused(self, address: int, size: int, page_size: int, room: int) -> None:
        """The request was refused, for any reason."""


@defect("unmap-small-refused-unmaps", "an unmapping refused for a bitmap too small unmaps nevertheless")
class SmallRefusedUnmaps(Undoing):
    def _has_refused(self, address: int, size: int, page_size: int, room: int) -> None:
        super()._has_refused(address, size, page_size, room)
        if room < bitmap_size(size // self._dirty.page_size):
            self._unmap_anyway(address, size)


defect("unmap-page-size-ignored", "an unmapping with a bitmap accepts any number as page size")(
    tolerance.ignoring_page_size(_UNMAP)
)
defect("unmap-any-page-size", "an unmapping with a bitmap accepts any power of two from 4096 as page size")(
    tolerance.taking_any_page_size(_UNMAP)
)


@defect("unmap-page-size-refused-unmaps", "an unmapping refused for its page size unmaps nevertheless")
class PageSizeRefusedUnmaps(Undoing):
    def _has_refused(self, address: int, size: int, page_size: int, room: int) -> None:
        super()._has_refused(address, size, page_size, room)
        if page_size != self._dirty.page_size:
            self._unmap_anyway(address, size)


defect("unmap-bitmap-shifted", "the bitmap of an unmapping has bit i + 1 set for page i")(
    spoiling_unmapped(lambda bits, of: bits << 1)
)
defect(
    "unmap-bitmap-from-word",
    "the bits of an unmapping's bitmap count from the multiple of 64 pages before the range",
)(spoiling_unmapped(lambda bits, of: bits << of.first % WORD))
defect("unmap-bitmap-second-word-lost", "the bitmap of an unmapping leaves the second 64-bit word zero")(
    spoiling_unmapped(second_word_lost)
)


@defect("unmap-bitmap-neighbours", "the last word of an unmapping's bitmap also reports the pages after the range")
class BitmapNeighbours(DirtyTracker):
    def get_unmapped(self, address: int, size: int, room: int) -> Bitmap:
        word = WORD * self.page_size
        return super().get_unmapped(address, -(-size // word) * word, room)


defect("unmap-bitmap-inverted", "the bitmap of an unmapping has the bits of clean pages set")(
    spoiling_unmapped(lambda bits, of: ~bits & ones(0, of.pages))
)


@defect("unmap-forgets-neighbours", "an unmapping with a bitmap also forgets dirty pages elsewhere")
class ForgetsNeighbours(Container):
    def _unmap_with_bitmap(self, body: bytes, argsz: int, address: int, size: int) -> Answer:
        answer = super()._unmap_with_bitmap(body, argsz, address, size)
        if len(answer.data):
            self._dirty.forget(*EVERYWHERE)
        return answer


@defect("unmap-forgets-word", "an unmapping forgets the pages that share a multiple of 64 pages with the range")
class ForgetsWord(DirtyTracker):
    def forget(self, address: int, size: int) -> None:
        super().forget(address, size)
        first, end = self._pages(address, size)
        self._written.discard(first // WORD * WORD, -(-end // WORD) * WORD)


@defect("unmap-refused-clears", "a refused unmapping with a bitmap clears the pages of the range")
class RefusedClears(Undoing):
    def _has_refused(self, address: int, size: int, page_size: int, room: int) -> None:
        super()._has_refused(address, size, page_size, room)
        self._dirty.forget(address, size)


@defect("unmap-plain-wants-40", "a plain unmapping with an argsz of 24 is refused")
class PlainWants40(Container):
    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, _, _ = fields(wire.UNMAP, body)
        if not flags:
            check_argsz(argsz, UNMAP_FIXED)
        return super()._dma_unmap(body, fds)


@defect("unmap-unknown-flags-ignored", "unknown flags of an unmapping are ignored")
class UnknownFlagsIgnored(Container):
    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        argsz, flags, address, size = fields(wire.UNMAP, body)
        request = wire.UNMAP.pack(argsz, flags & _FLAGS, address, size)
        return super()._dma_unmap(request + body[wire.UNMAP.size :], fds)


@defect("unmap-tracked-refused", "a plain unmapping is refused while pages are tracked")
class TrackedRefused(Container):
    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        if not fields(wire.UNMAP, body)[1] and self._dirty.tracking:
            raise Refusal(EINVAL)
        return super()._dma_unmap(body, fds)


@defect("unmap-size-kept-zero", "a plain unmapping reports 0 bytes unmapped")
class SizeKeptZero(Container):
    def _dma_unmap(self, body: bytes, fds: tuple[int, ...]) -> Answer:
        answer = super()._dma_unmap(body, fds)
        _, flags, address, _ = fields(wire.UNMAP, body)
        return answer if flags else Answer(wire.UNMAP.pack(wire.UNMAP.size, flags, address, 0))
