# SPDX-License-Identifier: GPL-2.0-only
"""A first profile from a live device: what can be seen of it without changing it, and what its user has to add."""
