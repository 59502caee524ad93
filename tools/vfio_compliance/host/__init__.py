# SPDX-License-Identifier: GPL-2.0-only
"""The host of a device: which driver a device has, and what the host lacks."""
