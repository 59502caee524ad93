# SPDX-License-Identifier: GPL-2.0-only
"""How it can go wrong with a QEMU. Each message is a clause that a report can show as it is."""

from __future__ import annotations


class QemuError(Exception):
    """Anything of the kind."""


class NotApplicable(QemuError):
    """There is no QEMU here that is a client of the interface, or none that could have the device."""


class Untried(QemuError):
    """Nothing can be said of the device: QEMU does not start, is not understood, or cannot have the device."""


class Failed(QemuError):
    """QEMU says that it failed, or ended by itself."""


class Aborted(QemuError):
    """QEMU was ended by a signal, which is what it does to itself when a device is in the error state."""


class Hung(QemuError):
    """Something did not happen by its deadline."""


class Closed(QemuError):
    """The connection has ended; whoever started the process knows why."""
