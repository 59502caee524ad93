# SPDX-License-Identifier: GPL-2.0-only
"""The part that runs inside the virtual machine; it needs only Python, mount and kmod."""
