# SPDX-License-Identifier: GPL-2.0-only
# ruff: noqa: RUF009 (key() makes a dataclass field)
"""How to make the device do something, and what it needs before use: lists of steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

from yaml.nodes import Node, ScalarNode

from vfio_compliance.profiles.document import Document
from vfio_compliance.profiles.expressions import Computed, Expression, Value
from vfio_compliance.profiles.kinds import Duration, Kind, Schema, Size
from vfio_compliance.profiles.records import OrNone, Record, key
from vfio_compliance.profiles.steps import Program, Sample, SetupStep, Step, setup_steps

_PAGE: Final = 4096


class _Address(Kind):
    """An address, or the step that reads it."""

    def __init__(self) -> None:
        self._number, self._step = Computed(), Sample()

    def read(self, node: Node, path: str, document: Document) -> Any:
        kind = self._number if isinstance(node, ScalarNode) else self._step
        return kind.read(node, path, document)

    def schema(self) -> Schema:
        return {"anyOf": [self._number.schema(), self._step.schema()]}


@dataclass(frozen=True, kw_only=True)
class Window:
    """The addresses that the device writes, if they cannot be chosen."""

    start: Value | Step = key(
        _Address(), "The first address: a number, or a step that reads it each time that memory is mapped there."
    )
    size: int = key(Size("4KiB", "1024TiB"), "Bytes of it.")

    def problems(self) -> Iterator[tuple[str, str]]:
        """An address in the middle of a page."""
        if isinstance(self.start, int) and self.start % _PAGE:
            yield "start", f"{self.start:#x} is not the start of a page"


@dataclass(frozen=True, kw_only=True)
class Running:
    """Something that changes only while the device runs."""

    sample: Step = key(Sample(), "The step whose value shows it; two values of a running device differ.")
    changes_within: float = key(
        Duration("1us", "24h"), "Two reads of a running device that are this far apart always differ."
    )


@dataclass(frozen=True, kw_only=True)
class Dma:
    """Makes the device write guest memory, over and over, until it is stopped."""

    start: tuple[Step, ...] = key(
        Program("$iova", "$length"),
        "Starts the writes. `$iova`: the address to write to; `$length`: the bytes that may be written.",
    )
    stop: tuple[Step, ...] = key(Program("$iova", "$length"), "Ends the writes.")
    writes_within: float = key(
        Duration("1us", "24h"), "Once started, the device writes at least once in this time, again and again."
    )


@dataclass(frozen=True, kw_only=True)
class Dirty:
    """Makes the device write, or pin, memory at an address that the suite chooses, once."""

    write: tuple[Step, ...] = key(
        Program("$iova", "$length"),
        "Has the device write `$length` bytes at `$iova`. With the last step they are written: end with a `wait` "
        "where that takes time.",
    )
    largest: int = key(Size("1", "1GiB"), "Most bytes, `$length`, that it writes at once.")
    least: int = key(Size("1", "1GiB"), "Fewest bytes, `$length`, that it can be given.", default=1)
    wrote: tuple[Step, ...] | None = key(
        Program(gives=True),
        "For a device that chooses by itself where in the `$length` bytes at `$iova` it writes: steps with two values, "
        "the address that it wrote last and the number of bytes.",
        default=None,
    )
    pin: tuple[Step, ...] | None = key(
        OrNone(Program("$iova", "$length")),
        "Has the driver pin the pages of this range, for good. Without it, the rules on pinned pages are not-run; "
        "`none`: the driver pins no pages for the device.",
        default=None,
    )
    unpin: tuple[Step, ...] | None = key(
        OrNone(Program("$iova", "$length")), "Undoes `pin` for the same range.", default=None
    )

    def problems(self) -> Iterator[tuple[str, str]]:
        """Contradictions."""
        if self.least > self.largest:
            yield "least", f"`least` ({self.least}) is more than `largest` ({self.largest})"
        if (self.pin is None) != (self.unpin is None):
            yield ("unpin" if self.pin is None else "pin"), "`pin` and `unpin` belong together; give both or neither"


@dataclass(frozen=True, kw_only=True)
class VisibleState:
    """Puts a value into the state that migrates, and shows it."""

    set: tuple[Step, ...] = key(Program("$value"), "Stores `$value`, a number that the suite chooses.")
    observe: tuple[Step, ...] = key(
        Program(gives=True),
        "Steps whose values show what is stored. They give the same on the device that the state was moved to.",
    )


ALWAYS_RUNS = (
    "every device does something while it runs; leave the key out, and leave the rules that need it out by name in a "
    "plan"
)


@dataclass(frozen=True, kw_only=True)
class Stimulus:
    """How to make the device do something. A rule that needs a missing part is not-run."""

    running: Running | None = key(
        OrNone(Record(Running), refused=ALWAYS_RUNS),
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
    window: Window | None = key(
        Record(Window),
        "The guest memory that the device writes if `dma`, `dirty` and `work` cannot choose an address. Left out: it "
        "writes at `$iova`.",
        default=None,
    )
    visible_state: VisibleState | None = key(
        OrNone(Record(VisibleState)),
        "Shows whether a state arrives. Without it, the rules on what a saved state restores are not-run; `none`: the "
        "device has no visible state of its own.",
        default=None,
    )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a device needs before it is used; also done with the second device."""

    after_open: tuple[SetupStep, ...] = key(setup_steps(), "Steps done each time the device was opened.", default=())
    after_reset: tuple[SetupStep, ...] = key(setup_steps(), "Steps done each time the device was reset.", default=())


def programs(stimulus: Stimulus, setup: Setup) -> dict[str, tuple[SetupStep, ...]]:
    """Every list of steps of a profile, by its dotted path; a single step is a list of one."""
    return dict([*_programs("setup", setup), *_programs("stimulus", stimulus)])


def every_step(stimulus: Stimulus, setup: Setup) -> dict[str, SetupStep]:
    """Every step of a profile, by the dotted path of its place."""
    return {
        path if isinstance(value, Step) else f"{path}.{index}": step
        for path, value in [*_values("setup", setup), *_values("stimulus", stimulus)]
        for index, step in enumerate((value,) if isinstance(value, Step) else value)
    }


def _programs(path: str, record: Any) -> Iterator[tuple[str, tuple[SetupStep, ...]]]:
    for inner, value in _values(path, record):
        yield inner, (value,) if isinstance(value, Step) else value


def _values(path: str, record: Any) -> Iterator[tuple[str, Step | tuple[SetupStep, ...]]]:
    for each in fields(record):
        inner, value = f"{path}.{each.name}", getattr(record, each.name)
        if isinstance(value, Step) or (isinstance(value, tuple) and value):
            yield inner, value
        elif is_dataclass(value) and not isinstance(value, Expression):
            yield from _values(inner, value)
