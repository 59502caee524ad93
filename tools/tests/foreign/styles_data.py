# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF012 (what a class declares is never changed)
"""The data section, saving, and resuming."""

from __future__ import annotations

import errno
from typing import ClassVar

from device import HEAD, MAGIC, PAGE, PAGES, PRE_COPY, REGISTER_STATE, RESUMING, RUNNING, STOP_AND_COPY, THE_REGISTERS
from style import Style
from wire import Refusal

#: Rules that depend on data being transferred.
MOVES = {
    "v1.saving.pending-has-no-effect",
    "v1.state.never-changes-by-itself",
    "v1.resuming.*",
    "v1.saving.continues-after-*",
    "v1.sessions.*",
    "v1.stop-and-copy.state-is-complete",
    "v1.pre-copy.later-changes-carried",
    "v1.client.*",
    "qemu.load.*",
    "qemu.paused.migrates",
}
#: Rules that may watch a transition during a whole save and load.
WAYS = {
    "v1.state.reads-what-was-written",
    "v1.state.write-is-complete",
    "v1.transition.live-migration",
    "v1.transition.stop-and-copy-to-stop",
    "v1.layout.write-always-works",
}
#: Rules that depend on data that can be saved.
SAVES = MOVES | {
    "v1.saving.*",
    "v1.layout.buffer-in-section",
    "v1.layout.mapped-view-agrees",
    "v1.layout.mapped-offset-aligned",
    "v1.layout.offset-past-header",
    "v1.layout.read-always-works",
    "v1.pre-copy.*",
    "v1.transition.resuming-to-running",
    "v1.transition.running-to-pre-copy",
    "v1.error.surfaces",
    "qemu.*",
}


# -- access to the section ---------------------------------------------------------------------------------------


class Trapped(Style):
    """The section cannot be mapped."""

    good = True
    areas = ()
    profile = {"claims.data_section": "trapped"}


class MapsHalf(Style):
    """The first page of the section can be mapped; buffers extend past it."""

    good = True
    areas = ((PAGE, PAGE),)
    profile = {"claims.data_section": "partitioned"}


class MapsSecondHalf(Style):
    """The second page of the section can be mapped; buffers begin before it."""

    good = True
    areas = ((2 * PAGE, PAGE),)
    profile = {"claims.data_section": "partitioned"}


class MapsWithHole(Style):
    """The first and the third page of the section can be mapped; a buffer extends over the hole."""

    good = True
    section = (PAGE, 4 * PAGE)
    areas = ((PAGE, PAGE), (3 * PAGE, PAGE))
    piece = 3 * PAGE - HEAD.size
    profile = {"claims.data_section": "partitioned"}


class MapsTwoAreas(Style):
    """Two areas side by side make the whole section mappable."""

    good = True
    areas = ((PAGE, PAGE), (2 * PAGE, PAGE))


class WrongClaim(Style):
    """The section can be mapped; the profile claims that it cannot."""

    breaks = {"v1.layout.section-as-claimed"}
    profile = {"claims.data_section": "trapped"}


class MappedOnly(Style):
    """Data is accessible only by mapping, as the profile says: read() and write() are refused."""

    breaks = {"v1.layout.read-always-works"}
    # write() is the other half of the same fault.
    may = {"v1.layout.write-always-works", "v1.resuming.any-split", "v1.resuming.takes-data"}
    # Splitting needs read() and write().
    unjudged = {"v1.saving.any-split", "v1.resuming.any-split", "v1.layout.mapped-view-agrees"}
    judged = {"v1.saving.*", "v1.resuming.data-is-used", "v1.stop-and-copy.state-is-complete", "qemu.load.restores"}
    profile = {"claims.data_section": "mapped-only"}
    needs = "mapped-only"

    def read_section(self, offset: int, count: int) -> bytes:
        raise Refusal

    def write_section(self, offset: int, data: bytes) -> None:
        raise Refusal


