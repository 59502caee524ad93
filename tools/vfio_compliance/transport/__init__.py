# SPDX-License-Identifier: GPL-2.0-only
"""How calls reach a driver: through the kernel's group interface or a vfio-user socket, always traced."""
