# SPDX-License-Identifier: GPL-2.0-only
"""The classes of which a driver is built."""

from __future__ import annotations

from typing import Protocol, TypeVar

T = TypeVar("T")


class Made(Protocol):
    """Returns the class that is used for one of this package: that class, or a subclass."""

    def __call__(self, kind: type[T], /) -> type[T]:
        """The class to instantiate instead of ``kind``."""


def as_it_is(kind: type[T], /) -> type[T]:
    """The class itself."""
    return kind
