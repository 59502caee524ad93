# SPDX-License-Identifier: GPL-2.0-only
"""The chain of a journal: each record carries a digest of itself and of the one before.

What is added to a record is its last field, ``"chain"``: the first 64 bits of the SHA-256 of the digest before and of
the record without it. So a record that was changed, moved or taken out is found, and its line named. The event
``closed`` has the SHA-256 of all before it in full. The chain finds accidents: whoever can change the file can chain it
anew, which only a signature shows.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: Hexadecimal digits of a digest in the chain.
_DIGITS: Final = 16

_LINK: Final = re.compile(rb',"chain":"([0-9a-f]{%d})"\}\n?\Z' % _DIGITS)


def linked(line: bytes, before: str) -> tuple[bytes, str]:
    """A record, a JSON object in one line, with its digest, and that digest; ``before`` is that of the last record."""
    body = line.removesuffix(b"\n").removesuffix(b"}")
    digest = _digest(body, before)
    return body + f',"chain":"{digest}"}}\n'.encode(), digest


def digest_of(line: bytes) -> str:
    """The digest that a record carries; nothing where it has none."""
    found = _LINK.search(line, max(len(line) - 64, 0))
    return found[1].decode() if found else ""


def _digest(body: bytes, before: str) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()[:_DIGITS]


class Check:
    """Follows the lines of a journal from the first on."""

    def __init__(self) -> None:
        #: Lines so far.
        self.lines = 0
        #: Of all bytes so far.
        self._whole = hashlib.sha256()
        #: The digest that the next line has to follow; None where the last one has lost its own.
        self._before: str | None = ""

    @property
    def whole(self) -> str:
        """SHA-256 of all bytes so far, in hexadecimal."""
        return self._whole.hexdigest()

    def take(self, line: bytes) -> str:
        """Take note of the next line; what is wrong with its place in the chain, or nothing."""
        digest = digest_of(line)
        self.lines += 1
        before, self._before = self._before, digest or None
        self._whole.update(line)
        if not digest:
            return "it is not part of the chain: it was changed, or put in"
        if before is None:
            return ""  # nothing is known of what it follows, and that was told
        link = _LINK.search(line, max(len(line) - 64, 0))
        assert link
        if _digest(line[: link.start()], before) == digest:
            return ""
        return "it does not follow from the line before: it was changed, or lines were taken out, put in or moved"
