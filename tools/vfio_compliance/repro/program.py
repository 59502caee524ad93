# SPDX-License-Identifier: GPL-2.0-only
"""A failing case as a program: what it does, and how it recognises the fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..results.case import Case
from ..results.registers import Registers, registers_of
from ..results.summary import Summary
from ..rules import Rule
from .buffers import put_together
from .contents import Contents
from .evidence import Evidence
from .fault import Fault
from .lift import Lifting
from .steps import Save, Step
from .trace import UnknownData, calls_before, calls_of, giver


@dataclass(frozen=True)
class Program:
    """A program, independent of its language."""

    rule: Rule
    #: The name of the case.
    case: str
    #: The transport of its device: ``vfio-user`` or ``kernel-group``.
    transport: str
    registers: Registers
    steps: tuple[Step, ...]
    fault: Fault

    @property
    def devices(self) -> int:
        """How many devices it takes."""
        return 1 + max((step.device for step in self.steps), default=0)

    @property
    def migration(self) -> int:
        """The index of the region that programs find by its type; -1 without one."""
        return min(self.registers, default=-1)

    def is_round(self, step: Step) -> bool:
        """Whether a step belongs to the part that is repeated because the fault does not show each time."""
        return self.fault.rounds is not None and abs(step.id) > self.fault.rounds.before

    @property
    def saves(self) -> bool:
        """Whether it saves a state, buffer by buffer."""
        return any(isinstance(step, Save) for step in self.steps)


def program_of(summary: Summary, case: Case, folder: Path | None = None, before: Sequence[str] = ()) -> Program:
    """The program that shows why a case failed, with all that was done in it, and in the cases ``before`` it.

    ``folder`` is the run's folder, if it has the moved data. Raises NoProgram.
    """
    registers, contents = registers_of(summary.target.regions), Contents(folder)
    calls = calls_of(summary, case)
    fault = Evidence(case.why, calls, summary.opening, registers, contents).fault()
    calls = [call for call in calls if fault.rounds is None or fault.rounds.has(call.serial)]
    opening = [call for call in summary.opening if call.serial in fault.steps]
    givers = [*before]
    while True:
        lifting = Lifting(registers, contents, set(fault.steps), in_rounds=fault.rounds is not None)
        first = calls_before(summary, case, givers, calls)
        try:
            steps = lifting.steps([*opening, *first, *calls])
            break
        except UnknownData as unknown:
            found = giver(summary, case, unknown.call, contents)
            if found is None or found in givers:
                raise
            givers.append(found)
    steps, fault = put_together(_from_last_beginning(steps, fault), fault, registers)
    rule = summary.rules[case.rule]
    return Program(rule, case.name, summary.target.identity.get("transport", ""), registers, tuple(steps), fault)


def _from_last_beginning(steps: Sequence[Step], fault: Fault) -> list[Step]:
    """From the start of the case with the deciding step, or of an earlier one whose answers are needed."""
    return [step for step in steps if step.id <= fault.deciding]
