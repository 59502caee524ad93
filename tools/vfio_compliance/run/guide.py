# SPDX-License-Identifier: GPL-2.0-only
"""What an interface with states does for the rules of another one that are judged in them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Guide(Protocol):
    """Takes the device of a run to states, by the names that their interface gives them."""

    def begin(self, way: Collection[str]) -> None:
        """Prepare a running device, and whatever it needs on its way: states, and ``reset``.

        May reset it. Raises Unreachable, and Unjudged if there is nothing to restore.
        """

    def go(self, state: str, *, leaving: bool) -> None:
        """Bring the device to a state, which it must leave again if ``leaving``.

        Raises Unreachable, and NotApplicable for a way that the interface leaves open and the device does not take.
        """

    def settle(self) -> None:
        """The device was reset: make sure that it runs. Raises Unjudged."""
