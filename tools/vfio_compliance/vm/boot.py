# SPDX-License-Identifier: GPL-2.0-only
"""Boots a kernel through virtme-ng, with the host's files as its root, and follows what happens inside."""

import contextlib
import json
import os
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from vfio_compliance.common import processes
from vfio_compliance.vm import guest, host
from vfio_compliance.vm.console import plain
from vfio_compliance.vm.life import Life

# Hardware that QEMU shows but nothing here uses: probing it costs an emulated guest seven seconds.
_UNUSED = (
    "kvm,kvm_amd,kvm_intel,ahci,sr_mod,cdrom,sg,i2c_i801,i801_smbus,lpc_ich,iTCO_wdt,i6300esb,pcspkr,psmouse,"
    "aesni_intel,ghash_clmulni_intel,crc32_pclmul,crct10dif_pclmul,sha512_ssse3,sha256_ssse3,sha1_ssse3,"
    "polyval_clmulni,powernow_k8,acpi_cpufreq,intel_rapl_msr,intel_rapl_common,evdev,joydev,qemu_fw_cfg"
)
# Two of QEMU's teaching devices, which do DMA, behind an IOMMU that translates and remaps interrupts. Each has a slot
# of its own, hence a group of its own, and high ones: the low ones go to whatever virtme-ng adds.
PCI_DEVICES = ("0000:00:10.0", "0000:00:11.0")
# An emulated IOMMU needs this machine and an interrupt controller that is not wholly in the kernel. virtme-ng names the
# machine in some cases only; QEMU merges all -machine options, and these come last.
_MACHINE = "-machine q35,kernel-irqchip=split,accel={}"
_IOMMU = "-device intel-iommu,intremap=on"
_TICK = 1.0  # seconds between two looks at a guest that starts
_GRACE = 5.0  # seconds between asking the virtual machine to end and killing it


@dataclass(frozen=True)
class Machine:
    """How the virtual machine is made: CPUs, memory as QEMU writes it (``1G``), KVM or emulation."""

    cpus: int
    memory: str
    kvm: bool


@dataclass
class Boot:
    """What a boot showed: its length in seconds, whether the deadline ended it, the guest's reports.

    ``stalled`` says why a guest whose life was watched did not come up.
    """

    seconds: float = 0.0
    timed_out: bool = False
    stalled: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    def last(self, event: str) -> dict[str, Any] | None:
        """The latest report of a kind."""
        return next((e for e in reversed(self.events) if e["event"] == event), None)


def command_line(boot: Path, machine: Machine, plan: Path, folder: Path, deadline: float) -> list[str]:
    """The whole call, as an argument list.

    ``timeout`` stands outside so that the machine ends even when this process is killed first.
    """
    # Without the site's packages, which the guest's part does not need, Python starts in half the time.
    script = shlex.join([sys.executable, "-I", "-S", guest.__file__, str(plan)])
    command = [
        "timeout",
        f"--kill-after={_GRACE:.0f}",
        f"{deadline + 2 * _GRACE:.0f}",
        host.which("vng") or "vng",
    ]
    command += ["--run", str(boot), "--user", "root", "--disable-microvm", "--verbose"]
    command += ["--cpus", str(machine.cpus), "--memory", machine.memory]
    # Nobody attacks an emulated CPU, and the guards against it make every call into the kernel slower.
    # With them the early check that the timer ticks through the IOMMU, which panics where the host is too busy.
    command += [] if machine.kvm else ["--disable-kvm", "--append", "mitigations=off no_timer_check"]
    # 9p is slower than virtiofs, but asks nothing of the host, which may have no virtiofsd that runs.
    command += ["--force-9p", "--append", f"modprobe.blacklist={_UNUSED}"]
    command += ["--rwdir", str(folder)]
    command += ["--append", "intel_iommu=on"]
    command += [f"--qemu-opts={' '.join(hardware(machine))}"]
    return [*command, "--", script]


def hardware(machine: Machine) -> list[str]:
    """What QEMU is asked for beside what virtme-ng asks for: the machine, the IOMMU, the devices, the host's files."""
    share = f"-fsdev local,id={guest.SHARE},path=/,security_model=none,readonly=on,multidevs=remap"
    share += f" -device virtio-9p-pci,fsdev={guest.SHARE},mount_tag={guest.SHARE}"
    pci = " ".join(f"-device edu,addr={address.rpartition(':')[2]}" for address in PCI_DEVICES)
    kind = _MACHINE.format("kvm" if machine.kvm else "tcg")
    return f"{kind} {share} {_IOMMU} {pci}".split()


def run(
    command: list[str],
    console: Path,
    deadline: float,
    scratch: Path,
    show: Callable[[str], None],
    report: Callable[[dict[str, Any], float], None],
    life: Life,
) -> Boot:
    """Runs the call and returns when the machine has ended, ``deadline`` seconds are over or ``life`` gives up.

    Guest output goes to ``show`` as it comes, reports of the guest to ``report`` with the seconds since the
    start, the kernel's console to the file ``console``; temporary files go to ``scratch``. No process of it is
    left, whatever happens.
    """
    boot = Boot()
    start = time.monotonic()
    environment = {**os.environ, "PATH": host.search_path(), "TMPDIR": str(scratch)}
    process = processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    def output(text: str) -> None:
        head, mark, tail = text.partition(guest.MARK)
        if head:
            show(head)
        if mark:
            with contextlib.suppress(ValueError):
                event = json.loads(tail)
                boot.events.append(event)
                life.up = True
                report(event, time.monotonic() - start)

    try:
        with open(console, "w") as log:

            def kernel(text: str) -> None:
                life.line(plain(text))
                log.write(plain(text) + "\n")
                log.flush()

            assert process.stdout is not None
            assert process.stderr is not None
            readers = {process.stdout: _Lines(output), process.stderr: _Lines(kernel)}
            ended = _pump(readers, start + deadline, life)
            for lines in readers.values():
                lines.flush()
            boot.stalled = life.stillborn() if ended else life.stalled()
            boot.timed_out = not (ended or boot.stalled)
        if ended:
            processes.await_exit(process)
    finally:
        processes.end(process, _GRACE, _GRACE)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
    boot.seconds = time.monotonic() - start
    return boot


class _Lines:
    """Cuts a byte stream into lines, and hands over a report even when it does not begin one."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace") + "\n")

    def flush(self) -> None:
        if self._rest:
            self._take(self._rest.decode(errors="replace") + "\n")
            self._rest = b""


def _pump(readers: "dict[IO[bytes], _Lines]", deadline: float, life: Life) -> bool:
    """Copies until both streams have ended; False when the deadline came first, or the guest stalled."""
    with selectors.DefaultSelector() as selector:
        for stream in readers:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0 or life.stalled():
                return False
            for entry, _ in selector.select(min(left, _TICK)):
                data = os.read(entry.fd, 65536)
                if data:
                    readers[entry.fileobj].feed(data)  # type: ignore[index]
                else:
                    selector.unregister(entry.fileobj)
    return True
