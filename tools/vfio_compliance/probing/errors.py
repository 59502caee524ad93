# SPDX-License-Identifier: GPL-2.0-only
"""Why there is no profile of a device."""

from __future__ import annotations


class ProbeError(Exception):
    """The message says what is wrong, and what can be done about it."""
