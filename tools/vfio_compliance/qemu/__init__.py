# SPDX-License-Identifier: GPL-2.0-only
"""A real QEMU as the client of a device: it migrates the device, and the device's state is looked at through it."""
