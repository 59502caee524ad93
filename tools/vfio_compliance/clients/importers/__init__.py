# SPDX-License-Identifier: GPL-2.0-only
"""Traces made from other tools' recordings of a client: strace, and QEMU's own trace events."""
