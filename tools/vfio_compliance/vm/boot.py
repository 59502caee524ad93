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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from vfio_compliance.common import processes
from vfio_compliance.common.project import PACKAGE
from vfio_compliance.results.inflight import LastCall
from vfio_compliance.vm import host, monitor
from vfio_compliance.vm.console import Console
from vfio_compliance.vm.guest.reporting import MARK
from vfio_compliance.vm.guest.root import SHARE
from vfio_compliance.vm.life import Life
from vfio_compliance.vm.shared_page import SharedPage

# Hardware that QEMU provides but nothing here uses: probing it costs an emulated guest seven seconds.
_UNUSED = (
    "kvm,kvm_amd,kvm_intel,ahci,sr_mod,cdrom,sg,i2c_i801,i801_smbus,lpc_ich,iTCO_wdt,i6300esb,pcspkr,psmouse,"
    "aesni_intel,ghash_clmulni_intel,crc32_pclmul,crct10dif_pclmul,sha512_ssse3,sha256_ssse3,sha1_ssse3,"
    "polyval_clmulni,powernow_k8,acpi_cpufreq,intel_rapl_msr,intel_rapl_common,evdev,joydev,qemu_fw_cfg"
)
# Two of QEMU's teaching devices, which do DMA, behind an IOMMU that translates and remaps interrupts. Each has a slot
# of its own, hence a group of its own, and a high one: virtme-ng's devices take the low ones.
PCI_DEVICES = ("0000:00:10.0", "0000:00:11.0")
# An emulated IOMMU needs this machine and an interrupt controller that is not all in the kernel. virtme-ng names the
# machine in some cases only; QEMU merges all -machine options, and these come last.
_MACHINE = "-machine q35,kernel-irqchip=split,accel={}"
_IOMMU = "-device intel-iommu,intremap=on"
# By default each of virtme-ng's consoles has 31 ports, and QEMU polls all of them each time it wakes up.
_CONSOLES = "-global virtio-serial-pci.max_ports=2"
# Kernel and C library clear and copy memory by byte if the CPU says that this is fast. Under emulation, it takes eight
# times as long as by words.
_EMULATED_CPU = "-cpu max,erms=off,fsrm=off"
# No one attacks an emulated CPU, and the mitigations slow down every call into the kernel. Programs at random addresses
# are translated again each time they start. The early check that the timer ticks through the IOMMU panics if the host
# is too busy.
_EMULATED_KERNEL = "mitigations=off norandmaps no_timer_check"
_TICK = 1.0  # seconds between two looks at a guest that is starting
_GRACE = 2.0  # seconds between asking the virtual machine to end and killing it
_LAST_WORDS = 2.0  # seconds for a guest that missed its deadline to say where it was
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Machine:
    """The virtual machine: CPUs, memory as QEMU writes it (``1G``), KVM or emulation, the user's options."""

    cpus: int
    memory: str
    kvm: bool
    append: Sequence[str] = ()
    qemu: Sequence[str] = ()


@dataclass
class Boot:
    """What a boot showed: its length in seconds, how it was ended, the guest's reports.

    ``stalled`` says why a guest whose life was watched did not come up.
    """

    seconds: float = 0.0
    timed_out: bool = False
    interrupted: bool = False
    stalled: str = ""
    #: Of virtme-ng, if it ended by itself: 0 unless QEMU failed or was killed.
    exit: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    #: The last lines of the console.
    lines: Sequence[str] = ()
    #: The last call that the guest noted before it ended.
    call: LastCall | None = None

    def last(self, event: str) -> dict[str, Any] | None:
        """The latest report of a kind."""
        return next((e for e in reversed(self.events) if e["event"] == event), None)

    @property
    def under_way(self) -> int | None:
        """The number of the command that the guest was in when it ended; None for none."""
        start, end = self.last("start"), self.last("end")
        if start is None or (end is not None and end["index"] == start["index"]):
            return None
        return int(start["index"])


@dataclass(frozen=True)
class Scratch:
    """Files that a boot needs in addition to the results, in a folder that is removed with it."""

    folder: Path

    @property
    def plan(self) -> Path:
        """The guest's plan."""
        return self.folder / "plan.json"

    @property
    def monitor(self) -> Path:
        """The socket of QEMU's monitor: relative paths are short enough for one."""
        return Path(os.path.relpath(self.folder / "qmp"))


