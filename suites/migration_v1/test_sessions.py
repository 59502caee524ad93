# SPDX-License-Identifier: GPL-2.0-only
"""Migrations that end before their end, one after another, and what a whole one brings after them."""

from __future__ import annotations

import pytest

from vfio_compliance.migration_v1.progress import POINTS, WHOLE
from vfio_compliance.migration_v1.sessions import ALPHABET, CHANGE, go, left, ways_from
from vfio_compliance.uapi.migration_v1 import DeviceState

PRE_COPY, STOP_AND_COPY = DeviceState.PRE_COPY, DeviceState.STOP_AND_COPY

#: How the migration goes that is judged: with data read in pre-copy, or from running to stop-and-copy.
KINDS = {"live": True, "at once": False}

at_each_point = pytest.mark.parametrize("far", POINTS, ids=lambda far: far.words)
each_kind = pytest.mark.parametrize("live", KINDS.values(), ids=KINDS)


def judge_pre_copy_left(players, far, *on_the_way):
    """A live migration that leaves pre-copy there restores the device."""
    on = (*on_the_way, go(STOP_AND_COPY))
    players.judge(
        left(PRE_COPY, far, *on),
        controls=[left(PRE_COPY, WHOLE, *on)],
        when="where all data of pre-copy was read",
    )


@pytest.mark.rule("v1.sessions.pre-copy-left")
@at_each_point
def test_pre_copy_left(players, far):
    """Pre-copy is left for stop-and-copy at any point, and what was read in both restores the device."""
    judge_pre_copy_left(players, far)


@pytest.mark.rule("v1.sessions.pre-copy-left")
@at_each_point
def test_pre_copy_left_after_a_change(players, far):
    """The same where the state changed after the last read in pre-copy."""
    judge_pre_copy_left(players, far, CHANGE)


def cells():
    """Every way out of both saving states at every point, each before one kind of migration; deep: before the other."""
    for state in (PRE_COPY, STOP_AND_COPY):
        ways = [way for way in ways_from(state) if (state, way) != (PRE_COPY, go(STOP_AND_COPY))]
        for row, far in enumerate(POINTS):
            for column, way in enumerate(ways):
                for kind, live in KINDS.items():
                    marks = [pytest.mark.deep] if live == bool((row + column) % 2) else []
                    yield pytest.param(
                        left(state, far, way), live, id=f"{left(state, far, way)}, then {kind}", marks=marks
                    )


@pytest.mark.rule("v1.sessions.whole-after-one")
@pytest.mark.parametrize(("before", "live"), cells())
def test_whole_after_one_left(players, before, live):
    """However and wherever a saving state was left, a whole migration after that restores the device."""
    players.judge(before, live=live, when="with nothing before it")


#: Of these the device keeps a state: what becomes of that is another rule's matter.
RESUMED = next(each for each in ALPHABET if each.name == "resumed")
OTHERS = [each for each in ALPHABET if each is not RESUMED]


@pytest.mark.rule("v1.sessions.whole-after-one")
@each_kind
@pytest.mark.parametrize("before", OTHERS, ids=str)
def test_whole_after_one(players, before, live):
    """After a session, however it ended, a whole migration restores the device."""
    players.judge(before, live=live, when="with nothing before it")


def pairs(seconds):
    """Each session before those of ``seconds``; deep but for a set in which each is once first and once second."""
    for row, first in enumerate(ALPHABET):
        for column, second in enumerate(ALPHABET):
            if second in seconds:
                marks = [] if column == (row + 5) % len(ALPHABET) else [pytest.mark.deep]
                live = bool((row + column) % 2)
                yield pytest.param(first, second, live, id=f"{first}, then {second}", marks=marks)


@pytest.mark.rule("v1.sessions.whole-after-two")
@pytest.mark.parametrize(("first", "second", "live"), pairs(OTHERS))
def test_whole_after_two(players, first, second, live):
    """After two sessions, however they ended, a whole migration restores the device."""
    players.judge(first, second, live=live, controls=[first, second], when="after each of the two alone")


@pytest.mark.rule("v1.sessions.resumed-device-saves")
@each_kind
def test_resumed_device_saves(players, live):
    """A device that was resumed, and not reset, saves the state that it was given, and a third one takes it."""
    players.judge(RESUMED, live=live, when="of a device that was not resumed")


@pytest.mark.rule("v1.sessions.resumed-device-saves")
@pytest.mark.parametrize(("first", "second", "live"), pairs([RESUMED]))
def test_resumed_device_saves_after_another(players, first, second, live):
    """The same after another session."""
    players.judge(first, second, live=live, controls=[first, second], when="after each of the two alone")
