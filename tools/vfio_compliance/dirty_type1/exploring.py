# SPDX-License-Identifier: GPL-2.0-only
"""What the container adds to the walks of an exploration: memory and its record, whatever the device does."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final, NoReturn

from ..device import DeviceError
from ..run.checks import NotApplicable, RuleBroken, Unjudged
from ..run.exploring import Line, Part, Strayed, Verbs, Walked, described
from ..run.session import Session
from ..transport import TransportError
from .guest_memory import Answer, GuestMemory
from .pages import Pages

#: First page and number of pages: neighbours, and one behind a hole and across a word of a bitmap. They are few, and so
#: are the pages that are written, for the same ones to be met again on a walk.
_PLACES: Final = ((0, 4), (4, 2), (60, 10))

_PLACE: Final = (0, 1, 2)
_PAGE: Final = (0, 1, 3)
_COUNT: Final = (1, 2)

#: How often the bitmap is fetched after a step, or after what undoes it.
_LOOK: Final = (0, 1, 2)

_ANY: Final = "any answer"


class MemoryPart(Part):
    """Maps, unmaps, tracks and queries, in every state of the device; makes it write and pin while it runs.

    What is mapped, tracked and recorded belongs to the user: a reset or another state of the device changes none of it.
    What was pinned may be given back by a driver whose device is reset, stopped, or given a state; until then it could
    be written, so it is reported once more in any case, and maybe ever after.
    """

    steps: ClassVar[Verbs] = {
        "map_memory": {"place": _PLACE},
        "unmap_memory": {"place": _PLACE, "look": _LOOK},
        "unmap_reporting": {"place": _PLACE, "look": _LOOK},
        "start_tracking": {"look": _LOOK},
        "stop_tracking": {"look": _LOOK},
        "fetch_bitmap": {"place": _PLACE, "part": (0, 1, 2)},
        "fetch_all": {},
        "write_memory": {"place": _PLACE, "page": _PAGE, "count": _COUNT},
        "write_tracked": {"place": _PLACE, "page": _PAGE, "count": _COUNT, "look": _LOOK},
        "pin_memory": {"place": _PLACE, "page": _PAGE, "look": _LOOK},
        "unpin_memory": {"look": _LOOK},
    }

    def __init__(self, walk: Walked, session: Session, guest: GuestMemory, scope: str | None) -> None:
        """``scope`` is what the profile claims about the pages that are reported."""
        self._walk, self._session, self._guest = walk, session, guest
        self._everything, self._exact = scope == "everything", scope == "written"
        self._interruptions = walk.interruptions
        self._pins: list[int] = []
        #: Pages that were pinned once: a driver may pin them again by a state that it is given.
        self._known = Pages()
        #: Those of them that it may report at any time.
        self._doubtful = Pages()

    # -- memory ---------------------------------------------------------------------------------------------------

    def map_memory(self, place: int) -> None:
        """Map memory, if none is mapped."""
        if not self._is_mapped(place):
            first, count = _PLACES[place]
            at = f"0x{self._guest.iova(first):x}"
            did = f"map {_named(Pages.run(first, count))} (from {at} on)"
            self._asked(did, lambda: self._guest.map(first, count, judged=True))

    def unmap_memory(self, place: int, look: int = 0) -> None:
        """Unmap it, and map it again to check it."""
        if self._is_mapped(place):
            self._settle()
            pages = Pages.run(*_PLACES[place])
            self._asked(f"unmap {_named(pages)}", lambda: self._guest.unmap(pages.runs[0][0]))
            self._let_go(pages)
            self._look_anew(place, look)

    def unmap_reporting(self, place: int, look: int = 0) -> None:
        """The same, with its bitmap while pages are tracked."""
        if not self._guest.history.tracking:
            return self.unmap_memory(place, look)
        if self._is_mapped(place):
            self._settle()
            pages = Pages.run(*_PLACES[place])
            self._reported(
                f"unmap {_named(pages)} with the bitmap", lambda: self._guest.unmap_with_bitmap(pages.runs[0][0])
            )
            self._let_go(pages)
            self._look_anew(place, look)
        return None

    def _look_anew(self, place: int, times: int) -> None:
        if times:
            self.map_memory(place)
            self._look(place, times)

    def _look(self, place: int, times: int) -> None:
        for _ in range(times):
            self.fetch_bitmap(place)

    # -- tracking -------------------------------------------------------------------------------------------------

    def start_tracking(self, look: int = 0) -> None:
        """START; again if tracking is on, which may be accepted or refused."""
        self._settle()
        if self._guest.history.tracking:
            self._add("start tracking again", _ANY, described(self._guest.tracker.try_start(), "success"))
        else:
            self._asked("start tracking", lambda: self._guest.start(judged=True))
        for _ in range(look):
            self.fetch_all()

    def stop_tracking(self, look: int = 0) -> None:
        """STOP; again if tracking is off, which may be accepted or refused. Then START again to check."""
        self._settle()
        if self._guest.history.tracking:
            self._asked("stop tracking", self._guest.stop)
        else:
            self._add("stop tracking again", _ANY, described(self._guest.tracker.try_stop(), "success"))
        if look:
            self.start_tracking(look)

    def fetch_bitmap(self, place: int, part: int = 0) -> None:
        """The bitmap of a mapping; of its second half (``part`` 1), or of all from there on (2), if it is returned."""
        self._settle()
        first, count = _PLACES[place]
        pages = Pages.run(first, count)
        if not self._guest.history.tracking:
            outcome = self._guest.try_get(first, count)
            return self._concluded(
                f"fetch the bitmap of {_named(pages)}",
                outcome.ok,
                "an error: nothing is tracked",
                described(outcome, "success"),
            )
        if not self._is_mapped(place):
            return None
        if part == 1 and count > 1:
            pages = Pages.run(first + count // 2, count - count // 2)
        elif part == 2:
            pages = Pages.run(first, self._guest.history.mapped.runs[-1][1] - first)
        low, end = pages.runs[0]
        whole = pages == Pages.run(first, count)
        return self._reported(
            f"fetch the bitmap of {_named(pages)}", lambda: self._guest.get(low, end - low), open_end=not whole
        )

    def fetch_all(self) -> None:
        """The bitmap of all mappings together, if it is returned, and of each by itself."""
        mapped = [place for place in _PLACE if self._is_mapped(place)]
        if len(mapped) > 1:
            self.fetch_bitmap(mapped[0], part=2)
        for place in mapped:
            self.fetch_bitmap(place)

    # -- what the device does -------------------------------------------------------------------------------------

    def write_memory(self, place: int, page: int, count: int) -> None:
        """Make a running device write pages, which are mapped for it."""
        if not self._walk.works:
            return
        self._settle()
        self.map_memory(place)
        first, size = _PLACES[place]
        page %= size
        pages = Pages.run(first + page, min(count, size - page))
        did = f"let the device write {_named(pages)}"
        try:
            self._guest.write(first + page, len(pages))
        except NotApplicable:
            return
        except Unjudged:
            self._strayed(did, "the memory written", "not all of it written")
        except DeviceError as error:
            self._strayed(did, error.expected, error.seen)
        self._add(did, "success", "success")
        self._walk.disturbed()

    def write_tracked(self, place: int, page: int, count: int, look: int = 0) -> None:
        """The same, while pages are tracked."""
        if self._walk.works:
            if not self._guest.history.tracking:
                self.start_tracking()
            self.write_memory(place, page, count)
            self._look(place, look)

    def pin_memory(self, place: int, page: int, look: int = 0) -> None:
        """Make the driver of a running device pin a page."""
        if not self._walk.works or self._everything or not self._guest.actor.can_pin:
            return None
        self._settle()
        first, size = _PLACES[place]
        page = first + page % size
        if page in self._guest.history.pinned | self._doubtful:
            return None
        self.map_memory(place)
        did = f"let the driver pin page {page}"
        self._known |= Pages.of(page)
        try:
            self._guest.pin(page, 1)
        except DeviceError as error:  # the specification does not say that a driver can pin
            self._doubtful |= Pages.of(page)
            return self._add(did, _ANY, error.seen)
        self._pins.append(page)
        self._add(did, "success", "success")
        self._walk.disturbed()
        return self._look(place, look)

    def unpin_memory(self, look: int = 0) -> None:
        """Make it unpin the page that was pinned last."""
        self._settle()
        if not self._pins or not self._walk.works:
            return None
        page = self._pins.pop()
        did = f"let the driver unpin page {page}"
        try:
            self._guest.unpin(page, 1)
        except DeviceError as error:
            self._guest.history.unpin(Pages.of(page))
            self._doubtful |= Pages.of(page)
            return self._add(did, _ANY, error.seen)
        self._add(did, "success", "success")
        self._walk.disturbed()
        return self._look(next(place for place in _PLACE if page in Pages.run(*_PLACES[place])), look)

    # -- the user -------------------------------------------------------------------------------------------------

    def user_gone(self) -> None:
        """The next user finds nothing mapped and nothing tracked."""
        left = [place for place in _PLACE if self._is_mapped(place)]
        tracking = self._guest.history.tracking
        self._forget()
        if left:
            self.map_memory(left[0])
        if left or tracking:
            self.fetch_bitmap(left[0] if left else 0)

    def end(self) -> None:
        """Nothing stays mapped or tracked, if the device can still be asked for that."""
        try:
            if not self._session.out_of_reach:
                self._guest.__exit__(None, None, None)
                self._session.lost |= self._guest.unsure
        except (TransportError, DeviceError):
            self._session.lost = True
        finally:
            self._forget()

    def _forget(self) -> None:
        self._guest.abandon()
        self._pins.clear()
        self._doubtful = Pages()
        self._interruptions = self._walk.interruptions

    def _settle(self) -> None:
        """What was pinned at an interruption may be unpinned now, and what was once pinned may still be pinned."""
        if self._interruptions != self._walk.interruptions:
            self._interruptions = self._walk.interruptions
            self._guest.history.unpin(Pages.of(*self._pins))
            self._pins.clear()
            self._doubtful |= self._known

    def _is_mapped(self, place: int) -> bool:
        return _PLACES[place][0] in self._guest.history.mapped

    def _let_go(self, pages: Pages) -> None:
        """Unmapped pages are not pinned."""
        self._pins = [page for page in self._pins if page not in pages]
        self._doubtful -= pages

    # -- judging --------------------------------------------------------------------------------------------------

    def _asked(self, did: str, ask: Callable[[], None]) -> None:
        """An operation that must succeed."""
        try:
            ask()
        except DeviceError as error:
            self._strayed(did, "success", error.seen)
        self._add(did, "success", "success")

    def _reported(self, did: str, ask: Callable[[], Answer], open_end: bool = False) -> None:
        """A bitmap; for a range that the specification does not mention (``open_end``), a refusal is also right."""
        try:
            answer = ask()
        except NotApplicable:
            return self._add(did, _ANY, "an error")
        except DeviceError as error:
            if open_end:
                return self._add(did, _ANY, error.seen)
            self._strayed(did, "success", error.seen)
        answer.false_dirty -= self._doubtful
        must = f"dirty: {answer.must}"
        if answer.missing:
            self._strayed(did, must, f"reported clean: {answer.missing}")
        if answer.extra:
            self._strayed(did, f"no bit but of {answer.may}", f"set too: {answer.extra}")
        if self._exact and answer.false_dirty:
            self._strayed(did, f"{must}, no other", f"dirty: {answer.false_dirty}")
        try:
            answer.bounded()
        except RuleBroken as error:
            self._strayed(did, error.expected, error.seen)
        return self._add(did, must, "right")

    def _concluded(self, did: str, wrong: bool, expected: str, seen: str) -> None:
        if wrong:
            self._strayed(did, expected, seen)
        self._add(did, expected, seen)

    def _add(self, did: str, expected: str, seen: str) -> None:
        self._walk.lines.append(Line(did, expected, seen))

    def _strayed(self, did: str, expected: str, seen: str) -> NoReturn:
        raise Strayed(self._walk.lines, Line(did, expected, seen)) from None


def _named(pages: Pages) -> str:
    """``page 9``, ``pages 0-3``."""
    return f"{'pages' if len(pages) > 1 else 'page'} {pages}"
