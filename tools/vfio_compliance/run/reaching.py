# SPDX-License-Identifier: GPL-2.0-only
"""How the devices of a profile are reached."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import TypeAlias

from ..profiles import KernelGroupDevice, Profile, SecondServer, SpareInKernel, SpareServer, VfioUserDevice
from ..transport import KernelGroupSettings, Transport, VfioUserSettings, create
from .errors import Broken

#: Where a device is reached.
Where: TypeAlias = KernelGroupDevice | SpareInKernel | VfioUserDevice | SecondServer | SpareServer


def way_to(profile: Profile, where: Where, defects: Sequence[str], beside: Transport | None = None) -> Transport:
    """A way to the device, the second one or a spare one, as ``where`` says, or ``beside`` the way to another.

    Raises Broken if defects are requested that the profile has no way to switch on.
    """
    device = profile.device
    if defects and device.defects is None:
        raise Broken(
            f"{profile.path}: this device has no way to switch on defects",
            "use --defect with the reference device only",
        )
    if isinstance(where, (KernelGroupDevice, SpareInKernel)):
        return create(KernelGroupSettings(name=where.name, group=where.group, sysfs=where.sysfs), beside)
    assert isinstance(device, VfioUserDevice)
    option = device.defects.option if device.defects else None
    return create(
        VfioUserSettings(
            socket=where.socket,
            command=None if isinstance(where, SpareServer) else device.command,
            call_deadline=profile.limits.call,
            start_deadline=profile.limits.test,
            extra_arguments=tuple(str(option).replace("{name}", name) for name in defects),
        ),
        beside,
    )


def run_recovery(profile: Profile, command: Sequence[str], place: str) -> None:
    """Run a recovery command of the profile, which is at ``place``. Raises Broken."""
    try:
        subprocess.run(command, check=True, timeout=profile.limits.test, stdin=subprocess.DEVNULL, capture_output=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Broken(f"the recovery command failed: {error}", f"see {profile.where(place)}") from None


def kernel_release() -> str:
    """System name and release of the running kernel."""
    name = os.uname()
    return f"{name.sysname} {name.release}"
