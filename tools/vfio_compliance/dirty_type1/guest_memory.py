# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory, given to the device page by page, whose dirty bitmaps are judged by everything that happened to it."""

from __future__ import annotations

import mmap
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import islice
from types import TracebackType
from typing import NoReturn

from ..common.moment import latest_call
from ..common.words import counted
from ..device import Container, DeviceError, DirtyTracker, DmaMap
from ..results.failure import CLEAR, SET, Compared
from ..run.checks import NotApplicable, Unjudged, about, broken, given, in_words
from ..run.stimulus import Actor
from ..transport import GuardedBuffer, Outcome, SetupError, Transport
from ..uapi.type1 import bitmap_bytes
from .history import Expected, History
from .pages import Pages, compare, set_bits

#: Bytes that a write to a single page changes, and steps of a history that a message shows.
MARK, _MOST_SHOWN = 8, 14

#: Bytes of a bitmap that are used without asking how large one may be.
_SMALL = 512

#: Wrong bits of a bitmap that are reported as data.
_MOST_BITS = 32

#: Bytes of a mapping for which a machine may be too small.
_LARGE = 1 << 28

#: From here on, some devices may not reach the memory, and some containers may not map it.
_FAR = 1 << 32


class _Mappings(dict[int, DmaMap]):
    """What is mapped, by its first page. A driver may have done what it had to refuse: then that is unknown."""

    def __missing__(self, first: int) -> NoReturn:
        raise Unjudged(f"page {first} is no longer mapped, because of a request that should have been refused")


class Answer:
    """One dirty bitmap, compared with what happened. Its pages are those of the guest, bit 0 being page ``first``.

    A page that the device wrote by a message is known to the client that served it: it need not be in the bitmap, and
    may be there.
    """

    def __init__(
        self,
        guest: GuestMemory,
        memory: GuardedBuffer,
        first: int,
        expected: Expected,
        served: Pages,
        behind: str = "",
    ) -> None:
        """``served`` are the pages of the range that were written by messages since they were last reported.

        ``behind`` says what was written behind the memory.
        """
        self.what = guest.path()
        self._call, self._first = latest_call(), first
        self._spilled, bitmap = memory.spilled, memory.view
        self._behind = behind
        self._at = guest.at
        self.must, self.may, clean = expected
        missing, extra = compare(bitmap, self.must.shifted(-first), self.may.shifted(-first))
        #: Of the pages that a message wrote and a bitmap must report, those that this one leaves to the client.
        self.left_to_client = missing.shifted(first) & served
        self.missing, self.extra = missing.shifted(first) - served, extra.shifted(first)
        # What was not written is compared as if it had to be clear.
        clean -= served
        reported = compare(bitmap, Pages(), (self.may - clean).shifted(-first)).extra
        self.false_dirty = reported.shifted(first) & clean

    def complete(self) -> None:
        """Each page that was written or is pinned is reported."""
        if self.missing:
            self._broken(
                f"dirty: {self._at(self.must)}", f"reported clean: {self._at(self.missing)}", SET, self.missing
            )

    def bounded(self) -> None:
        """Only pages that are mapped and in the range are reported."""
        if self._spilled:
            self._broken("nothing written but the bitmap", "bytes in front of its memory written")
        if self._behind:
            self._broken("nothing written but the bitmap", self._behind)
        if self.extra:
            alone, too = self._at(self.may), self._at(self.extra)
            self._broken(f"bits of mapped pages alone: {alone}", f"set too: {too}", CLEAR, self.extra)

    def correct(self) -> None:
        """Every page that must be reported is, and only pages that may be: complete() and bounded()."""
        self.complete()
        self.bounded()

    def exact(self) -> None:
        """No clean page is reported."""
        if self.false_dirty:
            must, seen = self._at(self.must), self._at(self.false_dirty)
            self._broken(f"dirty: {must}, no other", f"dirty: {seen}", CLEAR, self.false_dirty)

    def _broken(self, expected: str, seen: str, asked: str = "", pages: Pages | None = None) -> NoReturn:
        """However late this is judged, the call that returned the bitmap is the one that shows it."""
        bits = [hex(page) for page in islice(pages.shifted(-self._first), _MOST_BITS)] if pages else []
        compared = Compared(asked, allowed=tuple(bits)) if bits else None
        with about(self._call):
            broken(self.what, expected=expected, seen=seen, compared=compared)


