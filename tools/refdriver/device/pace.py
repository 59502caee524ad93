# SPDX-License-Identifier: GPL-2.0-only
"""The time that things take (DEVICE.md, Options: slow and what begins with it)."""

from __future__ import annotations

import time


def take(microseconds: int) -> None:
    """Let so much time pass. Nothing else happens meanwhile, and the client waits for its answer."""
    if microseconds:
        time.sleep(microseconds / 1_000_000)
