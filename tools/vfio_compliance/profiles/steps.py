# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""How to make the device do something: register programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

from yaml.nodes import ScalarNode

from vfio_compliance.common.words import counted
from vfio_compliance.profiles.document import Document, quoted
from vfio_compliance.profiles.kinds import Choice, Duration, Integer, Kind, NumberOrVariable, OneOfNumbers, Size
from vfio_compliance.profiles.records import ListOf, OneKey, OrNone, Record, key


@dataclass(frozen=True, kw_only=True)
class _Access:
    region: int = key(Integer(0, 0xFFFF), "Index of the VFIO region; on a PCI device 0 to 5 are the BARs.")
    offset: int = key(Integer(0, 2**63 - 1), "Bytes from the start of the region.")
    width: int = key(OneOfNumbers(1, 2, 4, 8), "Bytes accessed at once.")


@dataclass(frozen=True, kw_only=True)
class Read(_Access):
    """Read a register."""


@dataclass(frozen=True, kw_only=True)
class Write(_Access):
    """Write a register: a number, or the name of a variable (`$iova`) that the suite fills in."""

    value: int | str = key(NumberOrVariable(), "What to write.")

    def problems(self) -> Iterator[tuple[str, str]]:
        if isinstance(self.value, int) and self.value >> 8 * self.width:
            yield "value", f"{self.value:#x} does not fit into the width of {counted(8 * self.width, 'bit')}"
        if self.value in ("$iova", "$length") and self.width < 4:
            yield "value", f"{quoted(str(self.value))} wants a register of 4 or 8 bytes, not {self.width}"


@dataclass(frozen=True, kw_only=True)
class Wait(_Access):
    """Read a register again and again until the bits in `mask` equal `equals`."""

    mask: int = key(Integer(1), "The bits to look at; left out: all of them.", default=2**64 - 1)
    equals: int = key(Integer(), "What the bits must be for the wait to end.")
    within: float = key(Duration("1us", "24h"), "Longest time to wait; then the step has failed.")

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.equals >> 8 * self.width:
            yield "equals", f"{self.equals:#x} does not fit into the width of {counted(8 * self.width, 'bit')}"
        elif self.equals & ~self.mask:
            yield (
                "equals",
                f"{self.equals:#x} has bits outside the mask {self.mask:#x}; this never becomes true",
            )
        if self.mask != 2**64 - 1 and self.mask >> 8 * self.width:
            yield "mask", f"{self.mask:#x} does not fit into the width of {counted(8 * self.width, 'bit')}"


@dataclass(frozen=True)
class MapSection:
    """Map the mappable parts of the migration region's data section, and leave them mapped."""


Step: TypeAlias = Write | Read | Wait
SetupStep: TypeAlias = Step | MapSection


class _Section(Choice):
    """What the step `map` maps."""

    def parse(self, node: ScalarNode, document: Document) -> Any:
        super().parse(node, document)
        return MapSection()


def _step(*variables: str, **more: Kind) -> Kind:
    write = Record(Write, kinds={"value": NumberOrVariable(*variables)})
    return OneKey({"write": write, "read": Record(Read), "wait": Record(Wait), **more})


def steps(*variables: str) -> ListOf:
    """A program of at least one step; a write may name one of ``variables`` for its value."""
    return ListOf(_step(*variables), "a list of steps", at_least=1)


_SETUP_STEPS = ListOf(_step(map=_Section("data_section")), "a list of steps")


_READ = OneKey({"read": Record(Read)})


@dataclass(frozen=True, kw_only=True)
class Running:
    """Something that changes while the device runs, and only then."""

    sample: Read = key(_READ, "The read that shows it; two reads of a running device differ.")
    changes_within: float = key(
        Duration("1us", "24h"), "Two reads of a running device that are this far apart always differ."
    )


