# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of things, in words."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "s") -> str:
    """Such as "1 case" and "2 cases"; ``plural`` is what is added to the noun then."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{plural}"
