# SPDX-License-Identifier: GPL-2.0-only
"""Scripts of what is done to the container, and of where the device goes in between.

A step is a verb and its numbers, in pages, or a place. No step is left out, and one that fails is judged:

    map, pin FIRST COUNT; dirty FIRST [COUNT]; start; stop-tracking
    unmap, unmap-bitmap FIRST    a mapping; the latter with its bitmap, which must be correct
    get FIRST COUNT              a bitmap, which must be correct
    get-clean FIRST COUNT        the same, and no clean page is set in it
    get-nothing FIRST COUNT      no bitmap is returned, as nothing is tracked
    stream PAGE                  the device writes the page repeatedly from here on
    written                      the page has been written since the last copy
    copy FIRST COUNT             a bitmap that must be correct; then the page is copied: later changes must be reported
    mapped, kept FIRST           the mapping exists; the latter if another rule judges that
    reset                        of the device, which then runs
    stop, pre-copy, ...          a state of the device, by its name
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Final

from ..run.checks import NotApplicable, RuleBroken, Unjudged, declined, given, unless
from ..run.guide import Guide
from .guest_memory import GuestMemory
from .interface import Dirtying
from .scripts import parsed
from .streamed import Streamed


class Course:
    """Plays scripts, each from a running device, and judges failures that are due to the device's change of state."""

    def __init__(self, dirtying: Dirtying, guide: Guide | None = None) -> None:
        """``guide`` takes the device to states; without one, the only place of a script is ``reset``."""
        self._dirtying, self._session, self._guide = dirtying, dirtying.session, guide

    def judge(self, *script: str, subject: Sequence[str] = (), without: Sequence[str] = ()) -> None:
        """Everything in the script succeeds, if it does so in running.

        What is done in a place is the ``subject``: it succeeds if it was done earlier, in running. If it cannot come
        first, ``without`` is another script that leaves it out, and succeeds.

        Raises RuleBroken, DeviceError, Unjudged, and NotApplicable if the device refuses.
        """
        control = without or (_before(script, subject) if subject else ())
        with (
            self._unless([step for step in script if not _is_place(step)], "in running"),
            self._unless(control, f"with {'; '.join(control)}") if control else nullcontext(),
        ):
            self._play(script)

    def _unless(self, control: Sequence[str], when: str) -> AbstractContextManager[None]:
        return unless(lambda: self._control(control), when)

    def _control(self, script: Sequence[str]) -> None:
        self._session.lost |= self._session.transport.gone
        self._session.after_reset()
        self._play(script)

    def _play(self, script: Sequence[str]) -> None:
        if self._guide:
            self._guide.begin([step for step in script if _is_place(step)])
        with self._dirtying.guest() as guest, Streamed(guest) as streamed:
            for at, step in enumerate(script, 1):
                verb, numbers = parsed(step)
                if verb in _VERBS:
                    _VERBS[verb](guest, *numbers)
                elif verb in _STREAMED:
                    _STREAMED[verb](streamed, *numbers)
                elif verb == "reset":
                    self._reset(guest)
                else:
                    self._go(guest, step, leaving=any(map(_is_place, script[at:])))

    def _reset(self, guest: GuestMemory) -> None:
        device = self._session.device
        if not device.announces_reset:
            raise NotApplicable("the device does not announce that it can be reset")
        with given():
            device.reset()
        guest.device_reset()
        if self._guide:
            self._guide.settle()

    def _go(self, guest: GuestMemory, state: str, *, leaving: bool) -> None:
        assert self._guide, f"nothing takes the device to {state}"
        guest.device_went(state)
        self._guide.go(state, leaving=leaving)


def _is_place(step: str) -> bool:
    verb, _ = parsed(step)
    return verb not in _VERBS and verb not in _STREAMED


def _before(script: Sequence[str], subject: Sequence[str]) -> list[str]:
    """The script with the subject done before the device goes anywhere."""
    rest = [step for step in script if step not in subject]
    first = next(at for at, step in enumerate(rest) if _is_place(step))
    return [*rest[:first], *subject, *rest[first:]]


def _get_clean(guest: GuestMemory, first: int, count: int) -> None:
    answer = guest.get(first, count)
    answer.correct()
    answer.exact()


def _get_nothing(guest: GuestMemory, first: int, count: int) -> None:
    outcome = guest.try_get(first, count)
    declined(guest.path().replace(", which succeeded", ""), outcome)


def _kept(guest: GuestMemory, first: int) -> None:
    try:
        guest.still_mapped(first)
    except RuleBroken as error:
        raise Unjudged(f"the memory is no longer mapped: {error}") from None


_VERBS: Final[Mapping[str, Callable[..., None]]] = {
    "map": partial(GuestMemory.map, judged=True),
    "unmap": partial(GuestMemory.unmap, judged=True),
    "unmap-bitmap": lambda guest, first: guest.unmap_with_bitmap(first).correct(),
    "mapped": GuestMemory.still_mapped,
    "kept": _kept,
    "start": partial(GuestMemory.start, judged=True),
    "stop-tracking": partial(GuestMemory.stop, judged=True),
    "dirty": GuestMemory.make_dirty,
    "pin": GuestMemory.pin,
    "get": lambda guest, first, count: guest.get(first, count).correct(),
    "get-clean": _get_clean,
    "get-nothing": _get_nothing,
}

_STREAMED: Final[Mapping[str, Callable[..., None]]] = {
    "stream": Streamed.stream,
    "written": Streamed.written,
    "copy": Streamed.copy,
}
