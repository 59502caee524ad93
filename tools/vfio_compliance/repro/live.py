# SPDX-License-Identifier: GPL-2.0-only
"""Plays a program on a device: the same Python program that is written out, in a separate process."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from ..profiles import KernelGroupDevice, Profile, VfioUserDevice
from ..run.defects import DefectSwitch
from ..transport.vfio_user.process import ServerProcess
from . import python
from .program import Program
from .trace import NoProgram

#: The exit codes of a program: the fault shows, it does not, that cannot be decided.
SHOWS, SHOWS_NOT, CANNOT_TELL = 1, 0, 2

#: Seconds that a program may take.
_DEADLINE: Final = 20.0


class Target:
    """The device of a profile, and the second one, if it has one, on which programs are played.

    A server of the profile's command is started when the block begins, started again whenever it has ended, and
    stopped when the block ends. A program opens the device, and begins with a reset.
    """

    def __init__(self, profile: Profile, defects: Sequence[str] = ()) -> None:
        self._profile, self._defects = profile, defects
        self._switch = DefectSwitch(profile, defects, lambda event: None)
        self._servers: dict[int, ServerProcess] = {}
        #: How many programs were played.
        self.played = 0

    def __enter__(self) -> Target:
        self._folder = tempfile.TemporaryDirectory(prefix="vfio-")
        self._switch.on()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.renew()
        self._switch.restore()
        self._folder.cleanup()

    @property
    def folder(self) -> str:
        """A folder that is removed at the end of the block."""
        return self._folder.name

    def play(self, program: Program) -> int:
        """SHOWS, SHOWS_NOT or CANNOT_TELL. Raises SetupError if the device cannot be reached, NoProgram."""
        self.played += 1
        path = Path(self._folder.name, "program.py")
        path.write_text(python.render(program, ""), encoding="utf-8")
        # Without this environment: the program must need only the standard library.
        return self.run([sys.executable, "-I", "-S", str(path)], program.devices)

    def play_anew(self, program: Program) -> int:
        """The same on a device that remembers no earlier program: with a new server, if possible."""
        self.renew()
        return self.play(program)

    def run(self, command: Sequence[str], devices: int) -> int:
        """The same for a program in a file, which takes this many devices.

        If it cannot decide, it gets a second try with new servers: the present ones may remember what was done before.
        """
        code = self._run(command, devices)
        if code == CANNOT_TELL and self._servers:
            self.renew()
            code = self._run(command, devices)
        return code

    def _run(self, command: Sequence[str], devices: int) -> int:
        where = [self._where(number) for number in range(devices)]
        nowhere = subprocess.DEVNULL
        # A process that sleeps in the kernel for good is left behind: waiting for it would take forever.
        played = subprocess.Popen([*command, *where], stdin=nowhere, stdout=nowhere, stderr=nowhere)
        try:
            code = played.wait(_DEADLINE)
        except subprocess.TimeoutExpired:
            played.kill()
            with suppress(subprocess.TimeoutExpired):
                played.wait(1)
            return CANNOT_TELL
        return code if code in (SHOWS, SHOWS_NOT) else CANNOT_TELL

    def renew(self) -> None:
        """The next program will find newly started servers."""
        for server in self._servers.values():
            server.stop()
        self._servers.clear()

    def _where(self, number: int) -> str:
        """The argument for a device on a program's command line: the first, or the second."""
        device = self._profile.device
        if isinstance(device, VfioUserDevice):
            socket = device.socket if not number else device.second.socket if device.second else None
            if device.command is None:
                if socket is None:
                    raise NoProgram("the program takes two devices, and the profile names one")
                return socket
            return self._server(number, device.command, socket)
        assert isinstance(device, KernelGroupDevice)
        place = device if not number else device.second
        if place is None:
            raise NoProgram("the program takes two devices, and the profile names one")
        return place.sysfs or f"{place.group}:{place.name}"

    def _server(self, number: int, command: Sequence[str], socket: str | None) -> str:
        server = self._servers.get(number)
        if server is not None and not server.running:
            server.stop()
            server = None
        if server is None:
            switch = self._profile.device.defects
            option = getattr(switch, "option", "")
            added = [option.replace("{name}", name) for name in self._defects] if option else []
            server = self._servers[number] = ServerProcess([*command, *added], socket)
            server.connect(self._profile.limits.test).close()
        return server.path
