# SPDX-License-Identifier: GPL-2.0-only
"""One class per kernel object. Verbs raise DeviceError when the driver refuses; their ``try_`` twins return it."""

from .capability import MalformedChain
from .device import Device
from .dma import DmaMap
from .errors import DeviceError, StepFailed, Unreachable
from .migration_v1 import MigrationRegion
from .region import Area, Region
from .stream import Buffer, Stream

__all__ = [
    "Area",
    "Buffer",
    "Device",
    "DeviceError",
    "DmaMap",
    "MalformedChain",
    "MigrationRegion",
    "Region",
    "StepFailed",
    "Stream",
    "Unreachable",
]
