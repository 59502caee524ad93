# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF012 (what a class declares is never changed)
"""The client's memory, and which of its pages were written."""

from __future__ import annotations

import errno
import struct

from style import Style, hang, segfault
from wire import Refusal

#: A page was written, but is in no bitmap: each of these rules may report it.
MISSES = {"dirty.bitmap.*", "dirty.history.*", "dirty.tracking.*", "dirty.unmap.*", "dirty.unspecified.*"} | {
    "dirty.request.*",
}

#: These are judged only if the same passes in running.
STANDS = {"dirty.states.*", "dirty.reset.tracking-continues"}


class Dirty(Style):
    part = "dirty"


class Tracks(Dirty):
    """The good device, judged by the rules of dirty tracking."""

    good = True


class ByMessages(Dirty):
    """Memory is written by messages, and the pages are in the bitmap."""

    good = True
    by_message = True


class ByMessagesUnreported(ByMessages):
    """Memory is written by messages, and the pages are not in the bitmap: the client carried out the writes itself."""

    # Pinned pages are still reported.
    remembers = False


class Unreported(Dirty):
    """Memory is written directly, and the pages are not in the bitmap."""

    breaks = {"dirty.bitmap.written-is-set"}
    may = MISSES
    unjudged = MISSES | STANDS
    remembers = False


class HalfByMessages(Dirty):
    """Every other write is a message and not in the bitmap; the others are direct, and in it."""

    good = True

    def dma(self, address: int, data: bytes) -> bool:
        self.by_message = not self.by_message
        self.remembers = not self.by_message
        return super().dma(address, data)


class HalfUnreported(HalfByMessages):
    """Every other write is a message and in the bitmap; the others are direct, and not in it."""

    good = False
    breaks = {"dirty.bitmap.written-is-set"}
    may = MISSES
    unjudged = MISSES | STANDS

    def dma(self, address: int, data: bytes) -> bool:
        self.by_message = not self.by_message
        self.remembers = self.by_message
        return Dirty.dma(self, address, data)


class DiesOnUnmap(Dirty):
    """The server dies when memory is unmapped."""

    dies = True
    breaks = {"dirty.unmap.plain"}
    # All of them unmap, at the latest when they end.
    may = unjudged = {"dirty.*"}

    def on_dma_unmap(self, body: bytes) -> bytes:
        segfault()


class HangsOnUnmapOnce(Dirty):
    """One unmapping is never answered; a new server answers."""

    exit = 3
    may = {"*"}  # the case that meets it
    profile = {"limits.call": "500ms"}
    countdown = 10

    def on_dma_unmap(self, body: bytes) -> bytes:
        self.countdown -= 1
        if not self.countdown and self.once():
            hang()
        return super().on_dma_unmap(body)


class DiesOnBitmapAtUnmap(Dirty):
    """The server dies when memory is unmapped with its bitmap."""

    dies = True
    breaks = {"dirty.unmap.written-is-set"}
    may = unjudged = {"dirty.unmap.*", "dirty.history.*"}  # these unmap in this way themselves
    judged = {"dirty.unmap.plain", "dirty.bitmap.*", "dirty.history.nothing-lost"}

    def on_dma_unmap(self, body: bytes) -> bytes:
        if struct.unpack_from("<I", body, 4)[0] & 1:
            segfault()
        return super().on_dma_unmap(body)


class DiesOnBitmap(Dirty):
    """The server dies when a bitmap is asked for."""

    dies = True
    breaks = {"dirty.bitmap.written-is-set"}
    may = MISSES
    unjudged = MISSES | STANDS
    judged = {"dirty.region-info.argsz"}

    def bitmap(self, address: int, size: int, room: int) -> bytes:
        segfault()


class RefusesUnmapBitmap(Dirty):
    """Unmapping with a bitmap is refused; without one, it succeeds."""

    breaks = {"dirty.unmap.written-is-set"}
    may = unjudged = {"dirty.unmap.*", "dirty.history.*"}  # these unmap in this way themselves
    judged = {"dirty.unmap.plain", "dirty.bitmap.*", "dirty.history.nothing-lost"}

    def on_dma_unmap(self, body: bytes) -> bytes:
        if struct.unpack_from("<I", body, 4)[0] & 1:
            raise Refusal(errno.EOPNOTSUPP)
        return super().on_dma_unmap(body)


class UnmapRefused(Dirty):
    """Unmapping is refused, with and without a bitmap."""

    breaks = {"dirty.unmap.plain"}
    may = unjudged = {"dirty.*"}

    def on_dma_unmap(self, body: bytes) -> bytes:
        raise Refusal(errno.EPERM)


class AnyRoom(Dirty):
    """A client may give any size for a bitmap."""

    # Nothing is written past the bitmap, and the protocol has no limit.
    good = True
    most_room = (1 << 64) - 1


class EchoesDirtyPages(Dirty):
    """START and STOP are answered with the request's body."""

    # The protocol gives these replies no body, and a client ignores it. No rule judges it.
    good = True

    def body(self, command: int, request: bytes, reply: bytes) -> bytes:
        return reply or request[:16]


class EverythingDirty(Dirty):
    """All mapped pages are always dirty, as behind an IOMMU; the profile says so."""

    # Such a driver pins nothing, as its profile says, so rules about pinning are n/a.
    good = True
    profile = {"claims.dirty_scope": "everything", "stimulus.dirty.pin": None, "stimulus.dirty.unpin": None}

    def bitmap(self, address: int, size: int, room: int) -> bytes:
        page = 4096
        for at, known in self.maps.items():
            self.dirty.update(range(at // page, (at + known.size) // page))
        return super().bitmap(address, size, room)


class ErrorsWithBodyDirty(Dirty):
    """An error reply has a body of the size of a good reply, judged by dirty tracking."""

    good = True

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        refusal.body = bytes(40)
        super().refuse(number, command, flags, refusal)


class ErrnoZeroDirty(Dirty):
    """Every refusal has errno 0, judged by dirty tracking."""

    good = True  # none of these is a write of device_state

    def refuse(self, number: int, command: int, flags: int, refusal: Refusal) -> None:
        super().refuse(number, command, flags, Refusal(0))
