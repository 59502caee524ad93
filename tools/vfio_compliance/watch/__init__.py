# SPDX-License-Identifier: GPL-2.0-only
"""Runs the suites in another process and watches it from outside: what judges a hang must not hang."""
