# SPDX-License-Identifier: GPL-2.0-only
"""The folder of a run as one file that can be handed over, and checked by its receiver."""
