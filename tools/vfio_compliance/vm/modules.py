# SPDX-License-Identifier: GPL-2.0-only
"""Checks, before anything is booted, that the user's modules are modules for this kernel."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vfio_compliance.common.kernel_modules import kernel_name, name_of
from vfio_compliance.vm import host
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.kernels import Kernel
from vfio_compliance.vm.orders import Given


def own(given: Sequence[Given], kernel: Kernel) -> list[dict[str, Any]]:
    """For the guest: each one's file, name, parameters and dependencies. Raises VmError for one that cannot be loaded.

    A module that replaces one of the kernel's has its name.
    """
    found: list[dict[str, Any]] = []
    for each in given:
        path = each.path.absolute()
        about = {field: _asked(path, field) for field in ("name", "vermagic", "depends", "parm")}
        name = kernel_name(about["name"]) or name_of(path.name)
        magic = about["vermagic"]
        if not magic:
            raise VmError(f"{path} is not a kernel module: it does not say which kernel it was built for")
        release = magic.split()[0]
        if kernel.release and release != kernel.release:
            raise VmError(f"{path} was built for {release}, and this kernel is {kernel.release}: {_remedy(kernel)}")
        known = {line.partition(":")[0] for line in about["parm"].splitlines()}
        for parameter in each.parameters:
            word = kernel_name(parameter.partition("=")[0])
            # dyndbg belongs to the kernel, and modules do not list it.
            if word not in {kernel_name(one) for one in known} and word != "dyndbg":
                names = ", ".join(sorted(known)) or "none"
                raise VmError(f"{path} has no parameter {word}; it has: {names}")
        if name in {one["name"] for one in found}:
            raise VmError(f"{path}: another module {name} is given as well")
        needs = [kernel_name(need) for need in about["depends"].split(",") if need]
        found.append({"path": str(path), "name": name, "parameters": list(each.parameters), "needs": needs})
    return found


def _asked(path: Path, field: str) -> str:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise VmError(f"{path}: {error.strerror}") from None
    done = subprocess.run(
        [host.which("modinfo") or "modinfo", "-F", field, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise VmError(f"{path} is not a kernel module", done.stderr.strip())
    return done.stdout.strip()


def _remedy(kernel: Kernel) -> str:
    if kernel.headers:
        return f"build it with make -C {kernel.headers} M=$PWD modules"
    return "build it against this kernel, or name the one that it was built for"
