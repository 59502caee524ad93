# SPDX-License-Identifier: GPL-2.0-only
"""What every room may use: words, signals, processes. No word of VFIO."""
