# SPDX-License-Identifier: GPL-2.0-only
"""In how many ways the device can keep the rules: what the text leaves open, and how this device does it.

Each is an option of the server's command line by the same name. The first value is what the device does unless told
otherwise. The kernel module does that, and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple


class Choice(NamedTuple):
    """An option with a few values."""

    values: tuple[str, ...]
    help: str


class Number(NamedTuple):
    """An option with a number."""

    default: int
    least: int
    most: int
    unit: str
    help: str


class Manner(NamedTuple):
    """What was chosen; DEVICE.md says what each value does."""

    # The data and its section.
    section_at: int = 4096
    pending: str = "exact"
    buffers: str = "even"
    bad_data: str = "refuse"
    # Answers.
    self_writes: str = "accept"
    reserved_bits: str = "ignore"
    after_failure: str = "state"
    undefined: str = "serve"
    errno: int = 0
    slow_access: int = 0
    # What the device says of itself.
    regions: str = "plain"
    capabilities: str = "plain"
    largest_transfer: int = 1 << 20
    # The container.
    restart: str = "accept"
    ranges: str = "any"
    unmapping: str = "exact"
    iova: str = "all"
    largest_bitmap: int = 1 << 28


#: By name of the field; the option is spelt with hyphens.
CHOICES: dict[str, Choice] = {
    "pending": Choice(
        ("exact", "over", "one", "growing", "drifting"),
        "what pending_bytes reads while there is data: the bytes, 4 GiB more, 1, more each buffer, other each time",
    ),
    "buffers": Choice(("even", "mixed"), "whether all buffers but the last are of the same size"),
    "bad_data": Choice(
        ("refuse", "drop", "fail"),
        "damaged or missing buffers in RESUMING: refused at once, dropped at the end, or the end is an error",
    ),
    "self_writes": Choice(("accept", "refuse"), "writes of the present state"),
    "reserved_bits": Choice(("ignore", "refuse", "keep"), "bits 3-31 of a written device_state"),
    "after_failure": Choice(
        ("state", "error"), "what a refused write of device_state leaves: the state, or the error state"
    ),
    "undefined": Choice(
        ("serve", "refuse"), "registers and data in a state, or out of the order, in which they mean nothing"
    ),
    "regions": Choice(
        ("plain", "crowded", "bare", "far"), "which regions there are, and which of them is for migration"
    ),
    "capabilities": Choice(("plain", "mixed"), "whether chains are in order, or reversed with unknown ones and gaps"),
    "restart": Choice(("accept", "refuse"), "START while pages are tracked, STOP while none are"),
    "ranges": Choice(
        ("any", "whole", "mapped"),
        "bitmaps of ranges that cut a mapping or have holes: all are given, none that cut, or neither",
    ),
    "unmapping": Choice(("exact", "across"), "whether several mappings, or none, can be unmapped as one"),
    "iova": Choice(("all", "pc", "none"), "the ranges of usable IOVA: one of everything, those of a PC, or not told"),
}

NUMBERS: dict[str, Number] = {
    "section_at": Number(4096, 32, 1 << 36, "BYTES", "where in its region the data section begins"),
    "errno": Number(0, 0, 4095, "N", "the one errno of all refusals; 0: each its own"),
    "slow_access": Number(0, 0, 1_000_000, "MICROSECONDS", "time that each access of a region takes"),
    "largest_transfer": Number(1 << 20, 4096, 1 << 20, "BYTES", "most data in one message"),
    "largest_bitmap": Number(1 << 28, 8, 1 << 28, "BYTES", "the largest dirty bitmap"),
}


def option(field: str) -> str:
    """The option of the command line that sets ``field``."""
    return f"--{field.replace('_', '-')}"


def out_of_bounds(manner: Manner) -> list[str]:
    """One line for each number that is out of its bounds."""
    lines = []
    for field, number in NUMBERS.items():
        value = getattr(manner, field)
        if not number.least <= value <= number.most:
            lines.append(f"{option(field)}={value}: it is {number.least} to {number.most}")
    return lines
