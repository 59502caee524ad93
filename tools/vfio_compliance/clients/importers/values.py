# SPDX-License-Identifier: GPL-2.0-only
"""Values as strace writes them: arguments, numbers with or without their names, strings, descriptors."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

#: The brackets around a descriptor's path, after its number: ``5</dev/null<char 1:3>>``, ``6<UNIX-STREAM:[7->8]>``.
ABOUT: Final = rb"(?:<([^<>]*(?:(?:(?<=-)>|<[^<>]*>)[^<>]*){0,8})>)?"

_DESCRIPTOR: Final = re.compile(rb"\s*(-?\d+|0x[0-9a-f]+)" + ABOUT)
_NUMBER: Final = re.compile(rb"\s*(-?\d+|0x[0-9a-fA-F]+)(?![\w])")
_STOPS: Final = re.compile(rb'["\[\](){}<,/]')
_ABOUT: Final = re.compile(ABOUT)
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-f]{2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b"}
_DIGITS: Final = 40


class Text(NamedTuple):
    """A string argument."""

    data: bytes
    #: strace did not write all of it.
    cut: bool


def split(text: bytes) -> list[bytes]:
    """The arguments of a list, split at the commas outside strings, brackets, comments and paths."""
    return list(_split(text))


def _split(text: bytes) -> Iterator[bytes]:
    depth = begin = at = 0
    while stop := _STOPS.search(text, at):
        at = stop.end()
        match stop[0]:
            case b'"':
                at = _string_end(text, at)
            case b"<":
                if about := _ABOUT.match(text, at - 1):
                    at = max(about.end(), at)
            case b"/":
                if text[at : at + 1] == b"*":
                    end = text.find(b"*/", at)
                    at = len(text) if end < 0 else end + 2
            case b",":
                if not depth:
                    yield text[begin : at - 1].strip()
                    begin = at
            case b"[" | b"(" | b"{":
                depth += 1
            case _:
                depth = max(depth - 1, 0)
    yield text[begin:].strip()


def _string_end(text: bytes, at: int) -> int:
    """The place after the quote that ends the string whose first byte is at ``at``."""
    while (quote := text.find(b'"', at)) >= 0:
        slashes = quote
        while slashes > at and text[slashes - 1] == 0x5C:
            slashes -= 1
        if (quote - slashes) % 2 == 0:
            return quote + 1
        at = quote + 1
    return len(text)


def string(argument: bytes) -> Text | None:
    """``"..."``, followed by three dots if it was cut; None for anything but a string."""
    if not argument.startswith(b'"'):
        return None
    end = argument.rfind(b'"')
    if end < 1:
        return None
    return Text(unescaped(argument[1:end]), argument[end + 1 : end + 4] == b"...")


def unescaped(raw: bytes) -> bytes:
    """The bytes of a string with C's escapes."""
    if b"\\" not in raw:
        return raw
    if raw.startswith(b"\\x") and (plain := from_hex(raw)) is not None:
        return plain
    return _ESCAPE.sub(_escape, raw)


def from_hex(raw: bytes) -> bytes | None:
    """The bytes of a string in which each is written as by -xx; None for other strings."""
    if raw.count(b"\\x") * 4 != len(raw):
        return None
    try:
        return unhexlify(raw.replace(b"\\x", b""))
    except ValueError:
        return None


def _escape(found: re.Match[bytes]) -> bytes:
    what = found[1]
    if what[0] == 0x78 and len(what) == 3:
        return bytes((int(what[1:], 16),))
    if what[0] in b"01234567":
        return bytes((int(what, 8) & 0xFF,))
    return _LETTERS.get(what, what)


def descriptor(argument: bytes) -> tuple[int, bytes] | None:
    """The number of a descriptor, and what it is, if that follows it (``-y``)."""
    found = _DESCRIPTOR.match(argument)
    which = _integer(found[1]) if found else None
    return None if found is None or which is None else (which, unescaped(found[2] or b""))


def number(argument: bytes, names: Mapping[bytes, int] | None = None) -> int | None:
    """A number, or the name of one; a comment after it is ignored. None for anything else."""
    if found := _NUMBER.match(argument):
        return _integer(found[1])
    return names.get(argument.strip()) if names else None


def _integer(digits: bytes) -> int | None:
    if len(digits) > _DIGITS:
        return None
    if digits.startswith((b"0x", b"0X")):
        return int(digits, 16)
    octal = len(digits) > 1 and digits.startswith(b"0") and digits.strip(b"01234567") == b""
    return int(digits, 8 if octal else 10)
