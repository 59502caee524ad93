# SPDX-License-Identifier: GPL-2.0-only
"""Builds the reference vendor driver's kernel module against a kernel's headers, with the host's compiler."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from vfio_compliance.vm.cache import Cache
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.kernels import Kernel

NAME = "vfio_refdriver"
_SOURCES = ("*.c", "*.h", "Kbuild", "Makefile")


#: Names in the kernel's <linux/vfio.h> that the module needs, and names of a core that it does not support.
_NEEDED = ("vfio_alloc_device", "vfio_register_emulated_iommu_dev")
_FOREIGN = ("get_region_info_caps",)


def unfit(kernel: Kernel) -> str:
    """Why the module cannot be built for this kernel, or nothing if it is worth trying.

    The kernel's own header decides, not its version. If it is not found, the compiler decides.
    """
    text = _vfio_header(kernel.headers) if kernel.headers else ""
    if not text:
        return ""
    if missing := [name for name in _NEEDED if not re.search(rf"\b{name}\b", text)]:
        return f"this kernel's VFIO core has no {missing[0]} yet"
    if foreign := [name for name in _FOREIGN if re.search(rf"\b{name}\b", text)]:
        return f"this kernel's VFIO core has {foreign[0]}, which the module does not support"
    return ""


def _vfio_header(headers: Path) -> str:
    """The kernel's <linux/vfio.h>: in the tree itself, or in the part of Debian's headers that all builds share."""
    name = "include/linux/vfio.h"
    shared = headers.parent / (re.sub(r"-[a-z0-9]+$", "", headers.name) + "-common")
    return next((place.read_text() for tree in (headers, shared) if (place := tree / name).is_file()), "")


def key(sources: Path, kernel: Kernel) -> str:
    """What a build depends on, as a short name: the sources, the kernel, the compiler."""
    digest = hashlib.sha256()
    for file in _files(sources):
        digest.update(f"{file.relative_to(sources)}\0".encode() + file.read_bytes() + b"\0")
    compiler = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, check=False).stdout
    digest.update(f"{kernel.release}\0".encode() + compiler)
    if kernel.headers:
        # Two builds of a user's tree may have the same release: the symbol table distinguishes them.
        symbols = kernel.headers / "Module.symvers"
        digest.update(str(kernel.headers).encode() + (symbols.read_bytes() if symbols.is_file() else b""))
    return f"{kernel.release}-{digest.hexdigest()[:16]}"


def _files(sources: Path) -> list[Path]:
    return sorted({f for pattern in _SOURCES for f in sources.rglob(pattern) if not f.name.endswith(".mod.c")})


def built(cache: Cache, sources: Path, kernel: Kernel) -> bool:
    """Whether the cache already holds this build."""
    return cache.path("modules", key(sources, kernel)).is_dir()


def build(cache: Cache, sources: Path, kernel: Kernel) -> Path:
    """The module file for a kernel, built unless the cache has it.

    Raises VmError with the compiler's complaints if it does not build. Call it while the cache is locked.
    """
    if not (sources / "Kbuild").is_file() and not (sources / "Makefile").is_file():
        raise VmError(f"{sources} holds no module to build (no Kbuild, no Makefile)")

    def make(folder: Path) -> None:
        work = folder / "build"
        for file in _files(sources):
            copy = work / file.relative_to(sources)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        # Type information for modules would need pahole, and nothing here reads it. Paths are those of the final place.
        command = [
            "make",
            "-C",
            str(kernel.headers),
            f"M={work}",
            "CONFIG_DEBUG_INFO_BTF_MODULES=",
            f"KCFLAGS=-ffile-prefix-map={work}={sources}",
            "modules",
        ]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise VmError(f"{NAME} does not build against {kernel.release}", _complaints(done.stdout))
        if not (work / f"{NAME}.ko").is_file():
            raise VmError(f"the build against {kernel.release} produced no {NAME}.ko")
        (work / f"{NAME}.ko").rename(folder / f"{NAME}.ko")
        shutil.rmtree(work)

    return cache.entry("modules", key(sources, kernel), make) / f"{NAME}.ko"


def _complaints(output: str) -> str:
    lines = output.splitlines()
    errors = [line for line in lines if "error" in line.lower() or "No such file" in line]
    return "\n".join((errors or lines)[:12])
