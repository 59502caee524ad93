# SPDX-License-Identifier: GPL-2.0-only
"""Saved states of devices as files: the format, and what is done to a device to save and to restore one."""
