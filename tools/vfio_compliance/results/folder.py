# SPDX-License-Identifier: GPL-2.0-only
"""The names in the folder of a run, besides the journal and the data."""

from __future__ import annotations

from typing import Final

#: Copies of profile, plan and waivers as the run began with them, and the configuration of the kernel.
INPUTS: Final = "inputs"

KERNEL_CONFIG: Final = "kernel-config"
#: The fact of the environment that has its digest.
KERNEL_CONFIG_DIGEST: Final = "kernel config sha256"

#: What the name of each saved report begins with.
REPORT: Final = "report."
