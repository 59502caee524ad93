# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory to which the steps of a script happen, including those whose outcome the specification leaves open."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress

from ..common.words import counted
from ..device import Unreachable
from ..device.dma import UNMAP, UNMAP_REPORTING, unmap_request
from ..run.checks import NotApplicable, in_words
from ..run.stimulus import Actor
from ..transport import GuardedBuffer, Outcome, Overlong, Target, Transport
from ..uapi.type1 import VFIO_IOMMU_UNMAP_DMA, DmaUnmapFlags, bitmap_bytes
from .guest_memory import MARK, Answer, GuestMemory, edge_of
from .history import Expected
from .pages import Pages, set_bits
from .scripts import steps

#: Bytes behind a bitmap that are searched for stray writes.
_BEHIND = 1 << 16

_UNTOUCHED = 0xFF

#: How a request is wrong, by the end of its verb; for "short", a number gives the missing words of the bitmap.
_WRONG = ("small", "wrong-page", "readonly", "short")


class ScriptedMemory(GuestMemory):
    """Guest memory with the verbs of scripts.py.

    A step that makes no sense at its place is skipped: writing unmapped pages, a bitmap while nothing is tracked.
    So are steps for memory that was unmapped; thus any step can be dropped from a script.
    """

    def __init__(
        self,
        transport: Transport,
        actor: Actor,
        scope: str | None = None,
        visitor: Callable[[], AbstractContextManager[Actor]] | None = None,
        page_sizes: int | None = None,
    ) -> None:
        """``visitor`` brings another device into the container; the rest, and what is raised, as GuestMemory has it."""
        super().__init__(transport, actor, scope, page_sizes)
        self._visitor = visitor
        #: The bitmaps that the last script requested.
        self.answers: list[Answer] = []
        #: The steps, by their place, about a range for which the specification promises nothing.
        self.left_open: set[int] = set()
        self._cut: set[int] = set()
        self._pins: set[tuple[int, int]] = set()
        self._over = False
        self._step = 0
        self._verbs: dict[str, Callable[..., Iterable[Answer] | None]] = {
            "ask": self._ask,
            "check": self._check,
            "cross": self._cross,
            "dirty": self._dirty,
            "map": self._map,
            "map-readonly": lambda first, count: self._map(first, count, readonly=True),
            "pin": self._pin,
            "pin-nothing": self._pin_nothing,
            "start": self._start,
            "start-again": self._start_again,
            "stop": self._stop,
            "unpin": self._unpin,
            "visit": self._visit,
            "get": lambda *numbers: [self.get(*numbers)],
            "write": self.write,
        }

    def play(self, script: str) -> list[Answer]:
        """Carry out a script; return every bitmap that it requests, compared.

        Raises NotApplicable, and DeviceError if what the specification promises is refused.
        """
        answers = self.answers = []
        for self._step, (verb, numbers) in enumerate(steps(script)):
            if verb in self._verbs:
                answers.extend(self._verbs[verb](*numbers) or ())
            else:
                request, _, wrong = verb.partition("-")
                answers.extend(self._request(request, wrong, *numbers))
            if self._over or self.transport.gone:
                break
        return answers

    # -- memory ---------------------------------------------------------------------------------------------------

    def _map(self, first: int, count: int, *, readonly: bool = False) -> None:
        if not Pages.run(first, count) & self.history.mapped:
            self.map(first, count, readonly=readonly)

    def _dirty(self, first: int, count: int = 1) -> None:
        if self._writable(Pages.run(first, count)):
            self.make_dirty(first, count)

    def _cross(self, page: int) -> None:
        """One write across the border before ``page``; what reaches the memory is what the device wrote.

        If one side cannot be written, the device may still have written the other before it failed.
        """
        pages = Pages.of(page - 1, page) & self._free
        if self._everything or not pages or self.actor.chooses:
            return
        edge = edge_of(self.actor)
        if self.actor.largest_write < 2 * edge:
            return
        pattern = secrets.token_bytes(MARK)
        ends = {each: self.bytes_of(each, MARK, (page - each) * (self.page - MARK)) for each in pages}
        for view in ends.values():
            view[:] = pattern
        with suppress(Unreachable):  # not every device can
            self.actor.write(self.iova(page) - edge, 2 * edge)
        written = Pages.of(*(each for each, view in ends.items() if view != pattern))
        for view in ends.values():
            view.release()
        self._note(f"let the device write over the border at 0x{self.iova(page):x}, {self.at(written)} written")
        self.history.wrote(written)
        self.history.stain(pages - written)

    @property
    def _free(self) -> Pages:
        """Pages that the device may write, and that are certainly mapped."""
        return self.history.mapped - self.history.readonly - self.history.doubtful

    def _writable(self, pages: Pages) -> bool:
        return not pages - self._free

    def _pin(self, first: int, count: int) -> None:
        pages = Pages.run(first, count)
        if self.actor.can_pin and self._writable(pages) and not pages & self.history.pinned:
            self.pin(first, count)
            self._pins.add((first, count))

    def _unpin(self, first: int, count: int) -> None:
        if (first, count) in self._pins and not Pages.run(first, count) - self.history.pinned:
            self.unpin(first, count)
        self._pins.discard((first, count))

    def _pin_nothing(self, first: int, count: int) -> None:
        """Make the driver pin pages of which some are not mapped; the others may have been written nevertheless."""
        pages = Pages.run(first, count)
        if not self.actor.can_pin or not pages - self.history.mapped or pages & self.history.pinned:
            return
        self._note(f"let the driver pin {self.at(pages)}, which are not all mapped")
        with suppress(Unreachable):
            self.actor.pin(self.iova(first), count * self.page)
            self.history.doubt(pages)
            self.actor.unpin(self.iova(first), count * self.page)
        self.history.stain(pages)

    def _visit(self, page: int) -> None:
        """Another device enters the container, writes a page, has it pinned for a while, and leaves."""
        if self._visitor is None:
            raise NotApplicable("each vfio-user server has a container of its own")
        with self._visitor() as other:
            self._note("let another device come")
            if self._writable(Pages.of(page)) and not self._everything:
                self.write(page, by=other)
                if other.can_pin:
                    other.pin(self.iova(page), self.page)
                    other.unpin(self.iova(page), self.page)
                    self._note(f"let it pin and unpin {self.at(Pages.of(page))}")
        self._note("let it go")

    # -- tracking -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self.history.tracking:
            self.start()

    def _start_again(self) -> None:
        if self.history.tracking:
            outcome = self.tracker.try_start()  # any answer: the specification leaves that open
            self._note(f"start tracking again, {_answered(outcome)}")

    def _stop(self) -> None:
        if self.history.tracking:
            self.stop()

    def _check(self) -> Iterator[Answer]:
        """The bitmap of each mapping by itself, or of the parts of one that was cut."""
        for first in sorted(self._mappings):
            pages = Pages.run(first, self._mappings[first].size // self.page) & self.history.mapped
            for start, end in pages.runs:
                yield from self._ask(start, end - start)
                if self._over:
                    return

    def _ask(self, first: int, count: int) -> list[Answer]:
        """The bitmap of any range; a refusal is right if the specification does not promise it."""
        needed = bitmap_bytes(count)
        if not self.history.tracking or needed > self.largest:
            return []
        promised = self._promised(first, count)
        self._leave_open(not promised)

        def fetch(into: GuardedBuffer) -> Outcome:
            return self.tracker.try_fetch(into, self.iova(first), count * self.page, self.page, room=needed)

        what = self._fetch(first, count)
        with GuardedBuffer(needed) as into:
            outcome, behind = self._behind(needed, into, fetch)
            expected = self.history.expected(first, count)
            if behind:
                self._note(what)
                return [self._compared(into, first, _bounds(expected), Pages(), behind)]
            if not outcome.ok and not promised:
                self._note(f"{what}, {_answered(outcome)}")
                return []
            self._asked(what, outcome)
            self.history.reported(first, count)
            return [self._compared(into, first, expected, self.take_served(first, count))]

    def _promised(self, first: int, count: int) -> bool:
        """Whether a range is made of whole mappings and nothing else."""
        span = Pages.run(first, count)
        if span - self.history.mapped:
            return False
        met = [(start, Pages.run(start, each.size // self.page)) for start, each in self._mappings.items()]
        return not any(start in self._cut or pages - span for start, pages in met if pages & span)

    def _leave_open(self, is_open: bool) -> None:
        if is_open:
            self.left_open.add(self._step)

    def _behind(
        self, needed: int, into: GuardedBuffer, fetch: Callable[[GuardedBuffer], Outcome]
    ) -> tuple[Outcome, str]:
        """The answer, and what is known to have been written behind a bitmap of ``needed`` bytes.

        At first, memory behind it is not writable: a kernel that tries must return EFAULT. Then it is writable.
        """
        try:
            outcome = fetch(into)
        except Overlong as error:
            self._over = True
            return Outcome(-1, errno.EPROTO), f"more than the {needed} that it has room for ({error.message})"
        if outcome.ok or outcome.errno != errno.EFAULT:
            return outcome, ""
        with GuardedBuffer(needed + _BEHIND) as wide, suppress(Overlong):
            wide.view[needed:] = bytes([_UNTOUCHED]) * _BEHIND
            fetch(wide)
            if changed := _BEHIND - bytes(wide.view[needed:]).count(_UNTOUCHED):
                self._over = True
                return outcome, f"{counted(changed, 'byte')} written behind the {needed} that it has room for"
        return outcome, ""

    # -- any request ----------------------------------------------------------------------------------------------

    def _request(self, request: str, wrong: str, first: int, count: int = 0, words: int = 0) -> Iterator[Answer]:
        """``get`` or ``unmap``, with the bitmap ("bitmap"), without, or with one that is wrong."""
        if wrong in ("readonly", "short") and not self.transport.takes_pointers:
            raise NotApplicable("a bad pointer cannot be passed over this transport")
        if wrong == "wrong-page" and 2 * self.page & self.page_sizes:
            return
        if request == "unmap":
            count = count or self._mappings[first].size // self.page
        if wrong and (not self.history.tracking or bitmap_bytes(count) > self.largest):
            return
        if request == "unmap":
            answer = self._unmap_range(first, count, wrong, words)
            if answer:
                yield answer
            return
        self._leave_open(not self._promised(first, count))
        page = 2 * self.page if wrong == "wrong-page" else None
        room = bitmap_bytes(count) - 8 if wrong == "small" else None
        self.try_get(first, count, page=page, room=room, readonly=wrong == "readonly", short=8 * words)

    def _unmap_range(self, first: int, count: int, wrong: str, words: int) -> Answer | None:
        """Unmap any range. One that is not exactly a mapping may be refused, and then nothing is changed."""
        span = Pages.run(first, count)
        exact = first in self._mappings and first not in self._cut and self._mappings[first].size == count * self.page
        self._leave_open(not exact)
        if exact and wrong == "bitmap":
            return self.unmap_with_bitmap(first)
        if exact and not wrong:
            self.unmap(first)
            return None
        needed = bitmap_bytes(count)
        with GuardedBuffer(needed) as memory:
            memory.address += 8 * words
            if wrong == "readonly":
                memory.readonly()
            size = 0

            def ask(into: GuardedBuffer) -> Outcome:
                nonlocal size
                argument = self._unmap_argument(first, count, wrong, into, needed)
                outcome = self.transport.ioctl(Target.CONTAINER, VFIO_IOMMU_UNMAP_DMA, argument)
                size = int.from_bytes(argument[16:24], "little") // self.page
                return outcome

            if wrong == "bitmap":
                outcome, behind = self._behind(needed, memory, ask)
            else:
                outcome, behind = ask(memory), ""
            how = f" with the bitmap{f', {wrong}' * (wrong != 'bitmap')}" if wrong else ""
            self._note(f"unmap {self.at(span)}{how}, {_answered(outcome)}")
            if behind:
                return self._compared(memory, first, _bounds(self.history.expected(first, count)), Pages(), behind)
            if not outcome.ok:
                return None
            return self._gone(span, size, memory if wrong == "bitmap" else None)

    def _unmap_argument(self, first: int, count: int, wrong: str, into: GuardedBuffer, needed: int) -> bytearray:
        if not wrong:
            return unmap_request(self.iova(first), count * self.page)[:UNMAP]
        return unmap_request(
            self.iova(first),
            count * self.page,
            flags=DmaUnmapFlags.GET_DIRTY_BITMAP,
            argsz=UNMAP_REPORTING,
            page=2 * self.page if wrong == "wrong-page" else self.page,
            bitmap=into,
            bitmap_size=needed - 8 if wrong == "small" else needed,
        )

    def _gone(self, span: Pages, size: int, bitmap: GuardedBuffer | None) -> Answer | None:
        """A range was unmapped, of which ``size`` pages are said to be gone: its part of the mappings that it meets.

        Or less, the mappings inside it, or more, all that it meets: then their pages must also be reported.
        """
        (first, end), history = span.runs[0], self.history
        met = {start: Pages.run(start, each.size // self.page) for start, each in self._mappings.items()}
        met = {start: pages & history.mapped for start, pages in met.items() if pages & history.mapped & span}
        whole = Pages(run for pages in met.values() for run in pages.runs)
        inside = Pages(run for pages in met.values() if not pages - span for run in pages.runs)
        gone = next((pages for pages in (whole & span, inside, whole) if len(pages) == size), whole & span)
        answer = None
        if bitmap is not None:
            hull = min([first, *met]), max([end, *(pages.runs[-1][1] for pages in met.values())])
            must = history.expected(hull[0], hull[1] - hull[0]).must & gone
            _, may, clean = history.expected(first, end - first)
            served = self.take_served(first, end - first)
            answer = self._compared(bitmap, first, Expected(must, may, clean), served)
            for start, stop in (set_bits(bitmap.view).shifted(first) & span & whole - gone).runs:
                history.reported(start, stop - start)
        history.unmap(gone)
        for start, pages in met.items():
            if not pages - gone:
                mapping = self._mappings.pop(start)
                mapping.mapped = False
                mapping.__exit__(None, None, None)
                self._cut.discard(start)
            elif pages & gone:  # what is left of it can be unmapped as a whole, in part, or not at all
                self.unsure = True
                self._cut.add(start)
                history.unpin(pages - gone & history.pinned)
                history.doubt(pages - gone)
        return answer


def _bounds(expected: Expected) -> Expected:
    """What a failed bitmap must still keep."""
    return Expected(Pages(), expected.may, Pages())


def _answered(outcome: Outcome) -> str:
    return "which succeeded" if outcome.ok else f"which was refused with {in_words(outcome)}"
