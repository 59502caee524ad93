# SPDX-License-Identifier: GPL-2.0-only
"""What this host lacks to judge a device, or for anything else that the program can do."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

from ..common.words import columns, printable
from ..common.wrap import wrap
from ..profiles import KernelGroupDevice, VfioUserDevice
from . import kernel, programs
from .machine import Machine
from .needs import Need, State

#: How a device is reached; None: any way.
Where: TypeAlias = KernelGroupDevice | VfioUserDevice | None

_BAD = (State.MISSING, State.UNKNOWN)

#: With fewer columns than this next to a thing, its explanation goes below it.
_NARROW = 40


def needs(machine: Machine, where: Where, locks: int, driver: str = "") -> list[Need]:
    """Each thing that may be missing. A run locks up to ``locks`` bytes of memory at once.

    ``driver`` is the one that the device should have, if that is known.
    """
    other = [*programs.of_vm(machine), *programs.of_repro(machine)]
    if isinstance(where, VfioUserDevice):
        return [*programs.of_server(where), *_idle([*_of_kernel(machine, locks), *other])]
    found = _of_kernel(machine, locks)
    if where is None:
        return found + other
    # A vendor's driver brings along what it needs of vfio_pci.
    found[-1:] = [
        each if each.state is State.OK else each._replace(state=State.NOT_NEEDED, says="") for each in found[-1:]
    ]
    devices = [each for each in (where, where.second, *where.spares) if each is not None]
    found += [each for device in devices for each in kernel.device(machine, device, driver)]
    return [*dict.fromkeys(found), *_idle(other)]


def _of_kernel(machine: Machine, locks: int) -> list[Need]:
    """What every device behind the kernel needs; last, what a PCI device without a vendor driver needs."""
    release = os.uname().release
    core, type1, pci = (kernel.module(machine, name, release) for name in ("vfio", "vfio_iommu_type1", "vfio_pci"))
    # To open it would load a module that is not loaded yet.
    container = [] if core.state is State.MISSING else [kernel.container(machine)]
    return [kernel.iommu(machine), core, type1, *container, kernel.lockable(machine, locks), pci]


def _idle(found: Iterable[Need]) -> list[Need]:
    """The same things, all marked as not needed."""
    rows = {"programs for vm" if each.what.endswith(", for vm") else each.what: None for each in found}
    return [Need(what, State.NOT_NEEDED) for what in rows]


def complete(found: Iterable[Need]) -> bool:
    """Whether everything that is needed is known to be there."""
    return not any(each.state in _BAD for each in found)


def table(found: Iterable[Need], width: int) -> list[str]:
    """Each thing and its explanation, missing ones first, in lines of at most ``width`` columns; then a summary."""
    order = sorted(found, key=lambda each: [State.MISSING, State.UNKNOWN, State.OK, State.NOT_NEEDED].index(each.state))
    starts = columns([[printable(each.what), each.state.value, "|"] for each in order], ())
    lines: list[str] = []
    for start, each in zip(starts, order, strict=True):
        start, says = start[:-1], printable(each.says)
        if width - len(start) < _NARROW and says:
            lines += [start.rstrip(), *wrap("  ", says, width)]
        else:
            lines += [line.rstrip() for line in wrap(start, says, width)]
    return [*lines, "", _summary([each.state for each in order])]


def _summary(states: list[State]) -> str:
    lacking = [f"{number} {state.value}" for state in _BAD if (number := states.count(state))]
    return f"This host lacks something: {', '.join(lacking)}" if lacking else "Nothing is missing"
