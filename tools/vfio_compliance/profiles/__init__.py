# SPDX-License-Identifier: GPL-2.0-only
"""Device profiles: what a device is, how to reach it, what it claims, and how to make it do something."""

from vfio_compliance.profiles.claims import Claims
from vfio_compliance.profiles.device import (
    KernelDefects,
    KernelGroupDevice,
    SecondInKernel,
    SecondServer,
    ServerDefects,
    SpareInKernel,
    SpareServer,
    VfioUserDevice,
)
from vfio_compliance.profiles.document import Place, Problem, ProfileError
from vfio_compliance.profiles.kinds import duration
from vfio_compliance.profiles.loader import load
from vfio_compliance.profiles.profile import Limits, Profile, Section, Skip, Waiver, profile_format
from vfio_compliance.profiles.steps import (
    Dirty,
    Dma,
    MapSection,
    Read,
    Running,
    Setup,
    SetupStep,
    Step,
    Stimulus,
    VisibleState,
    Wait,
    Write,
    programs,
)

__all__ = [
    "Claims",
    "Dirty",
    "Dma",
    "KernelDefects",
    "KernelGroupDevice",
    "Limits",
    "MapSection",
    "Place",
    "Problem",
    "Profile",
    "ProfileError",
    "Read",
    "Running",
    "SecondInKernel",
    "SecondServer",
    "Section",
    "ServerDefects",
    "Setup",
    "SetupStep",
    "Skip",
    "SpareInKernel",
    "SpareServer",
    "Step",
    "Stimulus",
    "VfioUserDevice",
    "VisibleState",
    "Wait",
    "Waiver",
    "Write",
    "duration",
    "load",
    "profile_format",
    "programs",
]
