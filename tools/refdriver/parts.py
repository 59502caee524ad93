# SPDX-License-Identifier: GPL-2.0-only
"""Of which classes a driver is built."""

from __future__ import annotations

from typing import Protocol, TypeVar

T = TypeVar("T")


class Made(Protocol):
    """Gives the class that is used for one of this package: that one, or one that comes from it."""

    def __call__(self, kind: type[T], /) -> type[T]:
        """The class to make objects of, where ``kind`` is asked for."""


def as_it_is(kind: type[T], /) -> type[T]:
    """Each class itself."""
    return kind
