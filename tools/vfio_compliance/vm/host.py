# SPDX-License-Identifier: GPL-2.0-only
"""What the host must have: tools, and a /dev/kvm if guests are to run on KVM."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from vfio_compliance.common.project import pip

_PACKAGES = {
    "vng": pip("vm"),
    "qemu-system-x86_64": "apt-get install qemu-system-x86",
    "busybox": "apt-get install busybox-static",
    "depmod": "apt-get install kmod",
    "udevadm": "apt-get install udev",
    "strings": "apt-get install binutils",
    "timeout": "apt-get install coreutils",
    "apt-get": "apt-get is part of Debian: use a Debian host, or --kernel PATH",
    "apt-cache": "apt-cache is part of Debian: use a Debian host, or --kernel PATH",
    "dpkg": "apt-get install dpkg",
    "gcc": "apt-get install gcc",
    "make": "apt-get install make",
}
BOOT = ("vng", "qemu-system-x86_64", "busybox", "depmod", "udevadm", "strings", "timeout")
FETCH = ("apt-get", "apt-cache", "dpkg")
BUILD = ("gcc", "make")


def search_path() -> str:
    """PATH with this Python's own folder first, and the system folders that Debian leaves out for users."""
    own = str(Path(sys.executable).parent)
    return os.pathsep.join([own, os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def which(tool: str) -> str | None:
    """The path of a tool on ``search_path``."""
    return shutil.which(tool, path=search_path())


def remedy(tool: str, *, debian: bool = True) -> str:
    """How to get a tool: the command on Debian, a plain sentence elsewhere."""
    known = _PACKAGES[tool]
    return known if debian or known.startswith("pip") else f"install the program {tool}"


def missing(tools: Iterable[str], find: Callable[[str], str | None] = which) -> list[str]:
    """A line for each missing tool, with what to install."""
    lines = [f"{tool} is missing: {remedy(tool)}" for tool in tools if find(tool) is None]
    if platform.machine() != "x86_64":
        lines.append(f"this machine is {platform.machine()}: the virtual machine is x86-64 only")
    return lines


def why_no_kvm(device: Path = Path("/dev/kvm")) -> str:
    """Why KVM need not be tried, or nothing. Only a kernel that boots on KVM shows that it is usable."""
    if not device.exists():
        return f"there is no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"this user may not open {device} (group kvm)"
    return ""
