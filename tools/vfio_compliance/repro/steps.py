# SPDX-License-Identifier: GPL-2.0-only
"""A program's steps. For what another device may answer differently, steps refer to the step with the answer.

The id of a step is the running number of its call; other steps refer to it by that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Answer:
    """The device's answer when it was recorded."""

    value: int = 0
    errno: int = 0
    #: The data, or its first bytes, with the digest of all of it if that is more.
    data: bytes = b""
    digest: str = ""
    #: Of a dirty bitmap: how many bits were set, and the first of them.
    bits: int = 0
    first: tuple[int, ...] = ()
    #: How often the device was asked the same, and answered the same.
    times: int = 1
    #: Nanoseconds from the first of these calls to the end of the last.
    lasted: int = 0

    @property
    def ok(self) -> bool:
        """Whether the call succeeded, even in part."""
        return self.value >= 0

    @property
    def number(self) -> int:
        """What came, as a number."""
        return int.from_bytes(self.data[:8], "little")


@dataclass(frozen=True, slots=True)
class Number:
    """A number: ``plus``, and the answer of the step ``of``, if there is one."""

    plus: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """How many bytes an earlier step read, in its buffer of this number."""

    of: int
    buffer: int = 0


@dataclass(frozen=True, slots=True)
class Copied:
    """Bytes that an earlier step read: of its buffer of this number, counted from 0."""

    of: int
    start: int
    length: int
    buffer: int = 0
    #: All that it read, however much that is.
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Filled:
    """The same byte, repeated."""

    byte: int
    length: int


#: Bytes that are written, piece by piece.
Data: TypeAlias = tuple["bytes | Copied | Filled", ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One call, or one helper of a program."""

    id: int
    #: 0 for the device, 1 for the second one.
    device: int
    was: Answer = field(compare=False, repr=False)

    @property
    def uses(self) -> Iterator[int]:
        """The steps whose answers it needs."""
        yield from ()

    @property
    def length_asked(self) -> int:
        """The bytes that it should move; 0 if it moves none."""
        return 0

    @property
    def whole(self) -> bool:
        """Whether it succeeded as a whole."""
        return self.was.value >= self.length_asked


@dataclass(frozen=True, slots=True)
class Open(Step):
    """Open the device."""


@dataclass(frozen=True, slots=True)
class Close(Step):
    """Close it."""


@dataclass(frozen=True, slots=True)
class Reset(Step):
    """VFIO_DEVICE_RESET."""


@dataclass(frozen=True, slots=True)
class Read(Step):
    """Read a part of a region, by a call or through a mapping."""

    region: int
    offset: Number
    length: Number
    mapped: bool = False

    @property
    def uses(self) -> Iterator[int]:
        yield from filter(None, (self.offset.of, self.length.of))

    @property
    def length_asked(self) -> int:
        return 0 if self.length.of else self.length.plus

    @property
    def whole(self) -> bool:
        return self.was.value > 0 if self.length.of else self.was.value >= self.length.plus


@dataclass(frozen=True, slots=True)
class Map(Step):
    """Map a part of a region."""

    region: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Write(Step):
    """Write to a region, by a call or through a mapping."""

    region: int
    offset: Number
    data: Data
    #: Bytes of the data.
    length: int
    mapped: bool = False
    #: The number that is written, if it is the size of what was read before.
    number: Size | None = None

    @property
    def uses(self) -> Iterator[int]:
        yield from filter(None, (self.offset.of, self.number.of if self.number else 0))
        yield from (piece.of for piece in self.data if isinstance(piece, Copied))

    @property
    def length_asked(self) -> int:
        return self.length


@dataclass(frozen=True, slots=True)
class Look(Step):
    """Look at memory of the device, repeatedly until it differs from the step ``before``."""

    iova: int
    length: int
    before: int

    @property
    def uses(self) -> Iterator[int]:
        yield from filter(None, (self.before,))


@dataclass(frozen=True, slots=True)
class Interrupt(Step):
    """Have an interrupt reported from now on."""

    index: int
    vector: int


@dataclass(frozen=True, slots=True)
class CountInterrupt(Step):
    """How often an interrupt has come."""

    index: int
    vector: int


@dataclass(frozen=True, slots=True)
class Save(Step):
    """Read buffers as a saving client does: a number of them, or all until none is pending."""

    region: int
    #: Whether the data is read through a mapping.
    mapped: bool
    #: How many; None for all.
    buffers: int | None
    #: Reads of pending_bytes before each buffer.
    reads: int
    #: Bytes of each buffer, as recorded.
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Load(Step):
    """Write saved buffers to a resuming device: some of the step ``of``, or all."""

    region: int
    mapped: bool
    of: int
    first: int
    #: How many; None for all.
    buffers: int | None

    @property
    def uses(self) -> Iterator[int]:
        yield self.of


@dataclass(frozen=True, slots=True)
class MapMemory(Step):
    """Map zeroed memory of the program for the device."""

    iova: int
    size: int
    flags: int


@dataclass(frozen=True, slots=True)
class Unmap(Step):
    """Unmap memory, with the dirty bitmap if there are ``memory`` bytes for it."""

    argsz: int
    flags: int
    iova: int
    size: int
    pgsize: int = 0
    bitmap_size: int = 0
    memory: int = 0
    #: The memory for the bitmap cannot be written.
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Dirty(Step):
    """VFIO_IOMMU_DIRTY_PAGES; ``memory`` is the number of bytes for a bitmap."""

    argsz: int
    flags: int
    iova: int = 0
    size: int = 0
    pgsize: int = 0
    bitmap_size: int = 0
    memory: int = 0
    #: The memory for the bitmap cannot be written.
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class Request(Step):
    """Any other request, with its argument as it was."""

    target: str
    number: int
    argument: bytes
    #: Bytes of the argument; 0 if the address was passed.
    size: int
    #: The kind of address: "NULL", "unmapped", "read-only", or "cut" if the end of the argument is inaccessible.
    place: str = ""


@dataclass(frozen=True, slots=True)
class Pause(Step):
    """No call is made for this many milliseconds."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class File(Step):
    """A file that the profile names is written, or read if there is no text."""

    path: str
    text: bytes | None