class MappedOnlyUnclaimed(MappedOnly):
    """Data is accessible only by mapping, though the profile says mapped."""

    profile: ClassVar[dict[str, object]] = {}
    needs = ""
    # The rest is judged only if the profile says mapped-only.
    unjudged = SAVES
    judged = {"v1.state.five-states", "v1.reserved.*", "v1.undrawn.safe", "v1.saving.pending-means-data"}


class ReadNeedsMapping(MappedOnly):
    """read() is refused, and write() accepted. The profile says mapped-only."""

    def write_section(self, offset: int, data: bytes) -> None:
        self.region[offset : offset + len(data)] = data


class WriteNeedsMapping(Style):
    """write() is refused, and read() accepted."""

    breaks = {"v1.layout.write-always-works"}
    # These meet the same fault.
    may = {"v1.resuming.takes-data", "v1.resuming.any-split"}
    unjudged = MOVES | WAYS | {"v1.transition.resuming-to-running", "v1.transition.running-to-pre-copy"}

    def write_section(self, offset: int, data: bytes) -> None:
        raise Refusal


class MappedOnlyWritesReadBack(MappedOnly):
    """read() returns zeros; the mapping has the data. The profile says mapped-only."""

    # read() succeeds, but does not return the data.
    breaks = {"v1.layout.mapped-view-agrees"}
    may = MappedOnly.may | {"v1.layout.read-always-works"}

    def read_section(self, offset: int, count: int) -> bytes:
        return bytes(count)


# -- buffers ------------------------------------------------------------------------------------------------------


class OneBuffer(Style):
    """The whole state is one buffer."""

    good = True
    section = (PAGE, 8 * PAGE)
    areas = ((PAGE, 8 * PAGE),)

    def to_save(self, state: int) -> list[tuple[int, int]]:
        return [(0, PAGES * PAGE + REGISTER_STATE.size)] if state == STOP_AND_COPY else [(0, PAGES * PAGE)]

    def make(self, place: int, size: int) -> bytes:
        body = bytes(self.memory) + (super().make(THE_REGISTERS, 0) if size > PAGES * PAGE else b"")
        return HEAD.pack(MAGIC, 0, len(body)) + body

    def understand(self, data: bytes) -> tuple[int, bytes]:
        magic, what, length = HEAD.unpack_from(data)
        whole = (PAGES * PAGE, PAGES * PAGE + HEAD.size + REGISTER_STATE.size)
        if (magic, what, length) != (MAGIC, 0, len(data) - HEAD.size) or length not in whole:
            raise Refusal
        return what, data[HEAD.size :]

    def apply(self, what: int, body: bytes) -> None:
        self.memory[:] = body[: PAGES * PAGE]
        if len(body) > PAGES * PAGE:
            super().apply(THE_REGISTERS, body[PAGES * PAGE + HEAD.size :])


class OneBufferNoPreCopyData(OneBuffer):
    """The whole state is one buffer, which comes in stop-and-copy."""

    profile = {"claims.precopy_data": False}

    def to_save(self, state: int) -> list[tuple[int, int]]:
        return super().to_save(state) if state == STOP_AND_COPY else []


class OddSizes(Style):
    """Buffers of odd sizes."""

    good = True

    def to_save(self, state: int) -> list[tuple[int, int]]:
        sizes, at = [1, 7, 333, 4099, 2], 0
        plan: list[tuple[int, int]] = []
        while at < len(self.memory):
            size = min(sizes[len(plan) % len(sizes)], len(self.memory) - at)
            plan.append((at, size))
            at += size
        return plan + ([(THE_REGISTERS, REGISTER_STATE.size)] if state == STOP_AND_COPY else [])


class SmallBuffers(Style):
    """Buffers of 100 bytes in a section of 128, right after the header."""

    good = True
    section = (32, 128)
    areas = ()
    piece = 100
    profile = {"claims.data_section": "trapped"}


