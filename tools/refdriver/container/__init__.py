# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's IOMMU container does for its devices: guest memory, which of its pages are dirty, and commands."""
