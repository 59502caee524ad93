# SPDX-License-Identifier: GPL-2.0-only
"""What is in a bundle, and whether it is consistent."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from ..common.words import counted
from ..results import data as kept
from ..results import journal as journals
from ..results.events import Environment
from ..results.folder import INPUTS, KERNEL_CONFIG, KERNEL_CONFIG_DIGEST
from ..results.reading import summarise
from ..results.summary import Summary
from . import journal
from .make import ABOUT, FORMAT, LARGEST_TEXT, SUMS, VERSION
from .packing import Member, Wrong, members

#: How many of the faults in a journal are reported.
_MOST_REPORTED: Final = 10

_SUM: Final = re.compile(r"([0-9a-f]{64})  (\S+)", re.ASCII)


class Finding(NamedTuple):
    """A statement about a bundle, in a line."""

    about: str
    text: str
    wrong: bool = False


class Contents:
    """What is in a bundle, as it is read."""

    def __init__(self) -> None:
        self.wrong: list[Finding] = []
        self.digests: dict[str, str] = {}
        self.about: dict[str, Any] = {}
        self.summary: Summary | None = None
        self.environment: Environment | None = None
        self.records = 0
        #: Whether the journal was not closed: the run is not over, or its watcher was killed.
        self.open = False
        self._sums: dict[str, str] | None = None

    def read(self, file: BinaryIO) -> None:
        """Read all members. Raises Wrong if the rest cannot be read, OSError."""
        for member in members(file):
            if member.name in self.digests or self._sums is not None:
                raise Wrong(f"{member.name}: present twice, or after {SUMS}, which must be the last")
            digest = hashlib.sha256()
            pieces = _digested(member, digest)
            if member.name == SUMS:
                self._sums = _read_sums(_whole(member, pieces))
                continue
            try:
                self._take(member, pieces)
            except Wrong as error:
                self._say(member.name, str(error))
            for _ in pieces:
                pass
            self.digests[member.name] = digest.hexdigest()
        self._compare()

    def _take(self, member: Member, pieces: Iterator[bytes]) -> None:
        if member.name == ABOUT:
            self._read_about(_whole(member, pieces))
        elif member.name == journal.NAME:
            self._read_journal(pieces)

    def _say(self, about: str, text: str) -> None:
        self.wrong.append(Finding(about, text, True))

    def _read_about(self, text: bytes) -> None:
        """Raises Wrong."""
        try:
            about = json.loads(text)
        except (ValueError, RecursionError):
            about = None
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise Wrong("not as bundle writes it")
        if about.get("version") != VERSION:
            raise Wrong(f"a bundle of version {ascii(about.get('version'))[:20]}; this program reads version {VERSION}")
        self.about = about

    def _read_journal(self, pieces: Iterator[bytes]) -> None:
        """Raises Wrong."""
        reported = 0

        def noted() -> Iterator[journals.Line]:
            nonlocal reported
            for number, line in enumerate(journals.lines(watched(), journal.NAME, whole=True), 1):
                if isinstance(line, journals.Recorded):
                    if isinstance(line.event, Environment):
                        self.environment = line.event
                elif isinstance(line, journals.Cut):
                    self.open = True
                    self._say("journal", line.why)
                elif reported < _MOST_REPORTED:
                    reported += 1
                    self._say("journal", f"line {number}: {line.why}")
                yield line

        def watched() -> Iterator[bytes]:
            for line in journal.unpack(pieces):
                self.records += 1
                yield line

        try:
            self.summary = summarise(noted())
        except journals.JournalError as error:
            raise Wrong(str(error)) from None

    def _compare(self) -> None:
        """Compare what was read with its digests and facts."""
        if self._sums is None:
            raise Wrong(f"there is no {SUMS}")
        for name, digest in self.digests.items():
            if self._sums.get(name) != digest:
                self._say(name, "its digest is different" if name in self._sums else f"it is not in {SUMS}")
            if name.startswith(f"{kept.NAME}/") and name != f"{kept.NAME}/{digest}":
                self._say(name, "its digest is not its name")
        for name in self._sums.keys() - self.digests.keys():
            self._say(name, "missing")
        for name in {ABOUT, journal.NAME} - self.digests.keys():
            self._say(name, "missing, but required in every bundle")
        if self.environment and self.about:
            self._compare_inputs(self.environment)

    def _compare_inputs(self, environment: Environment) -> None:
        """Compare with the journal, which says what the run was made with."""
        if self.about.get("facts") != dict(environment.facts):
            self._say(ABOUT, "the journal has different facts of what the run was made with")
        if self.about.get("redacted"):
            return
        config = self.digests.get(f"{INPUTS}/{KERNEL_CONFIG}")
        if config not in (None, environment.facts.get(KERNEL_CONFIG_DIGEST)):
            self._say(f"{INPUTS}/{KERNEL_CONFIG}", "it is not the configuration that the run was made with")
        here = {digest for name, digest in self.digests.items() if name.startswith(f"{INPUTS}/")}
        for path, digest in environment.inputs.items():
            if digest not in here:
                self._say(INPUTS, f"{path} is not in it with the content by which the run was judged")


def _digested(member: Member, digest: Any) -> Iterator[bytes]:
    for piece in member.pieces:
        digest.update(piece)
        yield piece


def _whole(member: Member, pieces: Iterator[bytes]) -> bytes:
    """Raises Wrong."""
    if member.size > LARGEST_TEXT:
        raise Wrong(f"{member.name}: {counted(member.size, 'byte')}, too large for a bundle")
    return b"".join(pieces)


def _read_sums(text: bytes) -> dict[str, str]:
    """Raises Wrong."""
    sums = {}
    for number, line in enumerate(text.decode("ascii", "replace").splitlines(), 1):
        if not (found := _SUM.fullmatch(line)):
            raise Wrong(f"{SUMS}, line {number}: not a digest and a name")
        sums[found[2]] = found[1]
    return sums