class UnalignedTrapped(Style):
    """A trapped section at an odd offset."""

    good = True
    section = (45, 2 * PAGE)
    areas = ()
    profile = {"claims.data_section": "trapped"}


class MovingOffset(Style):
    """data_offset is a different page for each buffer, saved or loaded."""

    good = True
    section = (PAGE, 6 * PAGE)
    areas = ((PAGE, 6 * PAGE),)
    step = 0

    def place_to_save(self, size: int) -> int:
        return PAGE * (1 + 2 * (len(self.plan) % 3))

    def place_to_load(self) -> int:
        return PAGE * (1 + 2 * (self.step % 3))

    def take(self, size: int) -> None:
        super().take(size)
        self.step += 1


class LoadsElsewhere(Style):
    """data_offset in resuming is not the one in saving."""

    good = True
    section = (PAGE, 4 * PAGE)
    areas = ((PAGE, 4 * PAGE),)

    def place_to_load(self) -> int:
        return 3 * PAGE


class NoPreCopyData(Style):
    """No data before stop-and-copy."""

    good = True
    profile = {"claims.precopy_data": False}

    def to_save(self, state: int) -> list[tuple[int, int]]:
        return super().to_save(state) if state == STOP_AND_COPY else []


class PendingTooLow(Style):
    """pending_bytes is 1 while anything is left."""

    good = True

    def estimate(self) -> int:
        return 1 if self.plan else 0


class PendingTooHigh(Style):
    """pending_bytes is a thousand times what is left."""

    good = True

    def estimate(self) -> int:
        return 1000 * super().estimate()


class PendingHuge(Style):
    """pending_bytes has all bits set while anything is left."""

    good = True

    def estimate(self) -> int:
        return (1 << 64) - 1 if self.plan else 0


class PendingDrifts(Style):
    """pending_bytes is a different number at each read."""

    good = True
    drift = 0

    def estimate(self) -> int:
        self.drift = (self.drift + 37) % 1000
        return super().estimate() + self.drift if self.plan else 0


class EndlessPreCopy(Style):
    """In pre-copy, data never ends: memory is sent again and again, as if the guest were busy."""

    good = True

    def read_pending(self) -> int:
        if self.state == PRE_COPY and self.buffer is not None and len(self.plan) == 1:
            self.plan += self.to_save(PRE_COPY)
        return super().read_pending()


class EndlessSame(Style):
    """In stop-and-copy, the same buffer is offered forever."""

    breaks = {"v1.saving.ends"}
    # Rules that need a whole state cannot be judged; QEMU would never finish.
    may = {"qemu.*", "v1.saving.offers-state"}
    unjudged = SAVES | WAYS | {"v1.reset.recovers-fault"}
    judged = {"v1.state.*", "v1.reserved.*", "v1.saving.pending-means-data", "v1.undrawn.safe", "v1.close.*"}
    profile = {"limits.largest_state": "128KiB"}

    def read_pending(self) -> int:
        if self.state == STOP_AND_COPY:
            self.buffer = None
            return self.estimate()
        return super().read_pending()


class EndlessSameLarge(EndlessSame):
    """In stop-and-copy, the same buffer is offered forever, and a state may have 1 GiB."""

    profile = {"limits.largest_state": "1GiB"}


class EndlessNew(EndlessSame):
    """In stop-and-copy, new data is offered forever."""

    fresh = 0

    def read_pending(self) -> int:
        if self.state == STOP_AND_COPY and self.buffer is not None and len(self.plan) == 1:
            self.plan += self.to_save(PRE_COPY)
        return Style.read_pending(self)

    def make(self, place: int, size: int) -> bytes:
        data = super().make(place, size)
        if self.state != STOP_AND_COPY or place == THE_REGISTERS:
            return data
        self.fresh += 1
        return data[:-8] + self.fresh.to_bytes(8, "little")


