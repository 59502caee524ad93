# SPDX-License-Identifier: GPL-2.0-only
"""The part that runs inside the virtual machine: loads the modules, runs the commands, reads the kernel log.

It is told what to do by a JSON file and reports on its standard output, between the output of the commands:
each report is one line that begins with ``MARK``. It needs nothing but Python, mount and kmod.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

MARK = "\x1evm "
SHARE = "host_root"  # the tag of the host's root as a second 9p share
_DEVICES = 4  # two that a run opens together, and two to continue with when a call never returns
_DEVICE = Path(f"/sys/bus/platform/devices/vfio_refdriver.{_DEVICES - 1}")  # the last that comes
_PCI = Path("/sys/bus/pci")
_DEVICE_SECONDS = 15.0
_NO_SUCH_COMMAND = 127

#: Seconds for the last of a command's output to be copied.
_DRAIN = 5.0


def tell(event: str, **facts: Any) -> None:
    """Reports to the host."""
    sys.stdout.write(f"{MARK}{json.dumps({'event': event, **facts})}\n")
    sys.stdout.flush()


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _do(program: list[str]) -> str:
    """Runs a program; gives its complaint, or nothing."""
    try:
        done = subprocess.run(program, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return (done.stderr.strip() or f"exit {done.returncode}") if done.returncode else ""


def _device_ready(device: Path) -> bool:
    group = device / "iommu_group"
    return group.exists() and Path("/dev/vfio", os.path.basename(os.readlink(group))).exists()


def _enter_cached_root(keep: str) -> str:
    """Moves this process to a root that caches the host's files; gives a complaint, or nothing.

    The root that virtme-ng mounts asks the host again at every look at a file, which makes starting Python under
    emulation several times slower. Here the files are taken not to change while the guest runs, and all of
    the root may be written, into memory. ``keep`` is the folder that stays shared with the host.
    """
    lower, upper, root = "/run/vm/host", "/run/vm/changes", "/run/vm/root"
    for folder in (f"{upper}/upper", f"{upper}/work"):
        os.makedirs(folder, exist_ok=True)
    cached = "trans=virtio,version=9p2000.L,access=any,msize=512000,cache=loose,ro"
    # Real paths, for a link that begins at / would lead out of the new root. A host may have no /lib/modules, and a
    # kernel no modules: what is missing is made in the guest's memory, never on the host.
    places = [os.path.realpath(place) for place in ("/dev", "/proc", "/sys", "/lib/modules") if os.path.isdir(place)]
    layers = f"lowerdir={lower},upperdir={upper}/upper,workdir={upper}/work"
    mounts = [
        ["-t", "9p", "-o", cached, SHARE, lower],
        ["-t", "overlay", "-o", layers, "overlay", root],
        *(["--rbind", place, root + place] for place in places),
        ["-t", "tmpfs", "tmpfs", f"{root}/run"],
        ["--bind", keep, root + os.path.realpath(keep)],
    ]
    for arguments in mounts:
        os.makedirs(arguments[-1], exist_ok=True)
        complaint = _do(["mount", *arguments])
        if complaint:
            return complaint
    os.chroot(root)
    os.chdir("/")
    return ""


def _load_reference(module: str) -> str:
    """Loads the reference driver and waits until its devices can be opened; gives a complaint, or nothing."""
    complaint = _do(["insmod", module, f"devices={_DEVICES}"])
    if complaint:
        return complaint
    if not _wait(lambda: _device_ready(_DEVICE), _DEVICE_SECONDS):
        return f"loaded, but no /dev/vfio group of {_DEVICE.name} came within {_DEVICE_SECONDS:.0f} s"
    return ""


def _give_to_vfio(address: str) -> str:
    """Binds a PCI device to vfio-pci and waits until it can be opened; gives a complaint, or nothing."""
    device = _PCI / "devices" / address
    if not (device / "iommu_group").exists():
        return f"{address} has no IOMMU group: this kernel does not use the IOMMU"
    try:
        (device / "driver_override").write_text("vfio-pci")
        (_PCI / "drivers_probe").write_text(address)
    except OSError as error:
        return f"{address} cannot be bound to vfio-pci: {error}"
    if not _wait(lambda: _device_ready(device), _DEVICE_SECONDS):
        return f"no /dev/vfio group of {address} came within {_DEVICE_SECONDS:.0f} s: is there a driver vfio-pci?"
    return ""


def _taint() -> int:
    return int(Path("/proc/sys/kernel/tainted").read_text())


def kernel_records() -> list[tuple[int, str]]:
    """The kernel's log as (sequence number, ``[seconds] text``)."""
    records: list[tuple[int, str]] = []
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                head, _, text = os.read(log, 8192).decode(errors="replace").partition(";")
            except BlockingIOError:
                return records
            except BrokenPipeError:
                continue  # older records were overwritten: the next read goes on with the oldest one left
            _, number, microseconds, *_ = head.split(",")
            first = text.splitlines()[0] if text else ""
            records.append((int(number), f"[{int(microseconds) / 1e6:12.6f}] {first}"))
    finally:
        os.close(log)


def _run(command: list[str], cwd: str) -> int:
    pipe, stdout = subprocess.PIPE, subprocess.STDOUT
    try:
        child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=pipe, stderr=stdout)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        return _NO_SUCH_COMMAND
    copying = threading.Thread(target=_copy, args=(child.stdout,), daemon=True)
    copying.start()
    code = child.wait()
    copying.join(_DRAIN)  # whoever the command left running may hold its end open
    return code if code >= 0 else 128 - code


def _copy(source: IO[bytes]) -> None:
    """Copy all to standard output. Its port takes at most 32 KiB of a write; Python, unbuffered, drops the rest."""
    with source:
        while data := os.read(source.fileno(), 1 << 16):
            while data:
                data = data[os.write(1, data) :]


def main(plan_file: str) -> int:
    """Carries out a plan; gives 0 whatever the commands gave, for their exit codes were reported."""
    plan = json.loads(Path(plan_file).read_text())
    os.environ.update(plan["environment"])
    tell("up", release=os.uname().release)
    complaint = _enter_cached_root(plan["keep"])
    if complaint:
        tell("note", text=f"the host's files are not cached, which is slow: {complaint}")
    for name in plan["modprobe"]:
        complaint = _do([shutil.which("modprobe") or "/sbin/modprobe", name])
        if complaint:
            tell("note", text=complaint)
    for address in plan["pci"]:
        complaint = _give_to_vfio(address)
        if complaint:
            tell("note", text=complaint)
    before = _taint()
    start = max((number for number, _ in kernel_records()), default=-1)
    if plan["module"]:
        complaint = _load_reference(plan["module"])
        if complaint:
            tell("broken", text=f"{Path(plan['module']).name}: {complaint}")
    else:
        complaint = ""
    tell("ready")
    if not complaint:
        for index, command in enumerate(plan["commands"]):
            tell("start", index=index)
            tell("end", index=index, exit=_run(command, plan["cwd"]))
    records = kernel_records()
    Path(plan["dmesg"]).write_text("".join(f"{line}\n" for _, line in records))
    tell("log", since=[line for number, line in records if number > start], before=before, after=_taint())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
