# SPDX-License-Identifier: GPL-2.0-only
"""Descriptors that are left open or closed are found, and garbage of earlier tests does not matter."""

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


def leave_one_open() -> None:
    with no_descriptor_left():
        os.open(os.devnull, os.O_RDONLY)


def replace_one(of: int) -> None:
    """The number of descriptors and their numbers stay the same."""
    with no_descriptor_left():
        os.close(of)
        assert os.open(os.devnull, os.O_RDONLY) == of


def test_a_descriptor_left_open() -> None:
    free = os.dup(0)
    os.close(free)
    with pytest.raises(AssertionError, match=f"left open: .*{free} {os.devnull}"):
        leave_one_open()
    os.close(free)


def test_a_replaced_descriptor() -> None:
    before = os.open("/dev/zero", os.O_RDONLY)
    with pytest.raises(AssertionError, match="left open"):
        replace_one(before)
    os.close(before)


def close_one(of: int) -> None:
    with same_descriptors():
        os.close(of)


def test_a_closed_descriptor() -> None:
    """It was open before, and belongs to other code."""
    others = os.open("/dev/zero", os.O_RDONLY)
    with pytest.raises(AssertionError, match=f"closed: .*{others} /dev/zero"):
        close_one(others)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", [gc.collect, garbage], ids=["earlier", "own"])
@pytest.mark.parametrize("way", [no_descriptor_left, same_descriptors])
def test_garbage(way: Callable[..., Any], make: Callable[..., None]) -> None:
    """It counts neither as left open nor as closed, whenever the collector runs."""
    garbage()
    with way():
        make()
