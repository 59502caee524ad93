# SPDX-License-Identifier: GPL-2.0-only
"""Random damage to bytes."""

from __future__ import annotations

from random import Random

#: Numbers that often reveal errors: the limits of widths, pages and signs.
EDGES = [
    *(0, 1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 40, 48, 56, 63, 64, 65, 88, 127, 128, 255, 256),
    *(4095, 4096, 4097, 8191, 8192, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 1 << 28, (1 << 28) + 8),
    *((1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 52),
    *((1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 8, (1 << 64) - 1),
]

_LONGEST = 1 << 12


def number(rng: Random, width: int) -> int:
    """A number of ``width`` bytes, mostly an interesting one."""
    most = (1 << 8 * width) - 1
    choice = rng.random()
    if choice < 0.7:
        return rng.choice(EDGES) & most
    if choice < 0.85:
        return 1 << rng.randrange(8 * width)
    return rng.randint(0, most)


def mutate(rng: Random, data: bytes) -> tuple[str, bytes]:
    """The kind of change, and the changed bytes."""
    kind = rng.choice(_KINDS)
    changed = bytearray(data)
    size = len(data)
    at = rng.randrange(size) if size else 0
    if not size or kind == "longer":
        return "longer", data + rng.randbytes(rng.choice((1, 2, 4, 8, 16, 100, _LONGEST)))
    if kind == "bit":
        changed[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        changed[at] = rng.randrange(256)
    elif kind == "number":
        width = rng.choice([width for width in (1, 2, 4, 8) if width <= size])
        at = rng.randrange(size - width + 1) // width * width
        changed[at : at + width] = number(rng, width).to_bytes(width, "little")
    elif kind == "run":
        length = rng.randint(1, min(size - at, 64))
        changed[at : at + length] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    elif kind == "shorter":
        del changed[at:]
    elif kind == "cut out":
        del changed[at : at + rng.randint(1, 16)]
    elif kind == "put in":
        changed[at:at] = rng.randbytes(rng.randint(1, 16))
    elif kind == "doubled":
        length = rng.randint(1, min(size - at, 64))
        changed[at:at] = changed[at : at + length]
    return kind, bytes(changed)


_KINDS = ("bit", "byte", "number", "number", "number", "run", "shorter", "longer", "cut out", "put in", "doubled")
