# SPDX-License-Identifier: GPL-2.0-only
"""Named tuples as JSON objects: fields by name, without those that have their default; what is read is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

#: Makes a field's value from its JSON value. Raises ValueError.
Reader: TypeAlias = Callable[[Any], Any]

#: The largest number of 64 bits.
LARGEST: Final = (1 << 64) - 1
_DIGEST: Final = re.compile("[0-9a-f]{64}", re.ASCII)


def read(value: object, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The fields of an object from to_json(). Raises ValueError for anything else."""
    if type(value) is not dict:
        raise ValueError("an object is expected")
    try:
        return {name: readers[name](each) for name, each in value.items()}
    except KeyError as error:
        raise ValueError(f"there is no field {error}") from None


def text(value: Any) -> str:
    """Any text."""
    if type(value) is not str:
        raise ValueError("a text is expected")
    return value


def one_of(*words: str) -> Reader:
    """Reads one of ``words``."""

    def reader(value: Any) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)} is expected")
        return str(value)

    return reader


def truth(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise ValueError("true or false is expected")
    return value


def number(value: Any) -> int:
    """A number of 64 bits."""
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise ValueError("a whole number from 0 to 2^64 - 1 is expected")
    return value


def positive(value: Any) -> int:
    """The same, above 0."""
    if value == 0:
        raise ValueError("a number above 0 is expected")
    return number(value)


def returned(value: Any) -> int:
    """What a system call returns: -1, or a number."""
    return -1 if type(value) is int and value == -1 else number(value)


def numbers(value: Any) -> tuple[int, ...]:
    """A list of numbers."""
    if type(value) is not list:
        raise ValueError("a list of numbers is expected")
    return tuple(map(number, value))


def data(value: Any) -> bytes:
    """Bytes in hexadecimal."""
    found = bytes.fromhex(text(value))
    if 2 * len(found) != len(value):
        raise ValueError("hexadecimal digits without blanks are expected")
    return found


def digest(value: Any) -> str:
    """SHA-256 in hexadecimal."""
    if not _DIGEST.fullmatch(text(value)):
        raise ValueError("64 hexadecimal digits are expected")
    return str(value)
