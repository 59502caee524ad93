# SPDX-License-Identifier: GPL-2.0-only
"""Conformance suite for Linux VFIO device migration."""

__version__ = "0.1.0"
