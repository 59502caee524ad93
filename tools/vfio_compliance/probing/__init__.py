# SPDX-License-Identifier: GPL-2.0-only
"""A first profile from a live device: what can be seen without changing it, and blanks for its user to fill in."""
