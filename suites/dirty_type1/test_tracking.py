# SPDX-License-Identifier: GPL-2.0-only
"""Tracking from START to STOP."""

from collections.abc import Callable

import pytest

from vfio_compliance.dirty_type1.scripted_memory import ScriptedMemory
from vfio_compliance.run.checks import declined, given, in_words


@pytest.mark.rule("dirty.tracking.reports-from-start")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    "script",
    [
        "map 0 70; start; write 5; get 0 70",
        "map 0 70; map 70 3; start; write 71; get 0 73",
        "map 0 70; pin 3 2; start; get 0 70",
        "map 0 70; start; pin 3 2; get 0 70; get 0 70",
        "map 0 70; pin 3 2; start; unpin 3 2; get 0 70",
        "map 1011711 3; start; dirty 1011712; get 1011711 3",  # page 1011712 begins at 2^32, or is far beyond it
    ],
)
def test_reports_from_start(guest: ScriptedMemory, script: str) -> None:
    """From START on, every page that the device writes is tracked, and every page that is pinned then or later."""
    for answer in guest.play(script):
        answer.complete()


@pytest.mark.rule("dirty.tracking.continues")
@pytest.mark.stimulus
@pytest.mark.parametrize(
    "script",
    [
        "map 0 70; start" + "; write 5; get 0 70" * 6,
        "map 0 70; start; get 0 70; write 69; get 0 70",
        "map 0 70; start; map 70 3; write 70; write 72; get 0 73",
        "map 0 70; start; get 0 70; map 70 3; get 0 73; write 72; write 1; get 0 73",
        "map 0 70; start; unmap 0; map 0 70; write 5; get 0 70",
    ],
)
def test_continues(guest: ScriptedMemory, script: str) -> None:
    """Tracking continues until STOP, however often it is queried, and includes memory mapped in the meantime."""
    for answer in guest.play(script):
        answer.complete()


@pytest.mark.rule("dirty.tracking.stop-forgets")
@pytest.mark.stimulus
@pytest.mark.usefixtures("known_writes")
@pytest.mark.parametrize(
    "script",
    [
        "map 0 70; start; write 5; stop; start; get 0 70",
        "map 0 70; start; write 5; write 69; stop; start; get 0 70",
        "map 0 70; start; write 5; stop; start; write 7; get 0 70",
        "map 0 70; start; pin 3 2; unpin 3 2; stop; start; get 0 70",
    ],
)
def test_stop_forgets(guest: ScriptedMemory, script: str) -> None:
    """STOP ends tracking: what was written before it is not reported after the next START."""
    for answer in guest.play(script):
        answer.complete()
        answer.exact()


@pytest.mark.rule("dirty.tracking.stopped-refuses")
@pytest.mark.parametrize("script", ["map 0 70", "map 0 70; start; stop", "map 0 70; start; get 0 70; stop"])
def test_stopped_refuses(guest: ScriptedMemory, script: str) -> None:
    """While tracking is off, GET_BITMAP is refused."""
    guest.play(script)
    declined("asking for a bitmap while tracking is off", guest.try_get(0, 70))


@pytest.mark.rule("dirty.unspecified.repeats")
@pytest.mark.stimulus
def test_start_again(guest: ScriptedMemory, observe: Callable[[str, str], None]) -> None:
    """START while tracking is on may be accepted or refused, and tracking works afterwards."""
    guest.map(0, 70)
    guest.start()
    guest.make_dirty(5)
    observe("dirty pages: START again", in_words(guest.tracker.try_start()))
    guest.make_dirty(69)
    guest.get(0, 70).complete()


@pytest.mark.rule("dirty.unspecified.repeats")
@pytest.mark.stimulus
def test_stop_again(guest: ScriptedMemory, observe: Callable[[str, str], None]) -> None:
    """STOP after STOP may be accepted or refused, and tracking works afterwards."""
    guest.map(0, 70)
    guest.start()
    guest.make_dirty(5)
    guest.stop()
    judge_stop(guest, observe, "STOP again")


@pytest.mark.rule("dirty.unspecified.repeats")
@pytest.mark.stimulus
def test_stop_at_first(guest: ScriptedMemory, observe: Callable[[str, str], None]) -> None:
    """STOP before any START may be accepted or refused, and tracking works afterwards."""
    guest.map(0, 70)
    judge_stop(guest, observe, "STOP before any START")


def judge_stop(guest: ScriptedMemory, observe: Callable[[str, str], None], moment: str) -> None:
    """STOP while nothing is tracked does no harm."""
    observe(f"dirty pages: {moment}", in_words(guest.tracker.try_stop()))
    guest.start(judged=True)
    guest.make_dirty(69)
    guest.get(0, 70).complete()


#: First page and number of pages, and bytes added to address and size; pages 0 to 69 and 80 to 89 are mapped.
RANGES = {
    "from the middle of a mapping": (10, 60, 0, 0),
    "to the middle of a mapping": (0, 30, 0, 0),
    "inside a mapping": (10, 10, 0, 0),
    "from one mapping into another": (10, 75, 0, 0),
    "over nothing": (100, 10, 0, 0),
    "an address that is not aligned": (0, 70, 8, 0),
    "a size that is not aligned": (0, 70, 0, 8),
    "no pages": (0, 0, 0, 0),
}


@pytest.mark.rule("dirty.unspecified.ranges")
@pytest.mark.stimulus
@pytest.mark.parametrize("range_", RANGES)
def test_ranges(guest: ScriptedMemory, observe: Callable[[str, str], None], range_: str) -> None:
    """A range that the specification does not mention may be accepted or refused, and nothing is lost."""
    judge_range(guest, observe, range_, *RANGES[range_])


@pytest.mark.rule("dirty.unspecified.ranges")
@pytest.mark.stimulus
def test_range_past_all_addresses(guest: ScriptedMemory, observe: Callable[[str, str], None]) -> None:
    """A range of the very last page and one more may be accepted or refused, and nothing is lost."""
    last = -guest.iova(0) // guest.page - 1
    judge_range(guest, observe, "past the end of all addresses", last, 2, 0, 0)


def judge_range(
    guest: ScriptedMemory,
    observe: Callable[[str, str], None],
    range_: str,
    first: int,
    count: int,
    further: int,
    longer: int,
) -> None:
    """Asking for the range does not disturb asking for the mappings."""
    guest.map(0, 70)
    guest.map(80, 10)
    guest.start()
    guest.make_dirty(5)
    guest.make_dirty(69)
    with given():  # an answer that is too long, or no answer
        outcome = guest.try_get(first, count, further=further, longer=longer)
    observe(f"dirty bitmap: {range_}", in_words(outcome))
    guest.make_dirty(12)
    for answer in guest.get_all():
        answer.correct()
