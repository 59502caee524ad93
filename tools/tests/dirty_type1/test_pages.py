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
def test_a_bitmap_is_whole_words(pages: int, size: int) -> None:
    """A bit for each page, in words of 64."""
    assert bitmap_bytes(pages) == size


def test_runs_are_merged() -> None:
    """Runs that touch or overlap are one; empty ones are none."""
    assert Pages([(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)]).runs == ((0, 3), (5, 9))
    assert str(Pages.of(3, 7, 8)) == "3, 7-8"
    assert str(Pages()) == "none"
    assert not Pages()


@pytest.mark.parametrize("seed", range(20))
def test_sets_are_sets(seed: int) -> None:
    """Union, intersection and difference are those of Python's sets."""
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
def test_what_differs_is_found(seed: int) -> None:
    """Whatever is missing and whatever is too much, wherever the edges lie."""
    chance = random.Random(seed)
    size = chance.choice((8, 64, 72, 512, 4096))
    told = Pages.of(*(chance.randrange(size * 8) for _ in range(20)))
    must = Pages.of(*(chance.randrange(size * 8 + 50) for _ in range(10))) | Pages.run(chance.randrange(size * 8), 70)
    may = Pages.run(chance.randrange(size * 8), chance.randrange(900))
    missing, extra = compare(bitmap_of(told, size), must, may)
    assert set(missing) == set(must) - set(told)
    assert set(extra) == set(told) - set(must) - set(may)


@pytest.mark.parametrize("page", [0, 1, 63, 64, 2_000_000, 4_194_303])
def test_a_single_wrong_bit_of_many(page: int) -> None:
    """One bit in half a megabyte, in an else clear and in an else full bitmap."""
    size = 1 << 19
    assert set_bits(bitmap_of(Pages.of(page), size)) == Pages.of(page)
    full = bytearray(b"\xff" * size)
    full[page // 8] ^= 1 << page % 8
    assert compare(memoryview(full), Pages.run(0, size * 8), Pages()).missing == Pages.of(page)


def test_much_that_is_wrong_is_cut_short() -> None:
    """A bitmap of nonsense gives a bounded answer."""
    missing, extra = compare(memoryview(b"\x55" * (1 << 20)), Pages(), Pages())
    assert not missing
    assert 0 < len(extra.runs) < 1000
