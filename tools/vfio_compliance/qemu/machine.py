# SPDX-License-Identifier: GPL-2.0-only
"""One running QEMU that has the device."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..common import processes
from ..transport import libc
from .bars import SLOT
from .errors import Aborted, Closed, Failed, Hung, QemuError, Untried
from .events import saved_bytes
from .lines import Lines
from .output import DYING, Tail, ending, quoted
from .program import OPTION
from .qmp import Monitor
from .qtest import Bus

T = TypeVar("T")

#: The same for every run, so that two of them can migrate to each other. The guest has no operating system.
MACHINE = ("-M", "q35", "-accel", "tcg", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none")

#: A firmware whose first instructions, at the reset vector, switch interrupts off and halt forever.
FIRMWARE = b"\x90" * (0x10000 - 16) + b"\xfa\xf4\xeb\xfd" + b"\x90" * 12

#: The most bytes of QEMU's messages that are kept.
_MESSAGES = 1 << 18

#: Seconds between two looks at a migration, and for QEMU to end when asked to.
_LOOK = 0.01
_ENDING = 5.0

#: A migration that has not stopped the guest after this many seconds may stop it for longer than the usual 300 ms.
_CONVERGES = 2.0
_LONGEST_DOWNTIME = 2_000_000  # milliseconds, the most that QEMU takes

#: Bytes per second: slow, until a migration is cancelled, and without a limit in practice.
SLOW, FAST = 4096, 1 << 40


@dataclass(frozen=True)
class Numbers:
    """QEMU's numbers for a migration: times in ms, bytes in all and of the device; None if it does not say."""

    total: int | None = None
    downtime: int | None = None
    bytes: int | None = None
    device_bytes: int | None = None


