# SPDX-License-Identifier: GPL-2.0-only
"""Stub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class ActionError(Exception):
    """Stub."""

    remedy = ""


class Actions:
    """Stub."""

    def __init__(self, file: Path, within: float) -> None:
        """Stub."""

    def call(self, name: str, verbs: object, variables: Mapping[str, int]) -> list[int]:
        """Stub."""
        return []

    def close(self) -> None:
        """Stub."""
