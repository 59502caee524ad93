# SPDX-License-Identifier: GPL-2.0-only
"""What every package may use: lines of text, suggestions, signals, processes. Nothing about VFIO."""
