# SPDX-License-Identifier: GPL-2.0-only
"""What every room may use: lines of text, suggestions, signals, processes. No word of VFIO."""