class Machine:
    """A guest of QEMU that has one device; a context manager that ends it."""

    def __init__(
        self,
        program: str,
        sysfs: str,
        folder: Path,
        name: str,
        log: Path,
        patience: float,
        strace: Sequence[str] = (),
    ) -> None:
        """``sysfs`` is the device's folder there, ``name`` this QEMU's name in messages.

        Its firmware is in ``folder``; its trace events go to the file ``log``. ``patience`` is the number of seconds
        that each step may take. ``strace`` is a command that records the command after it, in the folder of ``log``.
        """
        self._program, self._sysfs, self._folder, self.log = program, sysfs, folder, log
        self._strace = strace
        self.name, self._patience = name, patience

    def start(self, incoming: bool = False) -> Machine:
        """Start it, with the processor running, or waiting for an incoming migration. Raises QemuError."""
        ours, theirs = zip(socket.socketpair(), socket.socketpair(), strict=True)
        try:
            self._process = self._start([each.fileno() for each in theirs], incoming)
        except BaseException:
            for each in ours:
                each.close()
            raise
        finally:
            for each in theirs:
                each.close()
        self._messages = Tail(self._process, _MESSAGES)
        self._lines = [Lines(ours[0], f"QMP of {self.name}"), Lines(ours[1], f"qtest of {self.name}")]
        self._monitor = Monitor(self._lines[0], self._patience)
        self.bus = Bus(self._lines[1], self._patience)
        try:
            try:
                self._monitor.greet()
            except Closed:
                raise self._ended("during its start", Untried) from None
        except BaseException:
            self.end()
            raise
        return self

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def version(self) -> str:
        """What it says it is."""
        return self._monitor.version

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return not processes.await_exit(self._process, 0.0)

    def messages(self) -> list[str]:
        """What it has printed, line by line."""
        return [line for line in self._messages.text().splitlines() if line.strip()]

    def end(self) -> None:
        """End it, by its own command if possible; nothing of it is left after that."""
        try:
            if self._process.returncode is None:
                self._monitor.execute("quit")
                processes.await_exit(self._process, _ENDING)
        except QemuError:
            pass  # it is killed
        finally:
            if self._process.returncode is None:
                self._kill()
            for each in self._lines:
                each.close()
            self._messages.close()

    # -- orders -----------------------------------------------------------------------------------------------------

    def order(self, command: str, **arguments: Any) -> Any:
        """What a QMP command returns. Raises QemuError."""
        return self.watched(lambda: self._monitor.execute(command, **arguments), f"during `{command}`")

    def watched(self, act: Callable[[], T], when: str) -> T:
        """What ``act`` returns. Raises Aborted or Failed if QEMU ends first."""
        try:
            return act()
        except Closed:
            raise self._ended(when, Failed) from None

    def runs(self) -> bool:
        """Whether the guest's processor runs."""
        status = self.order("query-status")
        return isinstance(status, dict) and status.get("status") == "running"

    def save(self, file: Path) -> Numbers:
        """Migrate to a file. Raises Failed when QEMU says so, and other QemuErrors."""
        self._parameters(FAST)
        before = self.log.stat().st_size
        self.order("migrate", uri=f"exec:cat > {shlex.quote(str(file))}")
        numbers = self._numbers(self._await("completed", patient=False))
        if numbers.device_bytes is None:  # some builds of QEMU leave it out of their answer
            numbers = replace(numbers, device_bytes=saved_bytes(self.log, before))
        return numbers

    def load(self, file: Path) -> None:
        """Load what was saved to a file into a machine that waits for it. Raises QemuError."""
        self.order("migrate-incoming", uri=f"exec:cat {shlex.quote(str(file))}")
        self._await("completed", patient=True)

    def cancel(self, file: Path) -> None:
        """Begin a migration and cancel it long before its end. Raises QemuError."""
        self._parameters(SLOW)
        self.order("migrate", uri=f"exec:cat > {shlex.quote(str(file))}")
        self._await("active", patient=True)
        self.order("migrate_cancel")
        self._await("cancelled", patient=True)

    def _parameters(self, bandwidth: int) -> None:
        self.order("migrate-set-parameters", **{"max-bandwidth": bandwidth, "downtime-limit": 300})

    def _await(self, wanted: str, *, patient: bool) -> dict[str, Any]:
        """Wait until the migration has this status. Raises Failed for another one that is final, and QemuErrors."""
        began = time.monotonic()
        status = ""
        while time.monotonic() - began < self._patience:
            found = self.order("query-migrate")
            found = found if isinstance(found, dict) else {}
            status = str(found.get("status", "none"))
            if status == wanted:
                return found
            if status in ("completed", "failed", "cancelled"):
                said = found.get("error-desc")
                raise Failed(f"the migration ended as {quoted(status)}" + (f": {quoted(str(said))}" if said else ""))
            if not patient and time.monotonic() - began > _CONVERGES:
                patient = True
                self.order("migrate-set-parameters", **{"downtime-limit": _LONGEST_DOWNTIME})
            time.sleep(_LOOK)
        raise Hung(f"the migration is still {quoted(status)} after {self._patience:g} s")

    @staticmethod
    def _numbers(found: dict[str, Any]) -> Numbers:
        def number(value: Any) -> int | None:
            return value if type(value) is int and 0 <= value < 1 << 64 else None

        def part(name: str) -> Any:
            inner = found.get(name)
            return number(inner.get("transferred")) if isinstance(inner, dict) else None

        return Numbers(number(found.get("total-time")), number(found.get("downtime")), part("ram"), part("vfio"))

    # -- the process ------------------------------------------------------------------------------------------------

    def _start(self, descriptors: list[int], incoming: bool) -> subprocess.Popen[bytes]:
        """Start the process, which speaks QMP on the first descriptor, and qtest on the second. Raises Untried."""
        firmware = self._folder / "firmware"
        firmware.write_bytes(FIRMWARE)
        command = [*self._strace, self._program, *MACHINE, "-bios", str(firmware), "-name", self.name.replace(" ", "-")]
        command += ["-chardev", f"socket,id=qmp,fd={descriptors[0]}", "-mon", "chardev=qmp,mode=control"]
        # qtest looks for a character device of this very name.
        command += ["-chardev", f"socket,id=qtest,fd={descriptors[1]}", "-qtest", "chardev:qtest"]
        command += ["-qtest-log", "/dev/null", "-D", self.log.name, "-trace", "vfio_*"]
        sysfs = self._sysfs.replace(",", ",,")
        command += ["-device", f"vfio-pci,sysfsdev={sysfs},{OPTION}=on,id=device,addr={SLOT:#x}"]
        command += ["-incoming", "defer"] if incoming else []
        parent = os.getpid()

        def die_with_parent() -> None:
            libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)  # the parent died before the kernel knew of the signal

        try:
            return processes.start(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                cwd=self.log.parent,  # QEMU reads % in a name as the beginning of a pattern
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise Untried(f"{self._program} cannot be run: {error.strerror}") from None

    def _kill(self) -> None:
        """Leave nothing of it. strace, which has QEMU's output too, may first write down how QEMU ended."""
        if self._strace and processes.await_exit(self._process, 0.0):
            self._messages.await_end(_ENDING)
        processes.end(self._process, 0, DYING)

    def _ended(self, when: str, otherwise: type[Failed] | type[Untried]) -> Aborted | Failed | Untried | Hung:
        """The error for a closed connection: how the process ended, and the last line that it printed."""
        if not processes.await_exit(self._process, _ENDING):
            return Hung(f"{self.name} closed its connection {when}, but does not end")
        self._kill()
        self._messages.close()
        kind = Aborted if (self._process.returncode or 0) < 0 else otherwise
        last = self.messages()[-1:]
        return kind(f"{self.name} {ending(self._process)} {when}" + (f"; it said {quoted(last[0])}" if last else ""))
