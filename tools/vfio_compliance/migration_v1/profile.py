# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)

"""What version 1 adds to the format of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from yaml.nodes import ScalarNode

from ..profiles import Claims, MapSection, Profile, Program, Running, Section, SetupStep, Step, Stimulus
from ..profiles.document import Document, listed, quoted
from ..profiles.kinds import Boolean, Choice, Duration, Integer
from ..profiles.records import ListOf, OrNone, Record, key
from ..profiles.stimulus import ALWAYS_RUNS

State: TypeAlias = Literal["running", "pre-copy", "stop-and-copy", "stop", "resuming"]
STATES: tuple[State, ...] = ("running", "pre-copy", "stop-and-copy", "stop", "resuming")

#: The transitions that the interface documents: every driver has them, so none can be claimed.
DRAWN = (
    "running -> stop",
    "running -> stop-and-copy",
    "running -> pre-copy",
    "pre-copy -> stop-and-copy",
    "stop-and-copy -> stop",
    "running -> resuming",
    "resuming -> running",
)


class _Transition(Choice):
    def __init__(self) -> None:
        every = (f"{source} -> {target}" for source in STATES for target in STATES)
        super().__init__(*(transition for transition in every if transition not in DRAWN))

    def parse(self, node: ScalarNode, document: Document) -> Any:
        source, _, target = super().parse(node, document).partition(" -> ")
        return source, target

    def refusal(self, text: str, document: Document) -> str:
        if text in DRAWN:
            return f"{quoted(text)} is documented in the interface, so every driver has it; claim only others"
        states = [state.strip() for state in text.split("->")]
        if "error" in states:
            return "the error state is entered by the driver and left by reset; no transition claims it"
        unknown = [state for state in states if state not in STATES]
        if unknown and len(states) == 2:
            hint = document.did_you_mean(unknown[0], STATES)
            return f"{quoted(unknown[0])} is not a state; expected {listed(STATES)}{hint}"
        hint = document.did_you_mean(text, self.words)
        return f"expected a transition such as `stop -> running`, found {quoted(text)}{hint}"


@dataclass(frozen=True, kw_only=True)
class MigrationClaims(Claims):
    """What is claimed about the migration region and the states that it moves."""

    data_section: Literal["trapped", "mapped", "partitioned", "mapped-only"] | None = key(
        Choice("trapped", "mapped", "partitioned", "mapped-only"),
        "How the data section is accessed: by read and write only; by mmap as a whole, or in parts, and by read and "
        "write; or by mmap alone.",
        default=None,
    )
    precopy_data: bool | None = key(Boolean(), "Whether data is offered while still running.", default=None)
    transitions: tuple[tuple[State, State], ...] = key(
        ListOf(_Transition(), "a list of transitions"),
        "Transitions that work although the interface does not document them; `stop -> stop` writes a state again.",
        default=(),
    )
    repeatable_state: bool | None = key(
        Boolean(),
        "Whether an idle device saves the same bytes each time. Then two saved states are compared byte for byte.",
        default=None,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """A transition that is listed twice."""
        yield from super().problems()
        for index, transition in enumerate(self.transitions):
            if transition in self.transitions[:index]:
                yield f"transitions.{index}", f"`{' -> '.join(transition)}` is listed twice"


@dataclass(frozen=True, kw_only=True)
class MigrationRunning(Running):
    """The same, for a device that does not show this in every state."""

    unreadable_in: tuple[State, ...] = key(
        ListOf(Choice(*STATES), "a list of states"),
        "States in which `sample` cannot be read. Cases that need it there are n/a.",
        default=(),
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """A state that is listed twice, or running, in which there must be something to see."""
        for index, state in enumerate(self.unreadable_in):
            if state in self.unreadable_in[:index]:
                yield f"unreadable_in.{index}", f"`{state}` is listed twice"
            if state == "running":
                yield f"unreadable_in.{index}", "a sample that cannot be read in running shows nothing"


@dataclass(frozen=True, kw_only=True)
class Interrupts:
    """Makes the device raise an interrupt repeatedly, until stopped."""

    index: int = key(Integer(0, 0xFFFF), "Index of the interrupt; on a PCI device 0 is INTx, 1 MSI, 2 MSI-X.")
    vector: int = key(Integer(0, 0xFFFF), "Which vector of it.", default=0)
    start: tuple[Step, ...] = key(
        Program("$iova", "$length"),
        "Starts the interrupts; the vector was enabled before. `$iova`, `$length`: memory that may be written.",
    )
    stop: tuple[Step, ...] = key(Program("$iova", "$length"), "Ends them.")
    comes_within: float = key(
        Duration("1us", "24h"), "Once started, at least one interrupt comes in any period of this length."
    )


@dataclass(frozen=True, kw_only=True)
class Work:
    """A piece of work that may be in flight when the device is stopped."""

    start: tuple[Step, ...] = key(
        Program("$iova", "$length"),
        "Gives the device work, and does not wait for it. `$iova`, `$length`: memory that it may write.",
    )
    ended: tuple[Step, ...] = key(
        Program(), "Waits until the device that then has the state reports the work as done or aborted."
    )


@dataclass(frozen=True, kw_only=True)
class MigrationStimulus(Stimulus):
    """How to make the device fail while it migrates, or have work in flight."""

    running: Running | None = key(
        OrNone(Record(MigrationRunning), refused=ALWAYS_RUNS),
        "Shows whether the device runs. Without it, the rules on stopping are not-run.",
        default=None,
    )
    interrupts: Interrupts | None = key(
        OrNone(Record(Interrupts)),
        "Makes the device raise an interrupt repeatedly. Without it, the rules on interrupts while stopped are "
        "not-run; `none`: the device has no interrupts, or no way to do so.",
        default=None,
    )
    error: tuple[Step, ...] | None = key(
        OrNone(Program()),
        "Makes the next write to device_state fail, and the device report the error state. "
        "Without it, the rules on errors are not-run; `none`: there is no way to make it fail.",
        default=None,
    )
    refusal: tuple[Step, ...] | None = key(
        OrNone(Program()),
        "Makes the next write to device_state fail, while the device keeps its state. Without it, the rules "
        "on refused transitions are not-run; `none`: there is no way to make it refuse one.",
        default=None,
    )
    save_fault: tuple[Step, ...] | None = key(
        OrNone(Program()),
        "Makes the device fail while its state is saved. Without it, the rules on faults are not-run; `none`: "
        "there is no way to make it fail.",
        default=None,
    )
    resume_fault: tuple[Step, ...] | None = key(
        OrNone(Program()),
        "Makes the device fail while it is resumed: it cannot use a buffer that is written after that, "
        "although nothing is wrong with the data. Without it, the rules on faults are not-run; `none`: there is no way "
        "to make it fail.",
        default=None,
    )
    work: Work | None = key(
        OrNone(Record(Work)),
        "Work that can be in flight when the device is stopped. Without it, the rule on that is not-run; `none`: the "
        "device has no work that takes time.",
        default=None,
    )


class MigrationSection(Section):
    """The keys of version 1."""

    name = "migration_v1"
    about = "the migration region"
    claims = MigrationClaims
    stimulus = MigrationStimulus

    @staticmethod
    def problems(profile: Profile) -> Iterator[tuple[str, str]]:
        """Steps of the set-up that map a data section that cannot be mapped; interrupts that come too late."""
        stimulus = profile.stimulus_of(MigrationStimulus)
        if stimulus.interrupts and stimulus.interrupts.comes_within >= profile.limits.test:
            yield "stimulus.interrupts.comes_within", f"longer than a whole test may take ({profile.limits.test:g} s)"
        for moment in ("after_open", "after_reset"):
            program: tuple[SetupStep, ...] = getattr(profile.setup, moment)
            for place in (
                f"setup.{moment}.{at}.map" for at, step in enumerate(program) if isinstance(step, MapSection)
            ):
                if MigrationSection.name not in profile.interfaces:
                    yield place, "there is a data section only with migration_v1 in `interfaces`"
                elif profile.claims_of(MigrationClaims).data_section == "trapped":
                    yield place, "`claims.data_section` says that it cannot be mapped: `trapped`"
