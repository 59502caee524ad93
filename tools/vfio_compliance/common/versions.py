# SPDX-License-Identifier: GPL-2.0-only
"""Ranges of versions, such as `>=6.1, <6.13`, as Python packages write them; and which versions are in them.

A candidate such as 6.13-rc1 is neither below 6.13 nor at or above it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

#: A version as kernels and drivers write it: numbers and dots, perhaps a candidate, then whatever a builder adds.
_VERSION = re.compile(r"v?(?P<numbers>\d{1,9}(\.\d{1,9}){0,7})([-.]?(?P<candidate>rc\d{1,9}))?(?![0-9A-Za-z])")


def check(text: str) -> None:
    """Raises ValueError with what is wrong if a range is invalid."""
    found = _range(text)
    if found.is_unsatisfiable():
        raise ValueError("no version is in it")


def within(text: str, version: str) -> bool | None:
    """Whether a version is in a range; None for one that does not begin with a number. Raises ValueError."""
    found = _VERSION.match(version)
    if found is None:
        return None
    return _range(text).contains(found["numbers"] + (found["candidate"] or ""), prereleases=True)


def disjoint(one: str, other: str) -> bool:
    """Whether no version is in both of two ranges. Raises ValueError."""
    return _range(one).is_disjoint(_range(other))


def _range(text: str) -> SpecifierSet:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # loaded only for a waiver with a range

    try:
        found = SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(str(error)) from None
    if not len(found) or "===" in text:
        raise ValueError("it names no version")
    return found


def exactly(version: str) -> str:
    """The range with only this version; empty for one that does not begin with a number."""
    found = _VERSION.match(version)
    return f"=={found['numbers']}{found['candidate'] or ''}" if found else ""


def series(version: str) -> str:
    """The range of all versions with the same first two numbers, which distinguish kernels; empty likewise."""
    found = _VERSION.match(version)
    return f"=={'.'.join(found['numbers'].split('.')[:2])}.*" if found else ""