class EndlessTiny(EndlessSame):
    """In stop-and-copy, buffers of one byte are offered forever."""

    profile = {"limits.largest_state": "64KiB"}

    def to_save(self, state: int) -> list[tuple[int, int]]:
        return [(0, 1)]


class PendingComesBack(Style):
    """At the end of the state, pending_bytes reads 0 once, and then more again."""

    breaks = {"v1.saving.ends"}
    may = {"v1.saving.pending-has-no-effect"}

    def read_pending(self) -> int:
        left = super().read_pending()
        if not left and self.state == STOP_AND_COPY and not self.plan:
            if self.ended:
                self.plan = [(0, 8)]
            self.ended = True
        return left


class NoState(Style):
    """There is nothing to save, and the profile has no visible state."""

    good = True
    exit = 2  # rules that need visible state are not judged, and the run says so
    unjudged = SAVES
    profile = {"stimulus.visible_state": None, "stimulus.save_fault": None, "claims.precopy_data": False}

    def to_save(self, state: int) -> list[tuple[int, int]]:
        return []


class NoStateVisible(Style):
    """There is nothing to save, although the device has visible state."""

    breaks = {"v1.saving.offers-state"}
    # Nothing is restored either: these rules require the same in other words.
    may = MOVES | {"v1.error.surfaces", "qemu.*"}
    unjudged = SAVES
    profile = {"claims.precopy_data": False}

    def to_save(self, state: int) -> list[tuple[int, int]]:
        return []


# -- resuming -----------------------------------------------------------------------------------------------------


class AppliesAtTheEnd(Style):
    """The data is used, from the driver's own copy, when running is written."""

    good = True

    def clear_data(self) -> None:
        super().clear_data()
        self.given: list[tuple[int, bytes]] = []

    def take(self, size: int) -> None:
        place = self.place_to_load()
        if not HEAD.size < size <= self.end - place:
            raise Refusal
        self.given.append(self.understand(self.region[place : place + size]))

    def leave(self, new: int) -> None:
        if self.state == RESUMING and new == RUNNING:
            for what, body in self.given:
                self.apply(what, body)


class Image(Style):
    # An image without heads: the bytes before a buffer determine what it is. After its end, it begins again.
    profile = {"claims.precopy_data": False}

    def clear_data(self) -> None:
        super().clear_data()
        self.position = 0

    def to_save(self, state: int) -> list[tuple[int, int]]:
        return super().to_save(state) if state == STOP_AND_COPY else []

    def make(self, place: int, size: int) -> bytes:
        return super().make(place, size)[HEAD.size :]

    def take(self, size: int) -> None:
        place = self.place_to_load()
        if not 0 < size <= self.end - place:
            raise Refusal
        self.put(self.position, self.region[place : place + size])
        self.advance(size)

    def advance(self, size: int) -> None:
        """Go to the next buffer."""
        self.position = (self.position + size) % (PAGES * PAGE + REGISTER_STATE.size)

    def put(self, position: int, data: bytes) -> None:
        """Use bytes of the image."""
        memory = data[: max(0, PAGES * PAGE - position)]
        self.memory[position : position + len(memory)] = memory
        rest = data[len(memory) :]
        if len(rest) == REGISTER_STATE.size and position + len(memory) == PAGES * PAGE:
            self.apply(THE_REGISTERS, rest)


class ImageAtDataSize(Image):
    """An image without heads, used when data_size is written."""

    good = True


class AppliesAtOnce(Image):
    """Data is used at once when it is written, before data_size."""

    good = True
    areas = ()
    profile = {**Image.profile, "claims.data_section": "trapped"}

    def clear_data(self) -> None:
        super().clear_data()
        self.registers_given = bytearray(REGISTER_STATE.size)

    def write_section(self, offset: int, data: bytes) -> None:
        super().write_section(offset, data)
        if self.state != RESUMING:
            return
        at = self.position + offset - self.section[0]
        for index, byte in enumerate(data if at + len(data) > PAGES * PAGE else b""):
            self.put_byte(at + index, byte)
        if at + len(data) <= PAGES * PAGE:
            self.memory[at : at + len(data)] = data

    def put_byte(self, at: int, byte: int) -> None:
        """Use one byte, if it is in the image."""
        if at < PAGES * PAGE:
            self.memory[at] = byte
        elif at < PAGES * PAGE + REGISTER_STATE.size:
            self.registers_given[at - PAGES * PAGE] = byte
            self.apply(THE_REGISTERS, bytes(self.registers_given))

    def take(self, size: int) -> None:
        if not 0 < size <= self.end - self.section[0]:
            raise Refusal
        self.advance(size)


