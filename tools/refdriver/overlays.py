# SPDX-License-Identifier: GPL-2.0-only
"""How a good driver is broken on purpose: by classes that are laid over its own.

A defect is a name, a sentence, and a class that overrides a method in which a driver could go wrong. It
is in one of the modules that ``defects`` lists. Several of them compose, because each calls ``super()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Defect(NamedTuple):
    """One way of being broken: what is wrong, and the classes that do it."""

    says: str
    overlays: list[type]


#: All declared defects, by name.
REGISTRY: dict[str, Defect] = {}


def defect(name: str, says: str) -> Callable[[type[T]], type[T]]:
    """Declares a defect by its class."""
    assert name not in REGISTRY, name
    REGISTRY[name] = Defect(says, [])
    return part_of(name)


def part_of(*names: str) -> Callable[[type[T]], type[T]]:
    """Adds a class to defects that need more than one."""

    def declare(overlay: type[T]) -> type[T]:
        for name in names:
            REGISTRY[name].overlays.append(overlay)
        return overlay

    return declare
