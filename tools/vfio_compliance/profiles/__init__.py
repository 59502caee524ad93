# SPDX-License-Identifier: GPL-2.0-only
"""Device profiles: what a device is, how to reach it, what it claims, and how to make it do something."""

from vfio_compliance.profiles.device import (
    KernelDefects,
    KernelGroupDevice,
    SecondInKernel,
    SecondServer,
    ServerDefects,
    VfioUserDevice,
)
from vfio_compliance.profiles.document import Place, Problem, ProfileError
from vfio_compliance.profiles.kinds import duration
from vfio_compliance.profiles.loader import load
from vfio_compliance.profiles.profile import DRAWN, STATES, Claims, Limits, Profile, State, Waiver
from vfio_compliance.profiles.steps import Dirty, Dma, Read, Running, Step, Stimulus, VisibleState, Wait, Write

__all__ = [
    "DRAWN",
    "STATES",
    "Claims",
    "Dirty",
    "Dma",
    "KernelDefects",
    "KernelGroupDevice",
    "Limits",
    "Place",
    "Problem",
    "Profile",
    "ProfileError",
    "Read",
    "Running",
    "SecondInKernel",
    "SecondServer",
    "ServerDefects",
    "State",
    "Step",
    "Stimulus",
    "VfioUserDevice",
    "VisibleState",
    "Wait",
    "Waiver",
    "Write",
    "duration",
    "load",
]
