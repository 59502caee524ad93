# SPDX-License-Identifier: GPL-2.0-only
"""Migration by a region of its own: version 1 of the interface, ``struct vfio_device_migration_info``."""

from __future__ import annotations

from ..device.machine import Machine
from ..options import Options
from ..parts import Made
from .late_check import BAD_DATA
from .offer_policy import PRE_COPY, SHARES, Buffers
from .region import MigrationRegion
from .section import DataSection
from .stream import Outgoing
from .strict import StrictRegion


def build(options: Options, machine: Machine, made: Made) -> MigrationRegion:
    """The region of one device, built from the classes that ``made`` returns."""
    buffers = Buffers(
        pre_copy=made(PRE_COPY[options.pre_copy]),
        whole=made(Outgoing),
        shares=SHARES[options.buffers],
        resuming=made(BAD_DATA[options.bad_data]),
    )
    kind = StrictRegion if options.undefined == "refuse" else MigrationRegion
    return made(kind)(options, machine, made(DataSection)(options), buffers)