def command_line(
    boot: Path, machine: Machine, scratch: Scratch, page: SharedPage, keep: Path, deadline: float
) -> list[str]:
    """The whole call, as an argument list; ``keep`` is the folder that the guest may write.

    ``timeout`` is outermost so that the machine ends even if this process is killed first.
    """
    # The guest's part needs no site packages; without them, Python starts in half the time.
    program = "import sys; sys.path.insert(0, sys.argv[2]); from vfio_compliance.vm.guest.main import main; "
    program += "sys.exit(main(sys.argv[1]))"
    script = shlex.join([sys.executable, "-I", "-S", "-c", program, str(scratch.plan), str(PACKAGE.parent)])
    command = ["timeout", f"--kill-after={_GRACE:.0f}", f"{deadline + 10:.0f}", host.which("vng") or "vng"]
    command += ["--run", str(boot), "--user", "root", "--disable-microvm", "--verbose"]
    command += ["--cpus", str(machine.cpus), "--memory", machine.memory]
    command += [] if machine.kvm else ["--disable-kvm", "--append", _EMULATED_KERNEL]
    # 9p is slower than virtiofs, but needs nothing on the host, which may have no usable virtiofsd.
    command += ["--force-9p", "--append", f"modprobe.blacklist={_UNUSED}"]
    command += ["--rwdir", str(keep)]
    command += ["--append", "intel_iommu=on"]
    # The interrupt that makes a guest report where it is ends it, too.
    command += ["--append", "unknown_nmi_panic"]
    for words in machine.append:
        command += ["--append", words]
    own = [*hardware(machine), *page.arguments(), *monitor.arguments(scratch.monitor), *machine.qemu]
    command += [f"--qemu-opts={shlex.join(own)}"]
    return [*command, "--", script]


def hardware(machine: Machine) -> list[str]:
    """QEMU options in addition to virtme-ng's: the machine, the IOMMU, the devices, the host's files."""
    share = f"-fsdev local,id={SHARE},path=/,security_model=none,readonly=on,multidevs=remap"
    share += f" -device virtio-9p-pci,fsdev={SHARE},mount_tag={SHARE}"
    pci = " ".join(f"-device edu,addr={address.rpartition(':')[2]}" for address in PCI_DEVICES)
    kind = _MACHINE.format("kvm" if machine.kvm else "tcg")
    cpu = "" if machine.kvm else _EMULATED_CPU
    return f"{kind} {cpu} {share} {_IOMMU} {_CONSOLES} {pci}".split()


def run(
    command: list[str],
    console: Console,
    deadline: float,
    scratch: Scratch,
    show: Callable[[str], None],
    report: Callable[[dict[str, Any], float], None],
    life: Life,
    page: SharedPage | None = None,
) -> Boot:
    """Runs the call and returns when the machine has ended, after ``deadline`` seconds, or when ``life`` gives up.

    Guest output goes to ``show`` as it comes, reports of the guest to ``report`` with the seconds since the
    start, the kernel's console to ``console``. A guest that misses the deadline is made to report where it is. An
    interruption (KeyboardInterrupt) ends the machine, too. None of its processes is left, whatever happens.
    """
    boot = Boot()
    start = time.monotonic()
    environment = {**os.environ, "PATH": host.search_path(), "TMPDIR": str(scratch.folder)}
    process = processes.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    def output(text: str) -> None:
        head, mark, tail = text.partition(MARK)
        if head:
            show(head)
        if mark:
            with contextlib.suppress(ValueError):
                event = json.loads(tail)
                boot.events.append(event)
                life.up = True
                if page and "monotonic" in event:
                    page.ahead = event["monotonic"] - time.monotonic()
                report(event, time.monotonic() - start)

    def kernel(text: str) -> None:
        life.line(console.line(text))

    assert process.stdout is not None
    assert process.stderr is not None
    readers = {process.stdout: _Lines(output), process.stderr: _Lines(kernel)}
    try:
        try:
            ended = _pump(readers, start + deadline, life)
        except KeyboardInterrupt:
            ended, boot.interrupted = False, True
        boot.call = page.last() if page else None
        boot.stalled = life.stillborn() if ended else life.stalled()
        boot.timed_out = not (ended or boot.stalled or boot.interrupted)
        if boot.timed_out and boot.events and monitor.interrupt(scratch.monitor):
            _pump(readers, time.monotonic() + _LAST_WORDS, life)
        for lines in readers.values():
            lines.flush()
        if ended:
            processes.await_exit(process)
    finally:
        processes.end(process, _GRACE, _GRACE)
        for stream in readers:
            stream.close()
        console.close()
    boot.lines = list(console.recent)
    boot.exit = (process.returncode or 0) if ended else 0
    boot.seconds = time.monotonic() - start
    return boot


class _Lines:
    """Cuts a byte stream into lines, and hands over a report even if it is not at the beginning of a line."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace") + "\n")
        if len(self._rest) > _LONGEST_LINE:
            self.flush()

    def flush(self) -> None:
        if self._rest:
            self._take(self._rest.decode(errors="replace") + "\n")
            self._rest = b""


def _pump(readers: "dict[IO[bytes], _Lines]", deadline: float, life: Life) -> bool:
    """Copies until both streams have ended; False if the deadline came first, or the guest stalled."""
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
