# SPDX-License-Identifier: GPL-2.0-only
"""The part that runs inside the virtual machine; it needs nothing but Python, mount and kmod."""
