# SPDX-License-Identifier: GPL-2.0-only
"""Sees whether a test leaves descriptors as they were."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator


def _descriptors() -> set[str]:
    """What each open descriptor of this process is, with its number."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Fails if something is open at the end that was not open at the beginning.

    Garbage of earlier tests may be closed meanwhile, so descriptors are compared one by one and not counted.
    """
    before = _descriptors()
    yield
    left = _descriptors() - before
    if left:
        gc.collect()  # an exception that a test caught may have kept something alive; seldom, and this is slow
        left = _descriptors() - before
    assert not left, f"left open: {left}"


@contextlib.contextmanager
def same_descriptors() -> Iterator[None]:
    """Fails, too, if something is closed that others had open. Slower: garbage of earlier tests is collected first."""
    gc.collect()
    before = _descriptors()
    with no_descriptor_left():
        yield
    closed = before - _descriptors()
    assert not closed, f"closed: {closed}"
