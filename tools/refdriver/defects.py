# SPDX-License-Identifier: GPL-2.0-only
"""The ways in which the driver can be broken on purpose, one rule each: the modules that define them, in order.

The kernel module of the same device has the same names, except for what the kernel itself does for its drivers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import TypeVar, cast

from .overlays import REGISTRY
from .parts import Made

T = TypeVar("T")

MODULES = (
    "migration_v1.defects.finding",
    "migration_v1.defects.header",
    "migration_v1.defects.state",
    "migration_v1.defects.life",
    "migration_v1.defects.running",
    "migration_v1.defects.transitions",
    "migration_v1.defects.saving",
    "migration_v1.defects.offering",
    "migration_v1.defects.resuming",
    "migration_v1.defects.fields",
    "migration_v1.defects.section",
    "migration_v1.defects.sessions",
    "migration_v1.defects.interrupted",
    "migration_v1.defects.faults",
    "device.defects.working",
    # The module has no interrupts.
    "device.defects.interrupts",
    # A kernel does for its drivers what these break, so the module does not have them.
    "device.defects.information",
    "container.defects.information",
    "container.defects.operations",
    "container.defects.tracking",
    "container.defects.queries",
    "container.defects.bitmaps",
    "container.defects.recording",
    "container.defects.unmapping",
    "container.defects.users",
    "container.defects.spans",
    "container.defects.neighbours",
    "device.defects.streaming",
    "migration_v1.defects.tracking",
)
for _module in MODULES:
    import_module(f".{_module}", __package__)

#: What each of them does, in one sentence, by name.
DEFECTS: dict[str, str] = {name: defect.says for name, defect in REGISTRY.items()}


def broken(names: Collection[str]) -> Made:
    """Returns the classes of a driver with these defects; a class that no defect changes stays itself."""
    chosen = [overlay for name, defect in REGISTRY.items() if name in names for overlay in defect.overlays]
    overlays = list(dict.fromkeys(chosen))

    def made(good: type[T], /) -> type[T]:
        about = [overlay for overlay in overlays if _is_about(overlay, good)]
        # A base class is part of its subclass already; naming it first would contradict their order.
        tops = [one for one in about if not any(one is not other and issubclass(other, one) for other in about)]
        return cast(type[T], type(good.__name__, (*tops, good), {})) if tops else good

    return made


def _is_about(overlay: type, good: type) -> bool:
    """Whether an overlay was made for a class or for one of its bases."""
    return bool({*overlay.__mro__} & {*good.__mro__} - {object})


def unknown_defects(names: Iterable[str]) -> list[str]:
    """One line for each name that is not a defect, with the closest name that is."""
    lines = []
    for name in names:
        if name not in DEFECTS:
            near = get_close_matches(name, DEFECTS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; --list-defects lists them all"
            lines.append(f"no defect is called {name!r}{hint}")
    return lines