class ConsumesLate(Image):
    """A buffer is used only when the next data_offset is read, or running is written."""

    breaks = {"v1.resuming.consumed-on-return"}
    # Only a client that reuses the known place and writes the next data at once sees it. One that reads data_offset for
    # each buffer, as in RSM-01, does not.
    may = breaks

    def clear_data(self) -> None:
        super().clear_data()
        self.announced = 0

    def take(self, size: int) -> None:
        self.consume()
        if not 0 < size <= self.end - self.section[0]:
            raise Refusal
        self.announced = size

    def consume(self) -> None:
        """Use the buffer whose data_size was written."""
        size, self.announced = self.announced, 0
        if size:
            super().take(size)

    def place_to_load(self) -> int:
        self.consume() if self.announced else None
        return self.section[0]

    def leave(self, new: int) -> None:
        if self.state == RESUMING:
            self.consume()


class ConsumedByTheNext(Image):
    """A buffer is used when the next data_size is written, or running; by then, the next data has replaced it."""

    breaks = {"v1.resuming.consumed-on-return", "v1.resuming.data-is-used"}
    # These may report the same loss.
    may = MOVES
    unjudged = MOVES

    def clear_data(self) -> None:
        super().clear_data()
        self.announced = 0

    def take(self, size: int) -> None:
        before, self.announced = self.announced, size
        if before:
            super().take(before)

    def leave(self, new: int) -> None:
        if self.state == RESUMING and self.announced:
            super().take(self.announced)


class LastBufferAtTheEnd(Image):
    """A buffer is used when data_size is written, but the last one only when running is written."""

    # If the last one is overwritten before that, it is lost.
    breaks = {"v1.resuming.consumed-on-return"}
    # A judge that overwrites a buffer only with the next one passes it, as no buffer follows the last.
    may = {"v1.resuming.consumed-on-return"}

    def take(self, size: int) -> None:
        if self.position + size == PAGES * PAGE + REGISTER_STATE.size:
            self.last = size
            return
        super().take(size)

    def clear_data(self) -> None:
        super().clear_data()
        self.last = 0

    def leave(self, new: int) -> None:
        if self.state == RESUMING and self.last:
            super().take(self.last)


class RefusesDataAfterTheLast(Style):
    """After the last buffer, data and data_size are refused."""

    good = True

    def write_section(self, offset: int, data: bytes) -> None:
        if self.state == RESUMING and self.last_seen:
            raise Refusal(errno.ENOSPC)
        super().write_section(offset, data)

    def take(self, size: int) -> None:
        if self.last_seen:
            raise Refusal(errno.ENOSPC)
        super().take(size)


class RefusesOffsetAfterTheLast(RefusesDataAfterTheLast):
    """After the last buffer, data_offset is refused as well."""

    def read_offset(self) -> int:
        if self.state == RESUMING and self.last_seen:
            raise Refusal(errno.ENOSPC)
        return super().read_offset()


class RefusesHalfStates(Style):
    """Running is refused before the last buffer, and after data that could not be read."""

    good = True
    # QEMU cancels a load from resuming.
    may = {"qemu.cancel.returns-to-running"}
    profile = {"claims.transitions": []}

    def clear_data(self) -> None:
        super().clear_data()
        self.poisoned = False

    def take(self, size: int) -> None:
        try:
            super().take(size)
        except Refusal:
            self.poisoned = True
            raise

    def leave(self, new: int) -> None:
        if self.state == RESUMING and new == RUNNING and (self.poisoned or not self.last_seen):
            raise Refusal


