# SPDX-License-Identifier: GPL-2.0-only
"""The options of the device, chosen when it is started (DEVICE.md, Options).

Each option is declared once, as a field of Options. The command line, the defaults and the bounds follow from that.
The first value of a choice is the default; the kernel module behaves like that for the options that it does not
have.
"""

from __future__ import annotations

import argparse
from dataclasses import Field, dataclass, field, fields
from typing import Any, NamedTuple

#: Half a section must be whole pages, so that either half can be mapped.
_SECTION_UNIT = 8 << 10
#: For the size and the place of a section that is not mapped.
_TRAPPED_UNIT = 8
_LEAST_BUFFER = 8
_BUFFER = 16 << 10
_PAGE = 4 << 10

_KEY = "option"


class Choice(NamedTuple):
    """An option with a few values."""

    values: tuple[str, ...]
    help: str


class Number(NamedTuple):
    """An option with a number, and its bounds unless they depend on other options."""

    least: int | None
    most: int | None
    unit: str
    help: str


def _choice(values: str, help_text: str) -> Any:
    """A field with one of a few values; ``values`` are separated by blanks."""
    choice = Choice(tuple(values.split()), help_text)
    return field(default=choice.values[0], metadata={_KEY: choice})


def _number(default: int | None, least: int | None, most: int | None, unit: str, help_text: str) -> Any:
    """A field with a number."""
    return field(default=default, metadata={_KEY: Number(least, most, unit, help_text)})


