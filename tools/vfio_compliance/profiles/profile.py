# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""The format of a profile, version 1, and the result of loading one.

The dataclasses are the format: the loader and the JSON Schema are both derived from their `key()` fields.
Sizes are bytes (int), times are seconds (float), paths and commands stay as they are written; relative ones
start at the folder in which the suite is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from vfio_compliance.profiles import kernel_warning
from vfio_compliance.profiles.claims import Claims, together
from vfio_compliance.profiles.device import DEVICE, KernelGroupDevice, VfioUserDevice
from vfio_compliance.profiles.document import Source, quoted
from vfio_compliance.profiles.kernel_warning import KERNEL_WARNINGS, KernelWarning
from vfio_compliance.profiles.kinds import Choice, Duration, Integer, OneOfNumbers, Prose, Size, Text
from vfio_compliance.profiles.records import ListOf, Record, key
from vfio_compliance.profiles.steps import FileStep, waiting
from vfio_compliance.profiles.stimulus import Setup, Stimulus, every_step, programs
from vfio_compliance.profiles.waiver import WAIVERS, Waiver, problems

FORMAT = 1

NAME = Text("a name of letters, digits, `.`, `_` and `-`", "[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

C = TypeVar("C", bound=Claims)
S = TypeVar("S", bound=Stimulus)


def _interfaces(names: Sequence[str]) -> ListOf:
    return ListOf(Choice(*names), "a list of interfaces", at_least=1)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds beyond which the suite gives up."""

    largest_state: int = key(Size("1", "1024TiB"), "The most bytes of a saved state.", default="1GiB")
    call: float = key(Duration("1ms", "24h"), "Longest time one call may take.", default="5s")
    test: float = key(Duration("1ms", "24h"), "Longest time one test may take.", default="30s")
    run: float = key(Duration("1ms", "720h"), "Longest time the whole run may take.", default="10min")

    passes: int = key(
        Integer(1, 1 << 20),
        "The most times that a state of more than 1 MiB is saved whole; cases that need more are not run.",
        default=4,
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.call > self.test:
            yield "call", f"`call` ({self.call:g} s) is longer than `test` ({self.test:g} s)"
        if self.test > self.run:
            yield "test", f"`test` ({self.test:g} s) is longer than `run` ({self.run:g} s)"


@dataclass(frozen=True, kw_only=True)
class Times:
    """What takes long on this device; a dry run uses it to say how long a run takes."""

    reset: float | None = key(Duration("1us", "24h"), "How long a reset takes.", default=None)
    save: float | None = key(Duration("1us", "24h"), "How long saving the whole state takes.", default=None)


@dataclass(frozen=True, kw_only=True)
class ActionFile:
    """Functions in Python, for what steps cannot say."""

    file: str = key(Text("the path of a Python file"), "The file; a relative path counts from the profile's folder.")
    within: float = key(Duration("1ms", "24h"), "Longest time that one function may take.", default="5s")


@dataclass(frozen=True, kw_only=True)
class Skip:
    """Cases that are not to be run; they end as not judged, with the reason."""

    case: str = key(Text(), "Text in the names of the cases, or the id of their rule.")
    reason: str = key(Prose(), "Why they are not judged.")


class Section:
    """What one interface adds; ``name`` is its name in profiles."""

    name: ClassVar[str]
    #: What is judged, in a few words: "the migration region".
    about: ClassVar[str]
    #: Its keys below ``claims`` and ``stimulus``.
    claims: ClassVar[type[Claims]] = Claims
    stimulus: ClassVar[type[Stimulus]] = Stimulus

    @staticmethod
    def problems(profile: Profile) -> Iterator[tuple[str, str]]:
        """Dotted key and message of contradictions between its keys and others."""
        yield from ()

    @staticmethod
    def contradictions(profile: Profile) -> Iterator[tuple[str, str]]:
        """The same for keys that are denied by the word ``none``."""
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A profile of one device."""

    format: int = key(OneOfNumbers(FORMAT), "Version of this format.")
    name: str = key(NAME, "Short name of the device, used in reports and names of files.")
    description: str = key(Prose(), "What the device is, in a line.", default="")
    vendor: str | None = key(Text(), "Who makes it.", default=None)
    product: str | None = key(Text(), "What it is sold as.", default=None)
    driver: str | None = key(Text(), "The vendor driver under test.", default=None)
    version: str | None = key(Text(), "Its version, in quotes.", default=None)
    interfaces: tuple[str, ...] = key(_interfaces(()), "What is judged")
    device: KernelGroupDevice | VfioUserDevice = key(DEVICE, "How to reach the device.")
    #: Of the class with the keys of all interfaces; see claims_of().
    claims: Claims = key(Record(Claims), "Facts about the device that probing must agree with.", default=Claims())
    limits: Limits = key(Record(Limits), "Bounds beyond which the suite gives up.", default=Limits())
    times: Times = key(Record(Times), "What takes long on this device, for a dry run.", default=Times())
    setup: Setup = key(Record(Setup), "What the device needs before it is used.", default=Setup())
    stimulus: Stimulus = key(Record(Stimulus), "How to make the device do something.", default=Stimulus())
    actions: ActionFile | None = key(
        Record(ActionFile), "A Python file whose functions the step `call` calls.", default=None
    )
    waivers: tuple[Waiver, ...] = key(WAIVERS, "Known deviations of the device.", default=())
    kernel_warnings: tuple[KernelWarning, ...] = key(
        KERNEL_WARNINGS, "Known kernel warnings while the device is used.", default=()
    )
    skip: tuple[Skip, ...] = key(
        ListOf(Record(Skip), "a list of cases to skip"), "Cases that are left unjudged, and why.", default=()
    )

    #: What the interfaces add to the format.
    sections: ClassVar[tuple[type[Section], ...]] = ()

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

        Also False for a key that the profile does not have.
        """
        return any(dotted == key or dotted.startswith(f"{key}.") for key in self.denied)

    @property
    def action_file(self) -> Path:
        """Where the file of ``actions`` is; it has to be there."""
        assert self.actions
        return self.path.parent / self.actions.file

    def claims_of(self, kind: type[C]) -> C:
        """What the profile claims, as the class of one interface."""
        assert isinstance(self.claims, kind)
        return self.claims

    def stimulus_of(self, kind: type[S]) -> S:
        """The stimulus, as the class of one interface."""
        assert isinstance(self.stimulus, kind)
        return self.stimulus

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Problems of denied keys, for the loader: dotted key and message."""
        found = [each for section in self.sections for each in section.contradictions(self)]
        yield from found
        if not found and "stimulus.dirty" in self.denied and self.stimulus.dma:
            yield "stimulus.dirty", "`none` says that the device writes no memory, but `dma` makes it do so"

    def problems(self) -> Iterator[tuple[str, str]]:
        stimulus, test = self.stimulus, self.limits.test
        yield from self._long_waits()
        yield from self._places_of_the_other_transport()
        for section in self.sections:
            yield from section.problems(self)
        if self.actions and self.actions.within >= test:
            yield "actions.within", f"longer than a whole test may take ({test:g} s)"
        if stimulus.running and stimulus.running.changes_within >= test:
            yield "stimulus.running.changes_within", f"longer than a whole test may take ({test:g} s)"
        if stimulus.dma and stimulus.dma.writes_within >= test:
            yield "stimulus.dma.writes_within", f"longer than a whole test may take ({test:g} s)"
        for index, interface in enumerate(self.interfaces):
            if interface in self.interfaces[:index]:
                yield f"interfaces.{index}", f"`{interface}` is listed twice"
        yield from problems(self.waivers)
        yield from kernel_warning.problems(self.kernel_warnings)
        cases = [skip.case for skip in self.skip]
        for index, case in enumerate(cases):
            if case in cases[:index]:
                yield f"skip.{index}.case", f"{quoted(case)} is skipped already"

    def _long_waits(self) -> Iterator[tuple[str, str]]:
        """Waits that do not fit into one test: those of a list of steps, and all those of the setup together."""
        test = self.limits.test
        groups: dict[str, dict[str, float]] = {}
        for path, steps in programs(self.stimulus, self.setup).items():
            found = [(index, *waiting(step)) for index, step in enumerate(steps)]
            waits = {f"{path}.{index}.{word}.within": within for index, word, within in found if word}
            groups.setdefault("setup" if path.startswith("setup.") else path, {}).update(waits)
        for group, waits in groups.items():
            total = 0.0
            for path, within in waits.items():
                total += within
                if total >= test:
                    yield path, f"the waits of `{group}` last {total:g} s up to here; a whole test may take {test:g} s"
                    break

    def _places_of_the_other_transport(self) -> Iterator[tuple[str, str]]:
        """Words in paths of files that are not filled in for this device."""
        served = isinstance(self.device, VfioUserDevice)
        foreign = ("{sysfs}", "{name}") if served else ("{socket}",)
        for place, step in every_step(self.stimulus, self.setup).items():
            path = step.path if isinstance(step, FileStep) else ""
            for word in foreign:
                if word in path:
                    yield place, f"`{word}` is unknown for a device with transport `{self.device.transport}`"

    def where(self, dotted: str) -> str:
        """`file:line:column` of a key such as `stimulus.running.sample` or `waivers.0`.

        For a key that is left out, that of the nearest key around it, or of the file's start.
        """
        return self.source.where(dotted)


def profile_format(sections: Sequence[type[Section]]) -> Record:
    """The format of profiles for the interfaces of these sections, in their order."""
    its_claims = together("Claims", str(Claims.__doc__), Claims, [section.claims for section in sections])
    its_stimulus = together("Stimulus", str(Stimulus.__doc__), Stimulus, [section.stimulus for section in sections])
    about = ", ".join(f"{section.about} ({section.name})" for section in sections)

    @dataclass(frozen=True, kw_only=True)
    class WithSections(Profile):
        __doc__ = Profile.__doc__
        interfaces: tuple[str, ...] = key(
            _interfaces([section.name for section in sections]), f"What is judged: {about}."
        )
        claims: Claims = key(
            Record(its_claims), "Facts about the device that probing must agree with.", default=its_claims()
        )
        stimulus: Stimulus = key(Record(its_stimulus), "How to make the device do something.", default=its_stimulus())

    WithSections.sections = tuple(sections)
    return Record(WithSections)
