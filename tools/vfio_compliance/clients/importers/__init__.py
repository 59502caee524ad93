# SPDX-License-Identifier: GPL-2.0-only
"""Traces made from what other tools recorded of a client: strace, and QEMU's own trace events."""
