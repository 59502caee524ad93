# SPDX-License-Identifier: GPL-2.0-only
"""How calls reach a driver: through the kernel's group interface or a vfio-user socket, always traced."""
from .base import *
from .base import Call
from .vfio_user.client import VfioUser, VfioUserSettings
class KernelGroupSettings: pass
def create(settings): return VfioUser(settings)
