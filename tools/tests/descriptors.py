# SPDX-License-Identifier: GPL-2.0-only
"""Sees whether something is left open."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator


def descriptors() -> set[str]:
    """What each open descriptor of this process is, with its number."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Fails if more is open at the end than at the beginning.

    What earlier tests left to the garbage collector may be closed meanwhile: that is no fault of this one, so what is
    open is compared, and never how much.
    """
    before = descriptors()
    yield
    left = descriptors() - before
    if left:
        gc.collect()  # an exception that a test caught may have kept something alive; seldom, and this is slow
        left = descriptors() - before
    assert not left, f"left open: {left}"
