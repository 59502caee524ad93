# SPDX-License-Identifier: GPL-2.0-only
"""The command: tries a real QEMU on the device of a profile."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..profiles import KernelGroupDevice, Profile, SpareInKernel
from ..run.defects import DefectSwitch
from ..run.errors import Broken
from ..run.reaching import kernel_release, way_to
from ..transport import TransportError
from . import conduct, program, recording, report
from .answer import Findings
from .conduct import EVENTS, STRACE
from .errors import Hung, NotApplicable, QemuError, Untried
from .flows import Flows, Place
from .machine import MACHINE


@dataclass(frozen=True)
class Wishes:
    """What is asked for."""

    #: The QEMU to try; None: the usual one.
    program: str | None = None
    defects: Sequence[str] = ()
    #: Whether the QEMUs are recorded by strace.
    strace: bool = True


def run(profile: Profile, wishes: Wishes, folder: Path, output: TextIO, width: int) -> Findings:
    """Try it and print the results. Traces and qemu.json go to ``folder``.

    Raises OSError for a folder that cannot be written.
    """
    second = profile.device.second
    found = Findings(
        device=getattr(profile.device, "name", profile.name),
        target=getattr(second, "name", ""),
        kernel=kernel_release(),
        machine=" ".join(MACHINE),
    )
    folder.mkdir(parents=True, exist_ok=True)
    switch = DefectSwitch(profile, wishes.defects, lambda event: None)
    try:
        if wishes.defects and profile.device.defects is None:
            raise Broken("this device has no way to switch on defects", "use --defect with the reference device only")
        switch.on()
        _try(profile, wishes, folder, found, output, width)
    except NotApplicable as error:
        found.why, found.not_applicable = str(error), True
    except (QemuError, Broken) as error:
        found.why, found.hung = str(error), isinstance(error, Hung)
    finally:
        switch.restore()
        report.write(found, folder)
    print(report.end(found, folder, width), file=output)
    return found


def _try(profile: Profile, wishes: Wishes, folder: Path, found: Findings, output: TextIO, width: int) -> None:
    device = profile.device
    if not isinstance(device, KernelGroupDevice):
        raise NotApplicable("the device is not behind a kernel, and these QEMUs cannot reach any other device")
    limits = profile.limits
    qemu = program.find(wishes.program, limits.test)
    found.program = f"{qemu.says}, {qemu.path}"
    second = device.second if isinstance(device.second, SpareInKernel) else None
    source, target = place(profile, device), place(profile, second) if second else None
    strace = recording.find(limits.largest_state, limits.test) if wishes.strace else "it was not asked for"
    found.recorded, found.no_strace = (EVENTS, strace) if isinstance(strace, str) else (STRACE, "")
    print(report.head(found, width), file=output)
    print(file=output, flush=True)
    with tempfile.TemporaryDirectory(prefix=".states-", dir=folder) as scratch:
        recorder = None if isinstance(strace, str) else strace
        flows = Flows(qemu.path, profile, source, target, folder.resolve(), Path(scratch).resolve(), recorder)
        try:
            with flows:
                for answer in flows.carry_out():
                    found.answers.append(answer)
                    print(report.line(answer, width), file=output, flush=True)
        finally:
            found.version, found.messages = flows.version, [*flows.messages]
    found.conduct = [*conduct.judge(flows.recordings, found.recorded, folder)]


def place(profile: Profile, where: KernelGroupDevice | SpareInKernel) -> Place:
    """Where a device is. It can be opened, and no one has it open now. Raises Untried."""
    try:
        with way_to(profile, where, []) as way:
            places = way.places()
            sysfs = places["sysfs"]
    except TransportError as error:
        raise Untried(f"{where.name}: {error}") from None
    return Place(sysfs, places)
