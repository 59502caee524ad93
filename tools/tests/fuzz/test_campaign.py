# SPDX-License-Identifier: GPL-2.0-only
"""A campaign notices what it is there to notice, and a case can be had again."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import campaign as module
import pytest
from campaign import RIGHT, Campaign


@pytest.fixture
def ended() -> list[Campaign]:
    """The campaigns that came to their end."""
    return []


@pytest.fixture
def make(ended: list[Campaign]) -> Callable[..., Campaign]:
    """A campaign that is not part of the run's counts."""

    def made(factor: float = 1.0, only: int | None = None, seed: int = 1) -> Campaign:
        return Campaign("it", seed, factor, only, ended.append)

    return made


def _tried(campaign: Campaign, wanted: int = 3) -> list[int]:
    """What chance gave in each case."""
    drawn: list[int] = []

    def trial(rng: Random) -> None:
        drawn.append(rng.randrange(1 << 32))
        campaign.gave("kind", b"")

    campaign.run(wanted, trial)
    return drawn


def test_a_case_can_be_had_again(make: Callable[..., Campaign]) -> None:
    """By its number and the seed; another seed gives others."""
    drawn = _tried(make())
    assert len(set(drawn)) == 3
    assert _tried(make()) == drawn
    assert _tried(make(only=2)) == drawn[2:]
    assert not set(_tried(make(seed=2))) & set(drawn)


def test_the_factor_multiplies(make: Callable[..., Campaign], ended: list[Campaign]) -> None:
    """So many inputs are given, and counted."""
    assert len(_tried(make(factor=5))) == 15
    assert ended[0].sent.total() == 15
    assert "it: 15 inputs in 15 cases" in ended[0].lines()


def test_what_is_right_does_not_count(make: Callable[..., Campaign]) -> None:
    """Only what is hostile."""
    campaign = make()

    def trial(rng: Random) -> None:
        campaign.gave(RIGHT, "fine")
        campaign.gave("wrong", "bad")

    campaign.run(2, trial)
    assert campaign.sent == {"wrong": 2}


def _leak(rng: Random) -> None:
    _leaked.append(os.dup(1))


def _fill_memory(rng: Random) -> None:
    bytearray(2 * module.ROOM)


def _spin(rng: Random) -> None:
    while True:
        try:
            rng.random()
        except Exception:
            continue


def _fail(rng: Random) -> None:
    raise KeyError("it")


_leaked: list[int] = []


@pytest.mark.parametrize(
    ("fault", "told"),
    [(_leak, "left open"), (_fill_memory, "MemoryError"), (_spin, "Hang"), (_fail, "KeyError")],
)
def test_a_fault_is_told(
    make: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch, fault: Callable[[Random], None], told: str
) -> None:
    """With the last input, and how to have it again."""
    if fault is _spin:
        monkeypatch.setattr(module, "CASE_DEADLINE", 1.0)
    campaign = make(seed=7)

    def trial(rng: Random) -> None:
        campaign.gave("kind", b"\x12\x34")
        if campaign.sent.total() == 3:
            fault(rng)

    with pytest.raises(AssertionError, match=told) as caught:
        campaign.run(10, trial)
    while _leaked:
        os.close(_leaked.pop())
    assert "-k it --fuzz-seed 7 --fuzz-case 2" in str(caught.value)
    assert str(caught.value).endswith("kind: 1234")
