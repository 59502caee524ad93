# SPDX-License-Identifier: GPL-2.0-only
"""All of version 1 of the migration interface."""
