# SPDX-License-Identifier: GPL-2.0-only
"""What random exploration of a device is given."""

from __future__ import annotations

from typing import NamedTuple


class Exploring(NamedTuple):
    """How long to explore, in seconds, and how long to make short what was found."""

    seconds: float
    shortening: float
