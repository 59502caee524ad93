# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""The format of a profile, version 1, and what loading one gives.

The dataclasses are the format: the loader and the JSON Schema are both derived from their `key()` fields.
Sizes are bytes (int), times are seconds (float), paths and commands stay as they were written; relative ones
count from the folder in which the suite is run.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from yaml.nodes import ScalarNode

from vfio_compliance.profiles.device import DEVICE, KernelGroupDevice, VfioUserDevice
from vfio_compliance.profiles.document import Document, Problem, Source, listed, quoted
from vfio_compliance.profiles.kinds import Boolean, Choice, Date, Duration, OneOfNumbers, Prose, Size, Text
from vfio_compliance.profiles.records import ListOf, Record, key
from vfio_compliance.profiles.steps import MapSection, Setup, SetupStep, Stimulus, Wait, programs

FORMAT = 1

State: TypeAlias = Literal["running", "pre-copy", "stop-and-copy", "stop", "resuming"]
STATES: tuple[State, ...] = ("running", "pre-copy", "stop-and-copy", "stop", "resuming")

#: The transitions that the interface draws: every driver has them, so none can be claimed.
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
            return f"{quoted(text)} is drawn in the interface, so every driver has it; claim only others"
        states = [state.strip() for state in text.split("->")]
        if "error" in states:
            return "the error state is entered by the driver and left by reset; no transition claims it"
        unknown = [state for state in states if state not in STATES]
        if unknown and len(states) == 2:
            hint = document.did_you_mean(unknown[0], STATES)
            return f"{quoted(unknown[0])} is no state; expected {listed(STATES)}{hint}"
        hint = document.did_you_mean(text, self.words)
        return f"expected a transition such as `stop -> running`, found {quoted(text)}{hint}"


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Facts about the device, with which probing must agree. None: not claimed, so neither is it expected."""

    data_section: Literal["trapped", "mapped", "partitioned", "mapped-only"] | None = key(
        Choice("trapped", "mapped", "partitioned", "mapped-only"),
        "How the data section is accessed: by read and write only; by mmap as a whole, or in parts, and by read and "
        "write; or by mmap alone.",
        default=None,
    )
    precopy_data: bool | None = key(Boolean(), "Whether data is offered while still running.", default=None)
    transitions: tuple[tuple[State, State], ...] = key(
        ListOf(_Transition(), "a list of transitions"),
        "Transitions that work though the interface does not draw them; `stop -> stop` writes a state again.",
        default=(),
    )
    repeatable_state: bool | None = key(
        Boolean(),
        "Whether a device that does nothing saves the same bytes each time. Then two saved states are compared byte "
        "for byte.",
        default=None,
    )
    page_size: int | None = key(
        Size("4KiB", "1GiB", power_of_two=True), "Granularity of dirty page tracking.", default=None
    )
    dirty_scope: Literal["everything", "written"] | None = key(
        Choice("everything", "written"),
        "Which pages are reported dirty: every mapped one (a device behind an IOMMU that pins nothing), or those alone "
        "that were written or are pinned.",
        default=None,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        for index, transition in enumerate(self.transitions):
            if transition in self.transitions[:index]:
                yield f"transitions.{index}", f"`{' -> '.join(transition)}` is listed twice"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds beyond which the suite gives up."""

    largest_state: int = key(Size("1", "1024TiB"), "Bytes of a saved state at most.", default="1GiB")
    call: float = key(Duration("1ms", "24h"), "Longest time one call may take.", default="5s")
    test: float = key(Duration("1ms", "24h"), "Longest time one test may take.", default="30s")
    run: float = key(Duration("1ms", "720h"), "Longest time the whole run may take.", default="10min")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.call > self.test:
            yield "call", f"`call` ({self.call:g} s) is longer than `test` ({self.test:g} s)"
        if self.test > self.run:
            yield "test", f"`test` ({self.test:g} s) is longer than `run` ({self.run:g} s)"


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A known deviation: the rule is broken, and reported as waived while it is broken in the listed way."""

    rule: str = key(
        Text("the id of a rule such as `v1.reserved.reads-zero`", r"[a-z0-9-]+(\.[a-z0-9-]+)+"),
        "Id of the rule.",
    )
    reason: str = key(Prose(), "Why this is accepted for now.")
    link: str | None = key(Text(), "Where it is tracked.", default=None)
    expires: datetime.date | None = key(Date(), "Last day on which it holds; later it is stale.", default=None)
    shows: str | None = key(
        Text(),
        "Text that the failure must contain in what was seen; another failure is not waived.",
        default=None,
    )
    case: str | None = key(
        Text(),
        "Text that the case's name must contain; what fails in another case is not waived.",
        default=None,
    )
    sometimes: bool = key(
        Boolean(),
        "It does not show in every run, or on every machine: that the rule is kept is not reported as stale.",
        default=False,
    )


@dataclass(frozen=True, kw_only=True)
class Skip:
    """Cases that are not to be run; they end as not judged, with the reason."""

    case: str = key(Text(), "Text in the names of the cases, or the id of their rule.")
    reason: str = key(Prose(), "Why they are not judged.")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a profile says about one device."""

    format: int = key(OneOfNumbers(FORMAT), "Version of this format.")
    name: str = key(
        Text("a name of letters, digits, `.`, `_` and `-`", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
        "Short name of the device, used in reports and names of files.",
    )
    description: str = key(Prose(), "What the device is, in a line.", default="")
    vendor: str | None = key(Text(), "Who makes it.", default=None)
    product: str | None = key(Text(), "What it is sold as.", default=None)
    driver: str | None = key(Text(), "The vendor driver under test.", default=None)
    version: str | None = key(Text(), "Its version, in quotes.", default=None)
    interfaces: tuple[Literal["migration_v1", "dirty_type1"], ...] = key(
        ListOf(Choice("migration_v1", "dirty_type1"), "a list of interfaces", at_least=1),
        "What is judged: the migration region (migration_v1), the container's dirty page tracking (dirty_type1).",
    )
    device: KernelGroupDevice | VfioUserDevice = key(DEVICE, "How to reach the device.")
    claims: Claims = key(Record(Claims), "Facts about the device that probing must agree with.", default=Claims())
    limits: Limits = key(Record(Limits), "Bounds beyond which the suite gives up.", default=Limits())
    setup: Setup = key(Record(Setup), "What the device needs before it is used.", default=Setup())
    stimulus: Stimulus = key(Record(Stimulus), "How to make the device do something.", default=Stimulus())
    waivers: tuple[Waiver, ...] = key(
        ListOf(Record(Waiver), "a list of waivers"), "Known deviations of the device.", default=()
    )
    skip: tuple[Skip, ...] = key(
        ListOf(Record(Skip), "a list of cases to skip"), "Cases that are left unjudged, and why.", default=()
    )

    path: Path = Path()
    source: Source = field(default=Source(), repr=False, compare=False)
    #: Dotted paths of the keys that are `none`.
    denied: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes in hexadecimal."""
        return self.source.digest

    def denies(self, dotted: str) -> bool:
        """Whether the profile says `none` of a key such as `stimulus.dirty.pin`, or of one around it.

        False, too, for a key of which it says nothing.
        """
        return any(dotted == key or dotted.startswith(f"{key}.") for key in self.denied)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Problems of what is denied, for the loader: dotted key and message."""
        if "stimulus.dirty" not in self.denied:
            return
        if "dirty_type1" in self.interfaces:
            advice = "leave dirty_type1 out of `interfaces`, or leave this key out"
            yield (
                "stimulus.dirty",
                f"dirty_type1 is judged by what the device writes, so this cannot be `none`; {advice}",
            )
        elif self.stimulus.dma:
            yield "stimulus.dirty", "`none` says that the device writes no memory, yet `dma` makes it do so"

    def unknown_rules(self, known: Collection[str]) -> list[Problem]:
        """A problem for each waiver of a rule whose id is not `known`."""
        named = {f"waivers.{index}.rule": waiver.rule for index, waiver in enumerate(self.waivers)}
        return self.source.unknown_rules(named, known)

    def problems(self) -> Iterator[tuple[str, str]]:
        stimulus, test = self.stimulus, self.limits.test
        yield from self._long_waits()
        yield from self._needless_maps()
        if stimulus.running and stimulus.running.changes_within >= test:
            yield "stimulus.running.changes_within", f"longer than a whole test may take ({test:g} s)"
        if stimulus.dma and stimulus.dma.writes_within >= test:
            yield "stimulus.dma.writes_within", f"longer than a whole test may take ({test:g} s)"
        for index, interface in enumerate(self.interfaces):
            if interface in self.interfaces[:index]:
                yield f"interfaces.{index}", f"`{interface}` is listed twice"
        listings = [(waiver.rule, waiver.shows, waiver.case) for waiver in self.waivers]
        for index, listing in enumerate(listings):
            if listing in listings[:index]:
                yield f"waivers.{index}.rule", f"`{listing[0]}` is waived twice for the same failure"
        cases = [skip.case for skip in self.skip]
        for index, case in enumerate(cases):
            if case in cases[:index]:
                yield f"skip.{index}.case", f"{quoted(case)} is skipped already"

    def _long_waits(self) -> Iterator[tuple[str, str]]:
        """Waits that do not fit into one test: those of a list of steps, and all those of the setup together."""
        test = self.limits.test
        groups: dict[str, dict[str, Wait]] = {}
        for path, steps in programs(self.stimulus, self.setup).items():
            waits = {f"{path}.{index}.wait.within": step for index, step in enumerate(steps) if isinstance(step, Wait)}
            groups.setdefault("setup" if path.startswith("setup.") else path, {}).update(waits)
        for group, waits in groups.items():
            total = 0.0
            for path, wait in waits.items():
                total += wait.within
                if total >= test:
                    yield path, f"the waits of `{group}` last {total:g} s up to here; a whole test may take {test:g} s"
                    break

    def _needless_maps(self) -> Iterator[tuple[str, str]]:
        for name in ("after_open", "after_reset"):
            steps: tuple[SetupStep, ...] = getattr(self.setup, name)
            for index, step in enumerate(steps):
                if not isinstance(step, MapSection):
                    continue
                if "migration_v1" not in self.interfaces:
                    yield f"setup.{name}.{index}.map", "there is a data section only with migration_v1 in `interfaces`"
                elif self.claims.data_section == "trapped":
                    yield f"setup.{name}.{index}.map", "`claims.data_section` says that it cannot be mapped: `trapped`"

    def where(self, dotted: str) -> str:
        """`file:line:column` of a key such as `stimulus.running.sample` or `waivers.0`.

        What the file leaves out gives the nearest key around it, or the file's beginning.
        """
        return self.source.where(dotted)


PROFILE = Record(Profile)
