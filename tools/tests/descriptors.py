# SPDX-License-Identifier: GPL-2.0-only
"""Checks that a test leaves the descriptors of this process unchanged."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator


def _descriptors() -> set[str]:
    """Number and target of each open descriptor of this process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Fails if a descriptor is open at the end that was not open at the beginning.

    Descriptors are compared, not counted, as garbage of earlier tests may be closed in between.
    """
    before = _descriptors()
    yield
    left = _descriptors() - before
    if left:
        gc.collect()  # a caught exception may keep one alive; only now, as this is slow
        left = _descriptors() - before
    assert not left, f"left open: {left}"


@contextlib.contextmanager
def same_descriptors() -> Iterator[None]:
    """Also fails if an earlier descriptor is closed. Slower, as garbage of earlier tests is collected first."""
    gc.collect()
    before = _descriptors()
    with no_descriptor_left():
        yield
    closed = before - _descriptors()
    assert not closed, f"closed: {closed}"
