# SPDX-License-Identifier: GPL-2.0-only
"""Stub."""

from __future__ import annotations


class Interrupts:
    """Stub."""

    def enable(self, index: int, vector: int) -> None:
        """Stub."""

    def disable(self, index: int) -> None:
        """Stub."""

    def trigger(self, index: int, vector: int) -> None:
        """Stub."""

    def unmask(self, index: int, vector: int) -> None:
        """Stub."""

    def count(self, index: int, vector: int) -> int:
        """Stub."""
        return 0

    def wait(self, index: int, vector: int, seconds: float) -> bool:
        """Stub."""
        return False
