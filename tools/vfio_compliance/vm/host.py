# SPDX-License-Identifier: GPL-2.0-only
"""What the host must bring: tools, and hardware virtualisation if it really works."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

_PACKAGES = {
    "vng": "pip install 'vfio_compliance[vm]'",
    "qemu-system-x86_64": "apt-get install qemu-system-x86",
    "busybox": "apt-get install busybox-static",
    "depmod": "apt-get install kmod",
    "udevadm": "apt-get install udev",
    "strings": "apt-get install binutils",
    "timeout": "apt-get install coreutils",
    "apt-get": "apt-get is Debian's: use a Debian host, or --kernel PATH",
    "apt-cache": "apt-cache is Debian's: use a Debian host, or --kernel PATH",
    "dpkg": "apt-get install dpkg",
    "gcc": "apt-get install gcc",
    "make": "apt-get install make",
}
BOOT = ("vng", "qemu-system-x86_64", "busybox", "depmod", "udevadm", "strings", "timeout")
FETCH = ("apt-get", "apt-cache", "dpkg")
BUILD = ("gcc", "make")

# Sixteen bytes that a BIOS will boot: they tell QEMU's exit port 16, and the process ends with 2 * 16 + 1.
_PROBE_CODE = bytes.fromhex("baf400b010eeebfe")
_PROBE_EXIT = 33
_PROBE_SECONDS = 3.0


def search_path() -> str:
    """PATH with this Python's own folder first, and with the system folders that Debian hides from users."""
    own = str(Path(sys.executable).parent)
    return os.pathsep.join([own, os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def which(tool: str) -> str | None:
    """Where a tool lies on ``search_path``."""
    return shutil.which(tool, path=search_path())


def missing(tools: Iterable[str], find: Callable[[str], str | None] = which) -> list[str]:
    """One line for each tool that is not there, saying what to install."""
    lines = [f"{tool} is missing: {_PACKAGES[tool]}" for tool in tools if find(tool) is None]
    if platform.machine() != "x86_64":
        lines.append(f"this machine is {platform.machine()}: the virtual machine is x86-64 only")
    return lines


def why_no_kvm(device: Path = Path("/dev/kvm")) -> str:
    """Nothing when KVM runs a guest here, else the reason.

    A device node that opens proves little (nested hosts offer one that cannot run a guest), so a boot
    sector of a few bytes is run on the CPU model that virtme-ng uses.
    """
    if not device.exists():
        return "no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by this user (group kvm)"
    with tempfile.TemporaryDirectory() as folder:
        sector = Path(folder) / "probe.img"
        sector.write_bytes(_PROBE_CODE.ljust(510, b"\0") + b"\x55\xaa")
        command = [
            "qemu-system-x86_64",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-m",
            "64",
            "-nodefaults",
            "-no-reboot",
        ]
        command += ["-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        command += ["-drive", f"file={sector},format=raw,if=floppy"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"/dev/kvm runs a probe guest too slowly (not done after {_PROBE_SECONDS:.0f} s)"
    if done.returncode == _PROBE_EXIT:
        return ""
    said = next((line for line in done.stderr.splitlines() if "error" in line), "the probe guest did not run")
    return "/dev/kvm runs no guest: " + said.split("error: ")[-1]
