# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's IOMMU container does for its devices: guest memory, its dirty pages, and commands."""
