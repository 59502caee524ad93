# SPDX-License-Identifier: GPL-2.0-only
"""What ends a run, or the test process that carries it out."""

from __future__ import annotations


class Broken(Exception):
    """The run cannot start or continue, for a reason other than a broken rule; ``remedy`` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


class Lost(Exception):
    """This process can no longer reach the device; another one may, by a remaining way."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ProfileFault(Exception):
    """Something in the profile cannot be done, for a reason other than the device; ``remedy`` says what to do.

    The present case is not judged, and the run continues.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy
