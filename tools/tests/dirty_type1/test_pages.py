# SPDX-License-Identifier: GPL-2.0-only
"""Sets of pages, and bitmaps compared with them."""

from __future__ import annotations

import random

import pytest

from vfio_compliance.dirty_type1.pages import Pages, compare, set_bits
from vfio_compliance.uapi.type1 import bitmap_bytes


@pytest.mark.parametrize(
    ("pages", "size"), [(1, 8), (63, 8), (64, 8), (65, 16), (4096, 512), (4097, 520), (1 << 31, 1 << 28)]
)
def test_bitmap_has_whole_words(pages: int, size: int) -> None:
    """A bit for each page, in words of 64 bits."""
    assert bitmap_bytes(pages) == size


def test_runs_are_merged() -> None:
    """Runs that touch or overlap become one; empty ones vanish."""
    assert Pages([(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)]).runs == ((0, 3), (5, 9))
    assert str(Pages.of(3, 7, 8)) == "3, 7-8"
    assert str(Pages()) == "none"
    assert not Pages()


@pytest.mark.parametrize("seed", range(20))
def test_set_operations(seed: int) -> None:
    """The same as those of Python's sets."""
    chance = random.Random(seed)

    def any_pages() -> Pages:
        return Pages((first, first + chance.randrange(9)) for first in chance.sample(range(200), 12))

    a, b = any_pages(), any_pages()
    assert set(a | b) == set(a) | set(b)
    assert set(a & b) == set(a) & set(b)
    assert set(a - b) == set(a) - set(b)
    assert set(a.shifted(-7)) == {page - 7 for page in a}
    assert len(a) == len(set(a))
    assert all((page in a) == (page in set(a)) for page in range(220))


def bitmap_of(pages: Pages, size: int) -> memoryview:
    """A bitmap with these bits set."""
    bitmap = bytearray(size)
    for page in pages:
        bitmap[page // 8] |= 1 << page % 8
    return memoryview(bitmap)


@pytest.mark.parametrize("seed", range(40))
def test_differences_are_found(seed: int) -> None:
    """All missing and all extra pages, wherever the edges are."""
    chance = random.Random(seed)
    size = chance.choice((8, 64, 72, 512, 4096))
    reported = Pages.of(*(chance.randrange(size * 8) for _ in range(20)))
    must = Pages.of(*(chance.randrange(size * 8 + 50) for _ in range(10))) | Pages.run(chance.randrange(size * 8), 70)
    may = Pages.run(chance.randrange(size * 8), chance.randrange(900))
    missing, extra = compare(bitmap_of(reported, size), must, may)
    assert set(missing) == set(must) - set(reported)
    assert set(extra) == set(reported) - set(must) - set(may)


@pytest.mark.parametrize("page", [0, 1, 63, 64, 2_000_000, 4_194_303])
def test_single_wrong_bit_is_found(page: int) -> None:
    """In 512 KiB, in an otherwise clear and in an otherwise full bitmap."""
    size = 1 << 19
    assert set_bits(bitmap_of(Pages.of(page), size)) == Pages.of(page)
    full = bytearray(b"\xff" * size)
    full[page // 8] ^= 1 << page % 8
    assert compare(memoryview(full), Pages.run(0, size * 8), Pages()).missing == Pages.of(page)


def test_differences_are_bounded() -> None:
    """Even for a bitmap of nonsense."""
    missing, extra = compare(memoryview(b"\x55" * (1 << 20)), Pages(), Pages())
    assert not missing
    assert 0 < len(extra.runs) < 1000
