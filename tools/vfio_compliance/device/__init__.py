# SPDX-License-Identifier: GPL-2.0-only
"""One class per kernel object. Verbs raise DeviceError when the driver refuses; their ``try_`` twins return it."""

from .capability import MalformedChain
from .container import Container
from .container_info import ContainerInfo, MigrationCapability
from .device import Device
from .dirty import DirtyTracker
from .dma import DmaMap
from .errors import DeviceError, StepFailed, Unreachable
from .interrupts import Interrupts, NotEnabled
from .region import Area, Region
from .stream import Buffer, Stream

__all__ = [
    "Area",
    "Buffer",
    "Container",
    "ContainerInfo",
    "Device",
    "DeviceError",
    "DirtyTracker",
    "DmaMap",
    "Interrupts",
    "MalformedChain",
    "MigrationCapability",
    "NotEnabled",
    "Region",
    "StepFailed",
    "Stream",
    "Unreachable",
]
