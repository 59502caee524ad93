# SPDX-License-Identifier: GPL-2.0-only
"""The bytes of recorded calls, if they were kept."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from ..common.calls import Call
from ..results.data import NAME


class Contents:
    """Looks up what a call moved: in its record, or in the folder of a run that kept it."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` is the run's folder."""
        self._folder = folder / NAME if folder else None
        self._known: dict[str, bytes | None] = {}

    def of(self, call: Call) -> bytes | None:
        """All of it; None if it was not kept."""
        data, digest = call.moved
        return self.by_digest(digest) if digest else data

    def by_digest(self, digest: str) -> bytes | None:
        """The bytes with this SHA-256; None if they were not kept."""
        if digest not in self._known:
            self._known[digest] = self._read(digest)
        return self._known[digest]

    def _read(self, digest: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            data = (self._folder / digest).read_bytes()
        except OSError:
            return None
        return data if sha256(data).hexdigest() == digest else None
