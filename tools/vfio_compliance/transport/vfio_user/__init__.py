# SPDX-License-Identifier: GPL-2.0-only
"""The vfio-user transport: a device that is a program behind a UNIX socket."""

from .client import VfioUser, VfioUserSettings

__all__ = ["VfioUser", "VfioUserSettings"]
