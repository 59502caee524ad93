# SPDX-License-Identifier: GPL-2.0-only
"""Names of what belongs to a run: files in its folder, facts of its environment."""

from __future__ import annotations

from typing import Final

#: Copies of profile, plan and waivers as the run began with them, and the configuration of the kernel.
INPUTS: Final = "inputs"

KERNEL_CONFIG: Final = "kernel-config"
#: The fact of the environment that has its digest.
KERNEL_CONFIG_DIGEST: Final = "kernel config sha256"

#: The fact of the environment with the words that, put before a command, run it where the run was made: in a guest.
RERUN_BY: Final = "rerun by"

#: The beginning of the name of each saved report.
REPORT: Final = "report."
