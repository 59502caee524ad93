# SPDX-License-Identifier: GPL-2.0-only
"""Traces of clients, recorded here or elsewhere: their format, and `vfio-compliance judge`."""
