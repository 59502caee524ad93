# SPDX-License-Identifier: GPL-2.0-only
"""What the interface says a device may do, as pure data and functions: nothing here touches a device."""
