# SPDX-License-Identifier: GPL-2.0-only
"""The time that things take (DEVICE.md, Options: those that begin with slow)."""

from __future__ import annotations

import time


def take(microseconds: int) -> None:
    """Wait for the given time. Nothing else happens in the meantime, and the client waits for its answer."""
    if microseconds:
        time.sleep(microseconds / 1_000_000)
