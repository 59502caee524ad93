# SPDX-License-Identifier: GPL-2.0-only
"""What ends a run, or the test process that carries it out."""

from __future__ import annotations


class Broken(Exception):
    """The run cannot start or go on, and not because a rule was broken; ``remedy`` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


class Lost(Exception):
    """This process cannot reach the device any more; another one may, by a way that is left."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ProfileFault(Exception):
    """What the profile says cannot be done, and not because of the device; ``remedy`` says what to do.

    The case at hand is not judged, and the run continues.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy
