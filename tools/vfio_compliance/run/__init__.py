# SPDX-License-Identifier: GPL-2.0-only
"""One open device: how it is brought to a known state, made to act, and judged."""
