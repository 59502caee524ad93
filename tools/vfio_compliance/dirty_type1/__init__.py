# SPDX-License-Identifier: GPL-2.0-only
"""Dirty page tracking put to use: memory of a guest and what happens to it, for the suite of the same name."""
