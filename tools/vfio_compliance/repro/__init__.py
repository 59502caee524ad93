# SPDX-License-Identifier: GPL-2.0-only
"""A recorded failure as a program of its own, in C and in Python, that needs nothing of this project."""