@dataclass(frozen=True)
class Options:
    """How this device is built; DEVICE.md says what each value does. Sizes are in bytes."""

    # The device, its data and its section.
    data_section: str = _choice(
        "mapped trapped partitioned scattered",
        "how much of the data section can be mapped: all (default), none, the first half, some areas",
    )
    memory: int = _number(64 << 10, 0, 2 << 30, "BYTES", "device memory")
    section: int = _number(16 << 10, 1, 256 << 20, "BYTES", "data section")
    buffer: int | None = _number(
        None, None, None, "BYTES", f"largest buffer (default: {_BUFFER}, or the section if that is smaller)"
    )
    offset: str = _choice(
        "fixed moving middle last", "where in the data section buffers are (default: fixed, at its start)"
    )
    pre_copy: str = _choice(
        "data none endless bursts",
        "how pre-copy offers the device memory: once (default), never, repeatedly, with pauses",
    )
    slow: int = _number(
        0, 0, 10_000_000, "MICROSECONDS", "time that it takes to make a buffer available, or to consume one"
    )
    quiet: str = _choice("no yes", "whether COUNTER is left out of the state")
    undrawn: str = _choice("accept refuse", "transitions that the interface does not draw")
    read_only: str = _choice("ignore refuse", "writes to read-only registers")
    dirty_scope: str = _choice(
        "written everything sticky",
        "which pages are dirty: those written or pinned (default), every mapped one, the former until STOP",
    )
    reset: str = _choice("clear keep", "what a reset does to the device memory and the SCRATCH registers")
    pending: str = _choice(
        "exact over one growing drifting",
        "what pending_bytes reads while there is data: the bytes left, 4 GiB more, 1, more with each buffer, varying",
    )
    buffers: str = _choice("even mixed", "whether all buffers but the last are of the same size")
    bad_data: str = _choice(
        "refuse drop fail",
        "damaged or missing buffers in RESUMING: refused at once, dropped at the end, or an error at the end",
    )
    needs_interrupt: str = _choice("no yes", "whether the device runs only while interrupt vector 0 is enabled")
    driver_version: str = _choice(
        "1.0 1.1", "the driver's version: the state of 1.1 has another layout, which 1.0 refuses; 1.1 accepts both"
    )
    # Answers.
    self_writes: str = _choice("accept refuse", "writes of the present state")
    reserved_bits: str = _choice("ignore refuse keep", "bits 3-31 of a written device_state")
    after_failure: str = _choice(
        "state error", "what a refused write of device_state leaves: the state, or the error state"
    )
    undefined: str = _choice(
        "serve refuse", "accesses to registers and data that have no meaning in this state or order"
    )
    # What the device reports about itself.
    regions: str = _choice("plain crowded bare far", "which regions there are, and which of them is for migration")
    capabilities: str = _choice(
        "plain mixed odd", "capability chains in order, reversed with unknown ones, or at odd offsets"
    )
    # The container.
    restart: str = _choice("accept refuse", "START while pages are tracked, STOP while none are")
    ranges: str = _choice(
        "any whole mapped",
        "bitmaps of ranges that cut a mapping or have holes: both given, none that cut, or neither",
    )
    unmapping: str = _choice("exact across", "whether several mappings, or none, can be unmapped as one")
    iova: str = _choice("all pc none", "the ranges of usable IOVA: one of everything, those of a PC, or not reported")
    # Numbers for all of the above.
    section_at: int = _number(4096, 32, 1 << 36, "BYTES", "where in its region the data section begins")
    errno: int = _number(0, 0, 4095, "N", "one errno for all refusals; 0: each its own")
    slow_access: int = _number(0, 0, 1_000_000, "MICROSECONDS", "time that each access to a region takes")
    slow_reset: int = _number(0, 0, 10_000_000, "MICROSECONDS", "time that a reset takes")
    slow_transition: int = _number(0, 0, 10_000_000, "MICROSECONDS", "time that a change to another state takes")
    largest_transfer: int = _number(1 << 20, 4096, 1 << 20, "BYTES", "most data in one message")
    largest_bitmap: int = _number(1 << 24, 8, 1 << 28, "BYTES", "the largest dirty bitmap")

    @property
    def largest_buffer(self) -> int:
        """Bytes of a buffer at most."""
        return min(_BUFFER, self.section) if self.buffer is None else self.buffer

    def problems(self) -> list[str]:
        """One line for each number that is out of bounds."""
        lines = []
        for each in fields(self):
            value, kind = getattr(self, each.name), each.metadata[_KEY]
            bounded = isinstance(kind, Number) and kind.least is not None and kind.most is not None
            if bounded and not kind.least <= value <= kind.most:
                unit = "" if kind.unit == "N" else f" {kind.unit.lower()}"
                lines.append(f"{_spelt(each)}={value}: must be {kind.least} to {kind.most}{unit}")
        return lines + self._problems_of_section()

    def _problems_of_section(self) -> list[str]:
        """The same for what depends on the kind of the section."""
        lines = []
        trapped = self.data_section == "trapped"
        unit = _TRAPPED_UNIT if trapped else _SECTION_UNIT
        if self.section % unit:
            lines.append(f"--section={self.section}: must be a multiple of {unit}")
        if self.section_at % (_TRAPPED_UNIT if trapped else _PAGE):
            lines.append(f"--section-at={self.section_at}: a mappable section begins at a page")
        if not _LEAST_BUFFER <= self.largest_buffer <= self.section:
            lines.append(
                f"--buffer={self.largest_buffer}: must be {_LEAST_BUFFER} to {self.section} bytes, the section"
            )
        return lines


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add each option to a command line."""
    for each in fields(Options):
        kind: Choice | Number = each.metadata[_KEY]
        text = kind.help if "(default" in kind.help else f"{kind.help} (default: %(default)s)"
        if isinstance(kind, Choice):
            parser.add_argument(_spelt(each), choices=kind.values, default=each.default, help=text)
        else:
            parser.add_argument(_spelt(each), type=int, default=each.default, metavar=kind.unit, help=text)


def from_arguments(chosen: argparse.Namespace) -> Options:
    """The options given on a command line."""
    return Options(**{each.name: getattr(chosen, each.name) for each in fields(Options)})


def values_of(name: str) -> tuple[str, ...]:
    """The values of an option."""
    choice: Choice = Options.__dataclass_fields__[name].metadata[_KEY]
    return choice.values


def _spelt(each: Field[Any]) -> str:
    """An option as it is spelt on the command line."""
    return f"--{each.name.replace('_', '-')}"
