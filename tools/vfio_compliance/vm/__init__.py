# SPDX-License-Identifier: GPL-2.0-only
"""Runs the suite on real kernels in virtual machines: fetch, unpack, build the module, boot, report."""