@dataclass(frozen=True, kw_only=True)
class Dma:
    """Makes the device write memory of the guest, over and over, until told to stop."""

    start: tuple[Step, ...] = key(
        steps("$iova", "$length"),
        "Starts the writes. `$iova`: the address to write to; `$length`: the bytes that may be written.",
    )
    stop: tuple[Step, ...] = key(steps("$iova", "$length"), "Ends the writes.")
    writes_within: float = key(
        Duration("1us", "24h"), "Once started, the device writes at least once in this time, again and again."
    )


@dataclass(frozen=True, kw_only=True)
class Dirty:
    """Makes the device write, or pin, memory at an address that the suite chooses, once."""

    write: tuple[Step, ...] = key(
        steps("$iova", "$length"),
        "Has the device write `$length` bytes at `$iova`. With the last step they are written: end with a `wait` "
        "where that takes time.",
    )
    largest: int = key(Size("1", "1GiB"), "Most bytes, `$length`, that it writes at once.")
    pin: tuple[Step, ...] | None = key(
        OrNone(steps("$iova", "$length")),
        "Has the driver pin the pages of this range, for good. Without it, the rules on pinned pages are not-run; "
        "`none`: the driver pins no pages for the device.",
        default=None,
    )
    unpin: tuple[Step, ...] | None = key(
        OrNone(steps("$iova", "$length")), "Undoes `pin` for the same range.", default=None
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        if (self.pin is None) != (self.unpin is None):
            yield ("unpin" if self.pin is None else "pin"), "`pin` and `unpin` belong together; give both or neither"


@dataclass(frozen=True, kw_only=True)
class VisibleState:
    """Puts a value into the part of the device that migrates, and shows it."""

    set: tuple[Step, ...] = key(steps("$value"), "Stores `$value`, a number that the suite chooses.")
    observe: tuple[Read, ...] = key(
        ListOf(_READ, "a list of reads", at_least=1),
        "Reads that show what is stored. They give the same on the device that the state was moved to.",
    )


_EVERY_DEVICE = "{}; leave the key out, and leave the rules that need it out by name in a plan"


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """How to make the device do something. A rule that needs a part left out here is not-run."""

    running: Running | None = key(
        OrNone(Record(Running), refused=_EVERY_DEVICE.format("every device does something while it runs")),
        "Shows whether the device runs. Without it, the rules on stopping are not-run.",
        default=None,
    )
    dma: Dma | None = key(
        OrNone(Record(Dma)),
        "Makes the device write memory over and over. Without it, the rules on DMA while stopped are not-run; "
        "`none`: the device has no way to do so.",
        default=None,
    )
    dirty: Dirty | None = key(
        OrNone(Record(Dirty)),
        "Makes the device write at one address, once. Without it, the rules on which pages are reported dirty are "
        "not-run; `none`: the device writes no memory.",
        default=None,
    )
    visible_state: VisibleState | None = key(
        OrNone(Record(VisibleState), refused=_EVERY_DEVICE.format("every device that migrates has a state that shows")),
        "Shows whether a state arrives. Without it, the rules on what a saved state restores are not-run.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a device needs before it is used; done with the second device as well."""

    after_open: tuple[SetupStep, ...] = key(_SETUP_STEPS, "Steps done each time the device was opened.", default=())
    after_reset: tuple[SetupStep, ...] = key(_SETUP_STEPS, "Steps done each time the device was reset.", default=())


def programs(stimulus: Stimulus, setup: Setup) -> dict[str, tuple[SetupStep, ...]]:
    """Every list of steps of a profile, by its dotted path."""
    return dict([*_programs("setup", setup), *_programs("stimulus", stimulus)])


def _programs(path: str, record: Any) -> Iterator[tuple[str, tuple[SetupStep, ...]]]:
    for each in fields(record):
        inner, value = f"{path}.{each.name}", getattr(record, each.name)
        if isinstance(value, tuple) and value:
            yield inner, value
        elif is_dataclass(value):
            yield from _programs(inner, value)
