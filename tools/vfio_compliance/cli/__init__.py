# SPDX-License-Identifier: GPL-2.0-only
"""The command vfio-compliance: one file for each of its commands."""