def edge_of(actor: Actor) -> int:
    """Bytes that a device is made to write at an end of a range of pages."""
    return max(MARK, actor.least_write)


class GuestMemory:
    """Mappings of one container. Pages are counted from an address that the device can write.

    A verb raises DeviceError when the driver refuses.

    Mapping, plain unmapping, START and STOP are what the rules about bitmaps depend on: they raise Unreachable, unless
    the rule at hand is about them (``judged``).

    What is left at the end of the block is unmapped, and tracking is stopped.
    """

    def __init__(
        self, transport: Transport, actor: Actor, scope: str | None = None, page_sizes: int | None = None
    ) -> None:
        """``scope`` is what the profile claims, ``page_sizes`` what the container has said, if it was asked.

        Raises NotApplicable if dirty page tracking is not offered.
        """
        self.transport = transport
        self.actor = actor
        self.tracker = DirtyTracker(transport)
        self._scope = scope
        self._everything = scope == "everything"
        #: The page sizes that bitmaps may have, as a bitmap.
        self.page_sizes = self.tracker.page_sizes() if page_sizes is None else page_sizes
        if not self.page_sizes:
            if self.tracker.offered:
                raise Unjudged("the container tracks dirty pages, but names no page size that a bitmap may have")
            raise NotApplicable(self.tracker.no_tracking)
        #: Bytes of a page: the smallest of them.
        self.page = self.page_sizes & -self.page_sizes
        if self.page > mmap.PAGESIZE:
            raise NotApplicable(f"pages of {counted(self.page, 'byte')}, larger than this machine's, are not tried")
        #: Where page 0 is for the device.
        self.base = actor.memory_for(self.page)[0]
        self.history = History(self._everything)
        #: Whether something unknown may be mapped: a mapping or unmapping was refused.
        self.unsure = False
        self._mappings = _Mappings()
        self._done: list[str] = []
        #: Pages that the device wrote by messages, while tracking was on, since they were last reported.
        self._served = Pages()
        self._where_served: set[str] = set()
        self._largest: int | None = None

    def __enter__(self) -> GuestMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as undo:
            for mapping in self._mappings.values():
                undo.push(mapping)
            if self.transport.may_track and not self.transport.gone:
                self.tracker.try_stop()
            undo.pop_all().__exit__(kind, error, trace)
        self.unsure |= any(mapping.mapped for mapping in self._mappings.values())

    def clear(self) -> None:
        """Unmap everything, and stop tracking: nothing is mapped any longer, and what was done is forgotten."""
        self.__exit__(None, None, None)
        self._done.clear()
        self._forget_mappings()

    def abandon(self) -> None:
        """The user has left without cleaning up: its mappings and tracking are gone, and its memory is released."""
        for mapping in self._mappings.values():
            mapping.mapped = False
            mapping.__exit__(None, None, None)
        self._forget_mappings()
        self.unsure = False

    def _forget_mappings(self) -> None:
        self._mappings.clear()
        self._served = Pages()
        self.history = History(self._everything)

    # -- memory ---------------------------------------------------------------------------------------------------

    def map(self, first: int, count: int, *, judged: bool = False, readonly: bool = False) -> None:
        """Map ``count`` pages from page ``first`` on, read-only if ``readonly``.

        Raises NotApplicable for those that cannot be mapped, if no rule requires it: far ones, very many, and
        readonly ones.
        """
        size = count * self.page
        self._note(f"map {self.at(Pages.run(first, count))}{' for reading alone' * readonly}")
        if size >= _LARGE and self.transport.kernel and self._scope != "written":
            raise NotApplicable(
                f"{counted(size, 'byte')} are not mapped where all that is mapped may have to be locked"
            )
        mapping = DmaMap(self.transport, self.iova(first), size, readonly=readonly)
        try:
            with nullcontext() if judged else given():
                self._mappings[first] = mapping.__enter__()
        except DeviceError as error:
            self.unsure = True
            if self.iova(first + count - 1) >= _FAR or readonly:
                raise NotApplicable(
                    f"{error}; no rule says that {'this' if readonly else 'this much'} can be mapped"
                ) from None
            raise
        except (SetupError, OSError) as error:
            if size < _LARGE:
                raise
            self.unsure = True
            said = (
                error.message
                if isinstance(error, SetupError)
                else f"{counted(size, 'byte')} of memory: {error.strerror}"
            )
            raise NotApplicable(f"{said}; no rule says that this much can be mapped") from None
        self.history.map(Pages.run(first, count), readonly=readonly)

    def unmap(self, first: int, *, judged: bool = False) -> None:
        """Unmap the mapping that starts at page ``first``."""
        with nullcontext() if judged else given():
            self._unmapped(first, self._mappings[first].try_unmap())

    def unmap_with_bitmap(self, first: int, *, slack: int = 0) -> Answer:
        """Unmap the same with its dirty bitmap, in memory with ``slack`` bytes more than it needs."""
        count = self._mappings[first].size // self.page
        with GuardedBuffer(self._room(count, slack)) as into:
            outcome = self._mappings[first].try_unmap(into, self.page)
            expected = self.history.expected(first, count)
            served = self.take_served(first, count)
            self._unmapped(first, outcome, with_bitmap=True)
            return self._compared(into, first, expected, served)

    def try_unmap_with_bitmap(
        self, first: int, *, page: int | None = None, room: int | None = None, readonly: bool = False
    ) -> Outcome:
        """Request the same in a way that may be wrong; return the answer. If it succeeds, the pages are unmapped."""
        mapping = self._mappings[first]
        count = mapping.size // self.page
        with GuardedBuffer(bitmap_bytes(count)) as into:
            if readonly:
                into.readonly()
            outcome = mapping.try_unmap(into, self.page if page is None else page, room=room)
        wrong = self._wrong(page, room, readonly=readonly)
        self._note(f"unmap {self.at(Pages.run(first, count))} with the bitmap{wrong}, {_answered(outcome)}")
        if outcome.ok:
            self.take_served(first, count)
            self.history.unmap(Pages.run(first, count))
        return outcome

    def still_mapped(self, first: int) -> None:
        """The mapping that starts at page ``first`` exists: nothing else can be mapped there. Raises RuleBroken."""
        mapping = self._mappings[first]
        if not Container(self.transport).maps(mapping.iova, mapping.size):
            mapping.mapped = False
            broken(f"{self.path()}; map it again", expected="an error: it is mapped", seen="success")

    def at(self, pages: Pages) -> str:
        """Where pages are for the device, in words."""
        return pages.at(self.iova)

    def mapping(self, first: int) -> DmaMap:
        """The mapping that starts at page ``first``."""
        return self._mappings[first]

    def iova(self, page: int) -> int:
        """Where ``page`` is for the device, modulo 2^64."""
        return self.base + page * self.page & (1 << 64) - 1

    def bytes_of(self, page: int, length: int, at: int = 0) -> memoryview:
        """``length`` bytes of mapped memory from ``at`` bytes into ``page`` on, as the guest sees them."""
        for first, mapping in self._mappings.items():
            start = (page - first) * self.page + at
            if mapping.mapped and start >= 0 and start + length <= mapping.size:
                return mapping.view[start : start + length]
        raise AssertionError(f"page {page} is not mapped")

    def look(self, page: int) -> bytes:
        """What a mapped page holds now."""
        for first, mapping in self._mappings.items():
            start = (page - first) * self.page
            if mapping.mapped and 0 <= start < mapping.size:
                return mapping.look(start, self.page)
        raise AssertionError(f"page {page} is not mapped")

    # -- the device -----------------------------------------------------------------------------------------------

    def single_out(self, page: int, count: int) -> None:
        """Start tracking, and arrange that of the first ``count`` pages this one must be reported, and no other.

        If every mapped page is reported, it is the only one that is mapped; otherwise the device writes it.
        """
        if self._everything:
            self.map(page, 1)
            self.start()
        else:
            self.map(0, count)
            self.start()
            self.write(page)

    def dirty_last(self, count: int) -> None:
        """Map ``count`` pages, start tracking, and arrange that the last of them must be reported."""
        self.map(0, count)
        self.start()
        self.make_dirty(count - 1)

    def make_dirty(self, first: int, count: int = 1) -> None:
        """Arrange that these pages must be reported: by a write, unless every mapped page is reported anyway."""
        if not self._everything:
            self.write(first, count)

    def write(self, first: int, count: int = 1, *, by: Actor | None = None) -> None:
        """Make the device write ``count`` pages from ``first`` on: the end of the first, the beginning of the last.

        A device that cannot write this at once does it in pieces. ``by`` is another device of the container. Raises
        Unjudged if the memory has not changed, NotApplicable if that is memory far away.
        """
        actor = by or self.actor
        if actor.chooses:
            self._write_somewhere(actor, first, count)
            return
        edge = edge_of(actor)
        if edge > self.page:
            raise NotApplicable(f"the device writes at least {counted(edge, 'byte')} at once")
        while count > 1 and (count - 2) * self.page + 2 * edge > actor.largest_write:
            self.write(first, 2 if actor.largest_write >= 2 * edge else 1, by=by)
            first, count = first + 1, count - 1
        length = edge if count == 1 else (count - 2) * self.page + 2 * edge
        at = 0 if count == 1 else self.page - edge
        pages = Pages.run(first, count)
        last = first + count - 1
        with self.bytes_of(first, MARK, at) as head, self.bytes_of(last, MARK) as tail:
            pattern = secrets.token_bytes(MARK)
            head[:] = tail[:] = pattern
            actor.write(self.iova(first) + at, length)
            if head == pattern or tail == pattern:
                missed = f"the device did not write all {counted(length, 'byte')} at 0x{self.iova(first) + at:x}"
                raise NotApplicable(missed) if self.iova(first) >= _FAR else Unjudged(missed)
        self._note(f"let the device write {self.at(pages)}")
        self.history.wrote(pages)

    def write_in(self, first: int, count: int) -> None:
        """Give all of these pages at once to a device that itself chooses where it writes. Raises NotApplicable."""
        actor = self.actor
        if not actor.chooses:
            raise NotApplicable("the profile lets the suite choose where the device writes")
        self._write_somewhere(actor, first, count, count)

    def _write_somewhere(self, actor: Actor, first: int, count: int, most: int = 1) -> None:
        """As write(), with a device that chooses where in the memory it writes: it gets ``most`` pages at once.

        If it needs more, it gets as little as it accepts.
        """
        some = max(-(-actor.least_write // self.page), min(most, actor.largest_write // self.page))
        if count % some:
            least = counted(actor.least_write, "byte")
            raise NotApplicable(f"the device is given at least {least}, and itself chooses where in them it writes")
        for start in range(first, first + count, some):
            iova, size = self.iova(start), some * self.page
            with self.bytes_of(start, size) as memory:
                memory[:] = pattern = secrets.token_bytes(size)
                actor.write(iova, size)
                address, length = actor.wrote()
                at = address - iova
                if not (at >= 0 and 0 < length <= size - at):
                    wrote = f"{counted(length, 'byte')} at 0x{address:x}"
                    raise Unjudged(f"the device reports that it wrote {wrote}, outside the memory that it was given")
                if memory[at : at + length] == pattern[at : at + length]:
                    raise Unjudged(f"the device did not write the {counted(length, 'byte')} at 0x{address:x}")
            written = Pages.run(start + at // self.page, (at + length - 1) // self.page - at // self.page + 1)
            self._note(f"let the device write {self.at(written)}, where it chooses")
            self.history.wrote(written)

    def pin(self, first: int, count: int) -> None:
        """Make the driver pin these pages. Raises NotApplicable if that makes no difference or is impossible."""
        if self._everything and not self.actor.can_pin:
            raise NotApplicable("the profile claims that every mapped page is reported, pinned or not")
        for start, pages in self._pinned_at_once(first, count):
            self.actor.pin(self.iova(start), pages * self.page)
        self._note(f"let the driver pin {self.at(Pages.run(first, count))}")
        self.history.pin(Pages.run(first, count))

    def _pinned_at_once(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """A range in parts that fit one request to the device: first page and number of pages of each."""
        most = max(1, self.actor.largest_write // self.page)
        for start in range(first, first + count, most):
            yield start, min(most, first + count - start)

    def unpin(self, first: int, count: int) -> None:
        """Make the driver unpin the same pages."""
        for start, pages in self._pinned_at_once(first, count):
            self.actor.unpin(self.iova(start), pages * self.page)
        self._note(f"let the driver unpin {self.at(Pages.run(first, count))}")
        self.history.unpin(Pages.run(first, count))

    def device_streams(self, page: int) -> None:
        """The device writes the page repeatedly from now on."""
        self._note(f"let the device write {self.at(Pages.of(page))} again and again")

    def device_wrote(self, page: int) -> None:
        """The page has changed: the device has written it, and the next bitmap must report it."""
        self._note(f"see {self.at(Pages.of(page))} changed")
        self.history.wrote(Pages.of(page))

    def device_went(self, state: str) -> None:
        """The device went to a state."""
        self._note(f"go to {state}")

    def device_reset(self) -> None:
        """The device was reset: it may have written what it had pinned, which need not be pinned now."""
        self._note("reset the device")
        self.history.unpin(self.history.pinned)

    # -- tracking -------------------------------------------------------------------------------------------------

    def start(self, *, judged: bool = False) -> None:
        """Start tracking."""
        self._forget_served()
        with nullcontext() if judged else given():
            self._asked("start tracking", self.tracker.try_start())
        self.history.start()

    def stop(self, *, judged: bool = False) -> None:
        """Stop tracking."""
        with nullcontext() if judged else given():
            self._asked("stop tracking", self.tracker.try_stop())
        self.history.stop()
        self._forget_served()

    def get(self, first: int, count: int, *, slack: int = 0) -> Answer:
        """The bitmap of ``count`` pages from ``first`` on, in memory with ``slack`` bytes more than it needs."""
        with GuardedBuffer(self._room(count, slack)) as into:
            outcome = self.tracker.try_fetch(into, self.iova(first), count * self.page, self.page)
            expected = self.history.expected(first, count)
            if not outcome.ok and Pages.run(first, count) - self.history.mapped:
                raise NotApplicable("a range with unmapped pages is refused, which the specification leaves open")
            self._asked(self._fetch(first, count), outcome)
            self.history.reported(first, count)
            return self._compared(into, first, expected, self.take_served(first, count))

    def get_all(self) -> list[Answer]:
        """The bitmap of each mapping by itself."""
        return [self.get(first, mapping.size // self.page) for first, mapping in sorted(self._mappings.items())]

    def nothing_lost(self) -> None:
        """The bitmap of each mapping by itself reports every page that it must. Raises RuleBroken."""
        for answer in self.get_all():
            answer.complete()

    def try_get(
        self,
        first: int,
        count: int,
        *,
        page: int | None = None,
        slack: int = 0,
        room: int | None = None,
        readonly: bool = False,
        short: int = 0,
        further: int = 0,
        longer: int = 0,
    ) -> Outcome:
        """Request a bitmap in a way that may be wrong; return the answer.

        ``page`` is the size of a page. The bitmap's memory has ``slack`` bytes more than it needs; ``room`` is what is
        said of its size. It may be ``readonly``, or end ``short`` bytes before it should. The range starts ``further``
        bytes and is ``longer``. Where it succeeds its pages count as reported. Raises RuleBroken for a success that
        hides pages which could not be reported.
        """
        needed = (bitmap_bytes(count + bool(longer)) or 8) + slack
        with GuardedBuffer(needed) as into:
            into.address += short
            if readonly:
                into.readonly()
            outcome = self.tracker.try_fetch(
                into,
                self.iova(first) + further,
                count * self.page + longer,
                self.page if page is None else page,
                room=needed if room is None else room,
            )
        wrong = self._wrong(page, room, readonly=readonly, short=short, further=further, longer=longer)
        self._note(f"{self._fetch(first, count)}{wrong}, {_answered(outcome)}")
        if outcome.ok:
            self._not_hidden(first, count, 0 if readonly else 8 * (needed - short))
            self.history.reported(first, count)
            self.take_served(first, count)
        return outcome

    def _not_hidden(self, first: int, count: int, known: int) -> None:
        """No page that must be reported comes after the first ``known`` ones, as only their bits could be written."""
        if hidden := self.history.expected(first + known, max(0, count - known)).must:
            what = f"{self.path()}, of which only the bits of the first {counted(known, 'page')} could be written"
            broken(what, expected=f"an error, for the bits of {self.at(hidden)} could not be written", seen="success")

    # -- without a history ----------------------------------------------------------------------------------------

    def reported(self, first: int, count: int) -> Pages:
        """The pages of a range that are reported dirty, or known from messages, for comparison with the memory."""
        with GuardedBuffer(bitmap_bytes(count)) as into:
            outcome = self.tracker.try_fetch(into, self.iova(first), count * self.page, self.page)
            alone = first in self._mappings and self._mappings[first].size == count * self.page
            if not outcome.ok and not alone:
                return self._reported_apart(Pages.run(first, count) & self.history.mapped)
            if not outcome.ok:
                raise DeviceError(self._fetch(first, count), "success", in_words(outcome), outcome.errno)
            return set_bits(into.view).shifted(first) | self.take_served(first, count)

    def _reported_apart(self, pages: Pages) -> Pages:
        """The same mapping by mapping, if a range is refused, which is unspecified or judged by another rule."""
        found = Pages()
        for first, mapping in self._mappings.items():
            if first in pages:
                found |= self.reported(first, mapping.size // self.page)
        return found

    @contextmanager
    def leaving(self, first: int) -> Iterator[tuple[Pages, memoryview]]:
        """The pages that unmapping the mapping from page ``first`` on reports dirty, and its memory at that time."""
        mapping = self._mappings[first]
        count = mapping.size // self.page
        with GuardedBuffer(bitmap_bytes(count)) as into:
            outcome = mapping.try_unmap(into, self.page)
            if not outcome.ok:
                what = f"unmap {self.at(Pages.run(first, count))} with the bitmap"
                raise DeviceError(what, "success", in_words(outcome), outcome.errno)
            served = self.take_served(first, count)
            self.history.unmap(Pages.run(first, count))
            yield set_bits(into.view).shifted(first) | served, mapping.view
        self._mappings.pop(first).__exit__(None, None, None)

    # -- bitmaps ---------------------------------------------------------------------------------------------------

    def _room(self, count: int, slack: int) -> int:
        """Bytes of a bitmap of ``count`` pages, and ``slack`` more. Raises NotApplicable above the largest."""
        size = bitmap_bytes(count) + slack
        largest = self.largest if size > _SMALL else self.transport.largest_bitmap
        if size > largest:
            raise NotApplicable(f"a bitmap of {counted(size, 'byte')} is larger than the largest, {largest}")
        return size

    @property
    def largest(self) -> int:
        """The largest size of a bitmap, in bytes."""
        if self._largest is None:
            with given():
                self._largest = self.tracker.largest_bitmap()
        return self._largest

    # -- pages written by messages ----------------------------------------------------------------------------------

    @property
    def observations(self) -> dict[str, str]:
        """Where pages written by messages were found, question and answer; empty if there were none."""
        return (
            {"pages written by DMA_WRITE messages": ", ".join(sorted(self._where_served))} if self._where_served else {}
        )

    def take_served(self, first: int, count: int) -> Pages:
        """The pages of a range that the device wrote by messages and that were not requested since; now reported."""
        self._look_at_messages()
        span = Pages.run(first, count)
        served, self._served = self._served & span, self._served - span
        return served

    def _look_at_messages(self) -> None:
        if written := self.transport.take_message_writes():
            each = max(1, (self.transport.dirty_page_size or mmap.PAGESIZE) // self.page)
            pages = Pages((page, page + each) for page in ((address - self.base) // self.page for address in written))
            self._served |= pages & self.history.mapped

    def _forget_served(self) -> None:
        self.transport.take_message_writes()
        self._served = Pages()

    def _compared(self, into: GuardedBuffer, first: int, expected: Expected, served: Pages, behind: str = "") -> Answer:
        answer = Answer(self, into, first, expected, served, behind)
        if answer.left_to_client:
            self._where_served.add("known to the client alone")
        if served & answer.must - answer.left_to_client:
            self._where_served.add("in the server's bitmap")
        return answer

    # -- what to say ----------------------------------------------------------------------------------------------

    def path(self) -> str:
        """The last steps of what was done."""
        shown = self._done[-_MOST_SHOWN:]
        return "; ".join(["..."] * (len(self._done) > len(shown)) + shown)

    def _unmapped(self, first: int, outcome: Outcome, *, with_bitmap: bool = False) -> None:
        count = self._mappings[first].size // self.page
        pages = Pages.run(first, count)
        self._asked(f"unmap {self.at(pages)}" + " with the bitmap" * with_bitmap, outcome)
        self.take_served(first, count)
        self.history.unmap(pages)
        self._mappings.pop(first).__exit__(None, None, None)

    def _asked(self, what: str, outcome: Outcome) -> None:
        self._note(what)
        if not outcome.ok:
            raise DeviceError(self.path(), "success", in_words(outcome), outcome.errno)

    def _note(self, step: str) -> None:
        self._done.append(step)

    def _fetch(self, first: int, count: int) -> str:
        pages = self.at(Pages.run(first, count)) if count > 0 else f"no pages from 0x{self.iova(first):x}"
        return f"fetch the bitmap of {pages}"

    @staticmethod
    def _wrong(
        page: int | None,
        room: int | None,
        *,
        readonly: bool = False,
        short: int = 0,
        further: int = 0,
        longer: int = 0,
    ) -> str:
        """What may be wrong with a request."""
        ways = (
            "" if page is None else f" for pages of {counted(page, 'byte')}",
            "" if room is None else f" into {counted(room, 'byte')}",
            " into memory that cannot be written" if readonly else "",
            f" into memory that ends {counted(short, 'byte')} before its end" if short else "",
            f", {counted(further, 'byte')} further" if further else "",
            f" and {counted(longer, 'byte')} more" if longer else "",
        )
        return "".join(ways)


def _answered(outcome: Outcome) -> str:
    return "which succeeded" if outcome.ok else f"which was refused with {in_words(outcome)}"
