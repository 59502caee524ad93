# SPDX-License-Identifier: GPL-2.0-only
"""Something is repeated, or refused, in the middle of a buffer; then the rest is moved as if nothing had happened."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from vfio_compliance.migration_v1.interruptions import (
    MANY,
    PLACES,
    READ_AGAIN,
    REFUSED_RESUMING,
    REFUSED_SAVING,
    WRITTEN_AGAIN,
    Interruption,
    Place,
    by_words,
)
from vfio_compliance.migration_v1.player import Last
from vfio_compliance.migration_v1.players import Players
from vfio_compliance.migration_v1.region import Moment
from vfio_compliance.uapi.migration_v1 import DeviceState

PRE_COPY, STOP_AND_COPY, RESUMING = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY, DeviceState.RESUMING


OFTEN = {"once": 1, "many times": MANY}


def repeated(whats: tuple[Interruption, ...]) -> pytest.MarkDecorator:
    """Each of ``whats`` in one buffer or two, once or many times."""
    return pytest.mark.parametrize(
        ("what", "place", "times"),
        [
            pytest.param(what, place, times, id=f"{what}, in the {name} buffer, {often}")
            for row, what in enumerate(whats)
            for column, (name, place) in enumerate(PLACES.items())
            for turn, (often, times) in enumerate(OFTEN.items())
            if (row + column + turn) % 2 == 0
        ],
    )


def refused(whats: tuple[Interruption, ...], turns: int) -> pytest.MarkDecorator:
    """Each access of ``whats`` at ``turns`` of its moments, each in another buffer, once or many times in turn."""
    cases = []
    for row, what in enumerate(whats):
        access, moment = divmod(row, len(Moment))
        for turn, (often, times) in enumerate(OFTEN.items()):
            if moment == (access + 2 * turn) % len(Moment) and (turn + access) % len(OFTEN) < turns:
                name = list(PLACES)[(access + turn) % len(PLACES)]
                words = f"{what}, in the {name} buffer, {often}"
                cases.append(pytest.param(what, PLACES[name], times, id=words))
    return pytest.mark.parametrize(("what", "place", "times"), cases)


def everywhere(whats: tuple[Interruption, ...]) -> pytest.MarkDecorator:
    """Each access of ``whats`` many times at each of its moments, in the first, a middle and the last buffer."""
    found = by_words(whats)
    return pytest.mark.parametrize("each", found.values(), ids=found)


@pytest.mark.rule("v1.saving.continues-after-repetition")
@pytest.mark.stimulus
@repeated(READ_AGAIN)
def test_saving_continues_after_repetition(players: Players, what: Interruption, place: Place, times: int) -> None:
    """Part of a buffer is read again, then the rest of the state, and all of it restores the device."""
    players.judge_interrupted([what], times, STOP_AND_COPY, [place])


@pytest.mark.rule("v1.saving.continues-after-repetition")
@pytest.mark.stimulus
@pytest.mark.deep
@everywhere(READ_AGAIN)
def test_saving_continues_after_repetitions(players: Players, each: Sequence[Interruption]) -> None:
    """The same, with repeated reads in each part of the state."""
    players.judge_interrupted(each, MANY, STOP_AND_COPY, PLACES.values())


@pytest.mark.rule("v1.saving.continues-after-repetition")
@pytest.mark.stimulus
@pytest.mark.parametrize("what", READ_AGAIN, ids=str)
def test_pre_copy_continues_after_repetition(players: Players, what: Interruption) -> None:
    """The same for the first buffer of pre-copy."""
    players.judge_interrupted([what], 2, PRE_COPY, [PLACES["first"]], last=Last.LIVE)


@pytest.mark.rule("v1.saving.continues-after-refusal")
@pytest.mark.stimulus
@refused(REFUSED_SAVING, 2)
def test_saving_continues_after_refusal(players: Players, what: Interruption, place: Place, times: int) -> None:
    """Something is refused or ignored, then the rest of the state is read, and all of it restores the device."""
    players.judge_interrupted([what], times, STOP_AND_COPY, [place])


@pytest.mark.rule("v1.saving.continues-after-refusal")
@pytest.mark.stimulus
@pytest.mark.deep
@everywhere(REFUSED_SAVING)
def test_saving_continues_after_refusals(players: Players, each: Sequence[Interruption]) -> None:
    """The same, with something refused or ignored at each step, in each part of the state."""
    players.judge_interrupted(each, MANY, STOP_AND_COPY, PLACES.values())


@pytest.mark.rule("v1.resuming.continues-after-repetition")
@pytest.mark.stimulus
@repeated(WRITTEN_AGAIN)
def test_resuming_continues_after_repetition(players: Players, what: Interruption, place: Place, times: int) -> None:
    """A step of writing a buffer is repeated, then the rest of the state is written, and the device is restored."""
    players.judge_interrupted([what], times, RESUMING, [place])


@pytest.mark.rule("v1.resuming.continues-after-repetition")
@pytest.mark.stimulus
@pytest.mark.deep
@everywhere(WRITTEN_AGAIN)
def test_resuming_continues_after_repetitions(players: Players, each: Sequence[Interruption]) -> None:
    """The same, with steps repeated in each part of the state."""
    players.judge_interrupted(each, MANY, RESUMING, PLACES.values())


@pytest.mark.rule("v1.resuming.continues-after-refusal")
@pytest.mark.stimulus
@refused(REFUSED_RESUMING, 1)
def test_resuming_continues_after_refusal(players: Players, what: Interruption, place: Place, times: int) -> None:
    """Something is refused or ignored, then the rest of the state is written, and the device is restored."""
    players.judge_interrupted([what], times, RESUMING, [place])


@pytest.mark.rule("v1.resuming.continues-after-refusal")
@pytest.mark.stimulus
@pytest.mark.deep
@everywhere(REFUSED_RESUMING)
def test_resuming_continues_after_refusals(players: Players, each: Sequence[Interruption]) -> None:
    """The same, with something refused or ignored at each step, in each part of the state."""
    players.judge_interrupted(each, MANY, RESUMING, PLACES.values())
