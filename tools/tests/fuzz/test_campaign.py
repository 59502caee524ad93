# SPDX-License-Identifier: GPL-2.0-only
"""A campaign detects leaks, hangs and errors, and a case can be repeated."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import campaign as module
import pytest
from campaign import RIGHT, Campaign


@pytest.fixture
def ended() -> list[Campaign]:
    """The campaigns that have ended."""
    return []


@pytest.fixture
def make(ended: list[Campaign]) -> Callable[..., Campaign]:
    """Makes a campaign that does not count for the run."""

    def made(factor: float = 1.0, only: int | None = None, seed: int = 1) -> Campaign:
        return Campaign("it", seed, factor, only, ended.append)

    return made


def _tried(campaign: Campaign, wanted: int = 3) -> list[int]:
    """The random number of each case."""
    drawn: list[int] = []

    def trial(rng: Random) -> None:
        drawn.append(rng.randrange(1 << 32))
        campaign.add_input("kind", b"")

    campaign.run(wanted, trial)
    return drawn


def test_case_can_be_repeated(make: Callable[..., Campaign]) -> None:
    """By its number and the seed; another seed makes other cases."""
    drawn = _tried(make())
    assert len(set(drawn)) == 3
    assert _tried(make()) == drawn
    assert _tried(make(only=2)) == drawn[2:]
    assert not set(_tried(make(seed=2))) & set(drawn)


def test_factor_multiplies_the_inputs(make: Callable[..., Campaign], ended: list[Campaign]) -> None:
    """This number of inputs is made and counted."""
    assert len(_tried(make(factor=5))) == 15
    assert ended[0].sent.total() == 15
    assert "it: 15 inputs in 15 cases" in ended[0].lines()


def test_right_inputs_do_not_count(make: Callable[..., Campaign]) -> None:
    """Only hostile ones do."""
    campaign = make()

    def trial(rng: Random) -> None:
        campaign.add_input(RIGHT, "fine")
        campaign.add_input("wrong", "bad")

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


def _check_failure(campaign: Campaign, fault: Callable[[Random], None], message: str) -> None:
    """A fault in the third case is reported with the last input, and with the options that repeat it."""

    def trial(rng: Random) -> None:
        campaign.add_input("kind", b"\x12\x34")
        if campaign.sent.total() == 3:
            fault(rng)

    with pytest.raises(AssertionError, match=message) as caught:
        campaign.run(10, trial)
    while _leaked:
        os.close(_leaked.pop())
    assert "-k it --fuzz-seed 7 --fuzz-case 2" in str(caught.value)
    assert str(caught.value).endswith("kind: 1234")


@pytest.mark.parametrize(
    ("fault", "message"), [(_leak, "left open"), (_fill_memory, "MemoryError"), (_fail, "KeyError")]
)
def test_fault_is_reported(make: Callable[..., Campaign], fault: Callable[[Random], None], message: str) -> None:
    """A leaked descriptor, too much memory, an unexpected exception."""
    _check_failure(make(seed=7), fault, message)


def test_hang_is_reported(make: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the code catches every Exception."""
    monkeypatch.setattr(module, "CASE_DEADLINE", 1.0)
    _check_failure(make(seed=7), _spin, "Hang")
