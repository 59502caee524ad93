# SPDX-License-Identifier: GPL-2.0-only
"""Saved states of devices as files: the format, and how a state is saved from a device and restored to one."""
