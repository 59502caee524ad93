# SPDX-License-Identifier: GPL-2.0-only
"""How calls reach a driver: through the kernel's group interface or a vfio-user socket, always traced."""

from ..common.calls import Call
from .base import Argument, Death, Memory, Misplaced, Outcome, Pointing, Target, Transport
from .errors import CallTimeout, GivenUp, Overlong, PeerGone, ProtocolViolation, SetupError, TransportError
from .event import Event
from .guarded import GuardedBuffer
from .kernel_group import KernelGroup, KernelGroupSettings
from .trace import Counts, Tracer
from .vfio_user import VfioUser, VfioUserSettings

__all__ = [
    "Argument",
    "Call",
    "CallTimeout",
    "Counts",
    "Death",
    "Event",
    "GivenUp",
    "GuardedBuffer",
    "KernelGroup",
    "KernelGroupSettings",
    "Memory",
    "Misplaced",
    "Outcome",
    "Overlong",
    "PeerGone",
    "Pointing",
    "ProtocolViolation",
    "SetupError",
    "Target",
    "Tracer",
    "Transport",
    "TransportError",
    "VfioUser",
    "VfioUserSettings",
    "create",
]


def create(settings: KernelGroupSettings | VfioUserSettings, beside: Transport | None = None) -> Transport:
    """The transport for these settings, not open yet. Raises SetupError if they do not name a device.

    A device ``beside`` another one joins its container, if there are containers, and shares its trace.
    """
    if isinstance(settings, KernelGroupSettings):
        return KernelGroup(settings, beside=beside if isinstance(beside, KernelGroup) else None)
    return VfioUser(settings, beside)
