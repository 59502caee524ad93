# SPDX-License-Identifier: GPL-2.0-only
"""The chain of a journal: each record carries a digest of itself and of the one before.

The digest is the last field of a record, ``"chain"``: the first 64 bits of the SHA-256 of the digest before and of
the record without this field. So a record that was changed, moved or removed is found, and its line named. The event
``closed`` has the full SHA-256 of everything before it. The chain finds accidents: anyone who can change the file can
also rebuild the chain, which only a signature shows.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: Hexadecimal digits of a digest in the chain.
_DIGITS: Final = 16

_LINK: Final = re.compile(rb',"chain":"([0-9a-f]{%d})"\}\n?\Z' % _DIGITS)


def linked(line: bytes, before: str) -> tuple[bytes, str]:
    """A record, a JSON object in one line, with its digest; and that digest. ``before``: that of the one before."""
    body = line.removesuffix(b"\n").removesuffix(b"}")
    digest = _digest(body, before)
    return body + f',"chain":"{digest}"}}\n'.encode(), digest


def digest_of(line: bytes) -> str:
    """The digest that a record carries; empty if it has none."""
    found = _LINK.search(line, max(len(line) - 64, 0))
    return found[1].decode() if found else ""


def _digest(body: bytes, before: str) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()[:_DIGITS]


class Check:
    """Follows the lines of a journal from the first."""

    def __init__(self) -> None:
        #: Number of lines taken.
        self.lines = 0
        #: SHA-256 of all bytes taken.
        self._whole = hashlib.sha256()
        #: The digest that the next line has to follow; None if the last line has lost its own.
        self._before: str | None = ""

    @property
    def whole(self) -> str:
        """SHA-256 of all bytes taken, in hexadecimal."""
        return self._whole.hexdigest()

    def take(self, line: bytes) -> str:
        """Take the next line; what is wrong with its place in the chain, or an empty text."""
        digest = digest_of(line)
        self.lines += 1
        before, self._before = self._before, digest or None
        self._whole.update(line)
        if not digest:
            return "it is not part of the chain: it was changed or inserted"
        if before is None:
            return ""  # the digest of the line before is unknown, which was reported already
        link = _LINK.search(line, max(len(line) - 64, 0))
        assert link
        if _digest(line[: link.start()], before) == digest:
            return ""
        return "it does not follow from the line before: it was changed, or lines were removed, inserted or moved"
