# SPDX-License-Identifier: GPL-2.0-only
"""The ways in which migration can be broken on purpose."""
