# SPDX-License-Identifier: GPL-2.0-only
"""Prepares a kernel for booting: Debian's, fetched and unpacked into the cache, or the user's own."""

import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vfio_compliance.vm.apt import Apt, Mirror
from vfio_compliance.vm.cache import Cache
from vfio_compliance.vm.errors import VmError
from vfio_compliance.vm.packages import closure, newest, version_key

_OTHER_RELEASES = ("trixie", "bookworm", "bullseye")
_KIND = "kernels"
_IMAGE_IN_TREE = "arch/x86/boot/bzImage"


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    ``boot`` is passed to virtme-ng, ``headers`` is the tree that modules are built against (None: none),
    ``release`` is that of ``uname -r``, if known, ``note`` a remark for the user.
    """

    label: str
    boot: Path
    headers: Path | None
    release: str
    note: str = ""

    @property
    def vmlinux(self) -> Path | None:
        """The kernel with its debug information, if it was built here."""
        path = self.headers / "vmlinux" if self.headers else None
        return path if path and path.is_file() else None


@dataclass(frozen=True)
class Found:
    """The newest kernel of a series: its release, how to fetch it (None: it is cached), remarks for the user.

    ``size`` is the size of the download, in bytes.
    """

    release: str
    fetch: Callable[[Path], object] | None = None
    size: int = 0
    note: str = ""


def find(cache: Cache, series: str) -> Found:
    """Asks the mirror for the newest release of a series; if it does not answer, the cached one is used.

    An index that is not available, as while a mirror is being updated, does not stop the search in the others.
    Raises VmError if the series is neither available nor cached. Call it while the cache is locked.
    """
    cached = [n for n in cache.names(_KIND) if newest([f"linux-image-{n}", f"linux-headers-{n}"], series)]
    fallback = max(cached, key=version_key, default=None)
    complaints: list[str] = []
    try:
        mirror = Mirror.of_host()
        for codename in (mirror.codename, *(r for r in _OTHER_RELEASES if r != mirror.codename)):
            apt = Apt(cache.root / "apt" / codename, mirror.sources(codename))
            complaint = apt.update()
            complaints += [complaint] if complaint else []
            index = apt.kernel_index()
            release = newest(index, series)
            if release in cached:
                return Found(release)
            if release and not (complaint and fallback):
                packages = closure(index, release)
                size = sum(p.size for p in packages)
                return Found(release, functools.partial(apt.download, packages), size)
        if complaints:
            raise VmError("the package mirror does not answer", complaints[0])
    except VmError as error:
        if fallback is None:
            raise VmError(f"{error.message}, and no kernel {series} is cached", error.detail) from error
        return Found(fallback, note=f"there may be a newer one: {error.message}")
    if fallback is None:
        raise VmError(f"no Debian release offers a kernel {series} with its headers")
    return Found(fallback, note="the mirror no longer offers this series")


def unpack(cache: Cache, label: str, release: str, debs: list[Path]) -> Kernel:
    """Unpacks packages into the cache, unless they are there, and returns the kernel.

    Raises VmError if a package is damaged or holds no kernel.
    """

    def make(root: Path) -> None:
        for deb in debs:
            _checked(["dpkg", "-x", str(deb), str(root)], f"{deb.name} cannot be unpacked")
        if not (root / "lib" / "modules").is_dir() and (root / "usr" / "lib" / "modules").is_dir():
            (root / "lib").symlink_to("usr/lib")
        _relocate(root, release)
        _checked(["depmod", "-b", str(root), release], f"depmod failed for {release}")
        _image(root, release)

    root = cache.entry(_KIND, release, make)
    headers = root / "usr" / "src" / f"linux-headers-{release}"
    return Kernel(label, _image(root, release), headers, release)


def _relocate(root: Path, release: str) -> None:
    """Makes the headers usable in place: their Makefile names a folder of an installed system."""
    makefile = root / "usr" / "src" / f"linux-headers-{release}" / "Makefile"
    if not makefile.is_file():
        raise VmError(f"the packages of {release} hold no headers")
    here = "$(dir $(lastword $(MAKEFILE_LIST)))../"
    makefile.write_text(re.sub(r"(?m)^include /usr/src/", lambda _: f"include {here}", makefile.read_text()))


def _image(root: Path, release: str) -> Path:
    for place in (f"boot/vmlinuz-{release}", f"usr/lib/modules/{release}/vmlinuz"):
        if (root / place).is_file():
            return root / place
    raise VmError(f"the packages of {release} hold no kernel image")


def own(path: Path, headers: Path | None) -> Kernel:
    """The user's kernel: a build tree or an image. Raises VmError if it is neither."""
    path = path.absolute()
    if path.is_dir():
        if not (path / _IMAGE_IN_TREE).is_file():
            raise VmError(f"{path} holds no {_IMAGE_IN_TREE}: build the kernel first")
        release = _tree_release(path)
        return Kernel(release or path.name, path, headers.absolute() if headers else path, release)
    if not path.is_file():
        raise VmError(f"{path}: no such kernel")
    if foreign := _foreign(path):
        raise VmError(f"{path} is {foreign}: the virtual machine boots a bzImage for x86-64")
    release = image_release(path)
    if headers:
        return Kernel(release or path.name, path, headers.absolute(), release)
    note = "a bare image: without --headers DIR the reference module cannot be built, and none is loaded"
    return Kernel(release or path.name, path, None, release, note)


def _tree_release(tree: Path) -> str:
    release = tree / "include" / "config" / "kernel.release"
    return release.read_text().strip() if release.is_file() else image_release(tree / _IMAGE_IN_TREE)


def _foreign(image: Path) -> str:
    """What a file is instead of a boot image for x86-64; empty if it is one."""
    with open(image, "rb") as file:
        head = file.read(0x8000)
    if head[0x202:0x206] == b"HdrS":
        # From protocol 2.12 on, it says whether it has a 64-bit entry point.
        new = int.from_bytes(head[0x206:0x208], "little") >= 0x20C
        return "a 32-bit kernel" if new and not head[0x236] & 1 else ""
    if head[0x38:0x3C] == b"ARM\x64":
        return "a kernel for arm64"
    if head[:4] == b"\x7fELF":
        return "an ELF file, as vmlinux is"
    if head[:2] == b"\x1f\x8b":
        return "compressed by gzip, as kernels for other machines are"
    return "not a kernel"


def image_release(image: Path) -> str:
    """The release inside an x86 boot image, or nothing. Its header (boot protocol 2.0) says where it is."""
    with open(image, "rb") as file:
        head = file.read(0x8000)
    if head[0x202:0x206] != b"HdrS":
        return ""
    start = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    words = head[start : start + 200].split(b"\0")[0].split()
    return words[0].decode("ascii", "replace") if words else ""


def _checked(command: list[str], complaint: str) -> None:
    if shutil.which(command[0]) is None:
        command = [f"/usr/sbin/{command[0]}", *command[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(complaint, done.stderr.strip())
