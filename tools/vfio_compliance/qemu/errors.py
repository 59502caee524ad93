# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong with a QEMU. Each message is a clause that a report can show as it is."""

from __future__ import annotations


class QemuError(Exception):
    """The base class."""


class NotApplicable(QemuError):
    """No QEMU here is a client of the interface, or none can have the device."""


class Untried(QemuError):
    """Nothing can be said about the device: QEMU does not start, cannot be understood, or cannot have the device."""


class Failed(QemuError):
    """QEMU reports that it failed, or ended by itself."""


class Aborted(QemuError):
    """QEMU was ended by a signal, which is what it does to itself when a device is in the error state."""


class Hung(QemuError):
    """Something did not happen by its deadline."""


class Closed(QemuError):
    """The connection has ended; the code that started the process finds out why."""
