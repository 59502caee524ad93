# SPDX-License-Identifier: GPL-2.0-only
"""The plan that a guest carries out."""

import json
import os
import shlex
import site
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfio_compliance.common.project import PROJECT, cache
from vfio_compliance.vm import boot
from vfio_compliance.vm.orders import Given
from vfio_compliance.watch.symbols import KERNEL

_MODULES = ("vfio", "vfio_iommu_type1", "vfio_pci")


@dataclass(frozen=True)
class Plan:
    """The part of the plan that all guests of a kernel share."""

    #: The kernel with its debug information; None if it was not built here.
    vmlinux: Path | None
    #: The folder that a guest shares with the host.
    folder: Path
    #: The user's modules, and the reference driver, None for none.
    own: Sequence[Mapping[str, Any]]
    reference: Given | None
    #: Shell commands that prepare devices.
    setup: Sequence[str]
    #: The command line for another such guest.
    call: Sequence[str]

    def of(self, commands: Sequence[Sequence[str]], dmesg: Path) -> dict[str, Any]:
        """For one guest: its commands, and the file for its kernel's log."""
        reference = [str(self.reference.path), *self.reference.parameters] if self.reference else []
        return {
            "environment": self._environment(),
            "modprobe": _MODULES,
            "own": list(self.own),
            "pci": boot.PCI_DEVICES,
            "reference": reference,
            "setup": list(self.setup),
            "commands": [list(command) for command in commands],
            "cwd": str(PROJECT),
            "keep": str(self.folder),
            "dmesg": str(dmesg),
        }

    def files(self) -> dict[str, Path]:
        """The file of each module that does not come with the kernel, by name."""
        files = {own["name"]: Path(own["path"]) for own in self.own}
        return files | ({self.reference.path.stem: self.reference.path} if self.reference else {})

    def debug_files(self) -> dict[str, Path]:
        """The same, and the kernel's file."""
        return self.files() | ({KERNEL: self.vmlinux} if self.vmlinux else {})

    def _environment(self) -> dict[str, str]:
        # Packages installed for one user: in a guest, root has a different home.
        own = site.getuserbase()
        path = os.pathsep.join([str(Path(sys.executable).parent), f"{own}/bin", "/usr/local/sbin", "/usr/local/bin"])
        path += ":/usr/sbin:/usr/bin:/sbin:/bin"
        columns = str(os.get_terminal_size().columns) if sys.stdout.isatty() else os.environ.get("COLUMNS", "100")
        kept = {word: os.environ[word] for word in ("PYTHONPATH", "TERM", "NO_COLOR") if word in os.environ}
        return {
            **kept,
            "PATH": path,
            "COLUMNS": columns,
            "LC_ALL": "C.UTF-8",
            "PYTHONUSERBASE": own,
            "XDG_CACHE_HOME": str(cache().parent),
            "PYTHONUNBUFFERED": "1",
            "VFIO_COMPLIANCE_RESULTS": str(self.folder),
            "VFIO_COMPLIANCE_RERUN": shlex.join([*self.call, "--"]),
            "VFIO_COMPLIANCE_MODULES": json.dumps({module: str(path) for module, path in self.files().items()}),
            "VFIO_DEBUG_INFO": os.pathsep.join(map(str, self.debug_files().values())),
        }
