# SPDX-License-Identifier: GPL-2.0-only
"""The ways in which the device can be broken on purpose, however it is migrated."""
