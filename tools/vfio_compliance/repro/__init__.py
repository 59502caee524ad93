# SPDX-License-Identifier: GPL-2.0-only
"""A recorded failure as a separate program, in C and in Python, that does not need this project."""
