# SPDX-License-Identifier: GPL-2.0-only
"""The ways in which the container can be broken on purpose: what a kernel does for its drivers."""