class ForgetsAll(Style):
    """All data is accepted, but none of it is used."""

    breaks = {"v1.resuming.data-is-used"}
    # These may report the same loss.
    may = MOVES
    unjudged = MOVES

    def apply(self, what: int, body: bytes) -> None:
        pass


class ForgetsAllThin(ForgetsAll):
    """All data is accepted, but not used; the profile only says how to reach the device."""

    # No rule can show it: the run has judged too little, and says so.
    breaks: ClassVar[set[str]] = set()
    may: ClassVar[set[str]] = set()
    unjudged = {"*"}
    exit = 2
    profile = {"claims": None, "stimulus": None}


class PlainThin(Style):
    """The good device; the profile only says how to reach it."""

    good = True
    unjudged = {"*"}
    exit = 2
    profile = {"claims": None, "stimulus": None}


class NoLimits(Style):
    """The good device; the profile has no limits."""

    good = True
    profile = {"limits": None}


class PlainUnseen(PlainThin):
    """The good device; the profile has no visible state."""

    unjudged = MOVES | {"v1.saving.*", "v1.pre-copy.later-changes-carried", "qemu.*"}
    judged = {"v1.state.stopped-before-return", "v1.saving.ends"}
    profile = {"stimulus.visible_state": None}


class ForgetsAllUnseen(ForgetsAllThin):
    """All data is accepted, but not used; the profile has no visible state."""

    unjudged = PlainUnseen.unjudged
    judged = PlainUnseen.judged
    profile = {"stimulus.visible_state": None}


class PlainUnwatched(PlainThin):
    """The good device; the profile has nothing that shows it running."""

    # Cases that can do without it are judged.
    unjudged = {
        "v1.state.running-bit",
        "v1.state.stopped-before-return",
        "v1.stop-and-copy.stops",
        "v1.pre-copy.keeps-running",
        "v1.sessions.works-after",
        "v1.open.running",
        "v1.transition.resuming-to-running",
        "qemu.*",
    }
    judged = {"v1.transition.resuming-to-running", "v1.open.running", "qemu.load.waits-for-guest"}
    profile = {"stimulus.running": None}


class ForgetsOneBuffer(Style):
    """The third page of memory is accepted, but not used."""

    breaks = {"v1.resuming.every-buffer-counts"}
    may = MOVES
    unjudged = MOVES

    def apply(self, what: int, body: bytes) -> None:
        if what != 2 * PAGE:
            super().apply(what, body)


class ForgetsTheRegisters(ForgetsOneBuffer):
    """The last buffer is accepted, but not used."""

    def apply(self, what: int, body: bytes) -> None:
        if what != THE_REGISTERS:
            Style.apply(self, what, body)


class SavesOnlyPreCopy(Style):
    """After pre-copy, stop-and-copy offers only the registers: later changes are lost."""

    # Data that is not read in pre-copy is not saved at all.
    breaks = {"v1.pre-copy.later-changes-carried", "v1.sessions.pre-copy-left"}
    may = {"qemu.live.completes", "qemu.load.restores"}  # QEMU saves in this way
    unjudged = {"v1.saving.pending-has-no-effect"}
    before = 0

    def enter(self, new: int) -> None:
        self.before = self.state
        super().enter(new)
        if (self.before, new) == (PRE_COPY, STOP_AND_COPY):
            self.plan = [(THE_REGISTERS, REGISTER_STATE.size)]


class ResumingRefusesData(Style):
    """data_size is refused in resuming."""

    breaks = {"v1.resuming.takes-data"}
    may = MOVES
    unjudged = MOVES | WAYS | {"v1.transition.resuming-to-running", "v1.transition.running-to-pre-copy"}

    def take(self, size: int) -> None:
        raise Refusal
