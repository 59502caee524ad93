# SPDX-License-Identifier: GPL-2.0-only
"""`vfio-compliance replay TRACE PROFILE`: make recorded calls on another device."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.words import counted
from ..results.verdict import EXIT_BROKEN, EXIT_FAIL, EXIT_OK
from .checkout import Complaint, loaded
from .parser import Commands

if TYPE_CHECKING:
    from ..common.calls import Call
    from ..profiles import Profile
    from ..repro.player import Played
    from ..repro.steps import Step
    from ..transport import Transport

_EPILOG = """\
What may differ between two good devices is not compared: descriptors, addresses, offset, size and content of the pieces
of a state, the device's own registers, time. What went through a mapping is left out.

exit codes: 0 every call was answered as recorded, 1 one was not, 2 the calls could not be made
"""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay",
        help="make recorded calls on another device, and show the first that it answers differently",
        description="Make recorded calls on another device, and show the first that it answers differently.",
        epilog=_EPILOG,
    )
    option = parser.add_argument
    option("trace", type=Path, metavar="TRACE", help="a trace (see import and proxy), or the folder of a run")
    option("profile", type=Path, metavar="PROFILE", help="the profile of the device")
    option("--only", metavar="CASE", help="the case whose calls to make, if TRACE is a run")
    option("--defect", action="append", default=[], metavar="NAME", help="break the reference device on purpose")
    parser.set_defaults(carry_out=carry_out)


def carry_out(arguments: argparse.Namespace) -> int:
    """Make the calls; exit code."""
    from ..clients.trace import TraceError
    from ..repro.trace import NoProgram
    from ..run.errors import Broken
    from ..transport import TransportError

    profile = loaded(arguments.profile)
    try:
        calls, migration = _recorded(arguments.trace, arguments.only)
        with ExitStack() as opened:
            played, steps = _played(profile, arguments.defect, calls, migration, opened)
    except (TraceError, NoProgram) as error:
        raise Complaint(str(error)) from None
    except (Broken, TransportError) as error:
        raise Complaint(f"{error.message}; {error.remedy}") from None
    return _report(played, steps, calls, migration)


def _recorded(trace: Path, only: str | None) -> tuple[list[Call], int]:
    """The calls, each with a number, and the index of the migration region. Raises TraceError."""
    from ..clients.sources import load
    from ..clients.trace import TraceError
    from ..uapi.vfio import VFIO_DEVICE_RESET

    source = load(trace)
    parts = [part for part in source.parts if only is None or part.case.endswith(only)]
    if only is None and len(parts) > 1:
        raise TraceError(f"{trace}: a run of {counted(len(parts), 'case')}; name one with --only")
    if not parts:
        raise TraceError(f"{trace}: no case {only!r}")
    calls: list[Call] = []
    for number, entry in enumerate(parts[0].entries, 1):
        if entry.call is None or (calls and entry.call is calls[-1]):
            continue
        call = entry.call if entry.call.serial else entry.call._replace(serial=number)
        if call.verb == "reset":
            call = call._replace(verb="ioctl", number=VFIO_DEVICE_RESET)
        calls.append(call)
    assert source.migration is not None
    return list({call.serial: call for call in calls}.values()), source.migration


def _played(
    profile: Profile, defects: list[str], calls: list[Call], migration: int, opened: ExitStack
) -> tuple[Played, list[Step]]:
    from ..device import Device
    from ..interfaces import JUDGED
    from ..repro.contents import Contents
    from ..repro.lift import Lifting
    from ..repro.player import Player
    from ..run.reaching import way_to
    from ..transport import SetupError

    transports: list[Transport] = [way_to(profile, profile.device, defects)]
    if profile.device.second is not None:
        transports.append(way_to(profile, profile.device.second, defects, transports[0]))
    registers = {migration: JUDGED.registers}
    steps = Lifting(registers, Contents()).steps(calls)
    for transport in transports[: 1 + any(step.device for step in steps)]:
        opened.callback(transport.shutdown)
        transport.open()
    found = JUDGED.find(Device(transports[0]))
    if not found:
        raise SetupError("the device has no migration region", "name another device in the profile")
    return Player(transports, registers, {migration: found[0].index}).play(steps), steps


def _report(played: Played, steps: list[Step], calls: list[Call], migration: int) -> int:
    """Print the result; the exit code."""
    from ..interfaces import JUDGED
    from ..results.calls import describe

    if played.left_out:
        print(f"{counted(played.left_out, 'call')} could not be made on this device and were left out")
    if played.difference is None:
        print(f"{counted(played.alike, 'call')} of {len(steps)} answered as recorded")
        return EXIT_OK if played.alike else EXIT_BROKEN
    step, recorded, now = played.difference
    call = next(each for each in calls if each.serial == step.id)
    print(f"{counted(played.alike, 'call')} answered as recorded, then:")
    print(f"  call {step.id}  {describe(call, {migration: JUDGED.registers})}")
    print(f"  recorded  {recorded}")
    print(f"  now       {now}")
    return EXIT_FAIL
