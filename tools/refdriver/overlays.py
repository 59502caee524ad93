# SPDX-License-Identifier: GPL-2.0-only
"""How a good driver is broken on purpose: by classes that are laid over its own.

A defect is a name, a sentence, and a class that overrides a method of the class where a driver would go wrong. It
stands in one of the modules that ``defects`` lists. Several of them compose, since each calls ``super()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Defect(NamedTuple):
    """One way of being broken: what is wrong, and the classes that make it so."""

    says: str
    overlays: list[type]


#: All that were declared, by name.
REGISTRY: dict[str, Defect] = {}


def defect(name: str, says: str) -> Callable[[type[T]], type[T]]:
    """Declares a defect by the class that makes it."""
    assert name not in REGISTRY, name
    REGISTRY[name] = Defect(says, [])
    return part_of(name)


def part_of(*names: str) -> Callable[[type[T]], type[T]]:
    """Adds a class to defects that take more than one object to make."""

    def declare(overlay: type[T]) -> type[T]:
        for name in names:
            REGISTRY[name].overlays.append(overlay)
        return overlay

    return declare
