# SPDX-License-Identifier: GPL-2.0-only
"""What is left open or closed is found, and garbage of earlier tests is not taken for it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import pytest
from descriptors import no_descriptor_left, same_descriptors


def garbage() -> None:
    """A file that stays open until the collector runs."""
    kept: list[Any] = [open(os.devnull)]  # noqa: SIM115
    kept.append(kept)


def one_left() -> None:
    with no_descriptor_left():
        os.open(os.devnull, os.O_RDONLY)


def one_instead(of: int) -> None:
    """As many as before are open, and under the same numbers."""
    with no_descriptor_left():
        os.close(of)
        assert os.open(os.devnull, os.O_RDONLY) == of


def test_one_left() -> None:
    free = os.dup(0)
    os.close(free)
    with pytest.raises(AssertionError, match=f"left open: .*{free} {os.devnull}"):
        one_left()
    os.close(free)


def test_one_in_place_of_another() -> None:
    before = os.open("/dev/zero", os.O_RDONLY)
    with pytest.raises(AssertionError, match="left open"):
        one_instead(before)
    os.close(before)


def one_closed(of: int) -> None:
    with same_descriptors():
        os.close(of)


def test_one_closed() -> None:
    """One that was open before, and belongs to somebody else."""
    others = os.open("/dev/zero", os.O_RDONLY)
    with pytest.raises(AssertionError, match=f"closed: .*{others} /dev/zero"):
        one_closed(others)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", [gc.collect, garbage], ids=["of others", "of this one"])
@pytest.mark.parametrize("way", [no_descriptor_left, same_descriptors])
def test_what_the_collector_closes(way: Callable[..., Any], make: Callable[..., None]) -> None:
    """It is neither left open nor missing, whenever the collector runs."""
    garbage()
    with way():
        make()
