# SPDX-License-Identifier: GPL-2.0-only
"""What a state file says about the state that it holds."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from ..common import tuples
from ..common.words import counted
from ..results import fields

FORMAT: Final = "vfio-compliance state"
VERSION: Final = 1

#: Limit for a state: more than any driver has, and few enough for memory.
MOST_BUFFERS: Final = 1 << 18
_MOST_SHOWN: Final = 1 << 16
_MOST_IDENTITY: Final = 256
#: Characters of a fact of the identity.
LONGEST_FACT: Final = 1 << 12
#: Limit for values, names and lists in the JSON of a manifest, to save memory.
_MOST_VALUES: Final = 9 * MOST_BUFFERS + 4 * _MOST_SHOWN

_HEX = re.compile("0x[0-9a-f]{1,8192}", re.ASCII)


def _hexadecimal(value: Any) -> int:
    """Numbers of a device may be large, and JSON readers round large numbers."""
    if type(value) is not str or not _HEX.fullmatch(value):
        raise ValueError("a number in hexadecimal is expected")
    return int(value, 16)


@dataclass(frozen=True)
class Buffer:
    """One buffer: its size in bytes, its digest, where it was in the region, and the state in which it was read."""

    size: Annotated[int, tuples.positive]
    sha256: Annotated[str, tuples.digest]
    offset: Annotated[int, tuples.number]
    read_in: str


@dataclass(frozen=True)
class Shown:
    """What the device showed of its state, and the digest of how the profile shows it."""

    how: Annotated[str, tuples.digest]
    values: tuple[str, ...]

    @classmethod
    def of(cls, how: str, values: Sequence[int]) -> Shown:
        """From the numbers that were read."""
        return cls(how, tuple(f"{value:#x}" for value in values))

    def numbers(self) -> list[int]:
        """The numbers. Raises ValueError."""
        return [_hexadecimal(value) for value in self.values]


@dataclass(frozen=True)
class Manifest:
    """The first member of a state file."""

    interface: str
    #: Facts of device, driver, kernel and suite, in the order for a reader.
    identity: Mapping[str, str]
    buffers: tuple[Buffer, ...]
    #: None if the profile cannot show the state.
    shown: Shown | None = None
    format: str = field(default="")
    version: int = 0

    @property
    def size(self) -> int:
        """Bytes of all buffers."""
        return sum(buffer.size for buffer in self.buffers)

    @property
    def largest(self) -> int:
        """Size of the state in bytes: what was read in the phase that gave the most.

        Data of pre-copy comes again after it.
        """
        sizes = Counter[str]()
        for buffer in self.buffers:
            sizes[buffer.read_in] += buffer.size
        return max(sizes.values(), default=0)

    def starts(self) -> Iterator[int]:
        """Where each buffer begins in the data."""
        start = 0
        for buffer in self.buffers:
            yield start
            start += buffer.size

    def to_bytes(self) -> bytes:
        """The content of the file: readable JSON."""
        whole = {"format": FORMAT, "version": VERSION, **fields.plain(self)}
        return (json.dumps(whole, default=fields.plain, indent=1) + "\n").encode()


def read(text: bytes) -> Manifest:
    """The manifest from to_bytes(). Raises ValueError, whose message says what is wrong, and what to do."""
    if sum(map(text.count, (b",", b"{", b"["))) > _MOST_VALUES:
        raise ValueError("manifest.json: too large for a state")
    try:
        value = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise ValueError("manifest.json is not JSON") from None
    if type(value) is not dict or value.get("format") != FORMAT:
        raise ValueError(f"manifest.json does not say format {FORMAT!r}: another program has written this file")
    if type(value.get("version")) is not int or value["version"] != VERSION:
        raise ValueError(
            f"version {_short(value.get('version'))} of the format; this program reads version {VERSION}: "
            "use the release that has written the file"
        )
    try:
        manifest: Manifest = fields.read(Manifest, value)
        check(manifest)
    except ValueError as error:
        raise ValueError(f"manifest.json: {error}") from None
    return manifest


def check(manifest: Manifest) -> None:
    """Raises ValueError for more than a state file holds, or for what no device or save can have given."""
    if not 0 < len(manifest.buffers) <= MOST_BUFFERS:
        raise ValueError(f"{counted(len(manifest.buffers), 'buffer')}; a state has 1 to {MOST_BUFFERS}")
    if len(manifest.identity) > _MOST_IDENTITY:
        raise ValueError(f"identity: more than {_MOST_IDENTITY} facts")
    for fact in (*manifest.identity, *manifest.identity.values()):
        if len(fact) > LONGEST_FACT or not fact.isprintable():
            raise ValueError(f"identity: a fact is one line of at most {counted(LONGEST_FACT, 'character')}")
    if manifest.shown:
        if len(manifest.shown.values) > _MOST_SHOWN:
            raise ValueError(f"shown: more than {_MOST_SHOWN} values")
        manifest.shown.numbers()


def _short(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, (int, str)) and not isinstance(value, bool) else "unknown"
