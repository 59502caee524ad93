# SPDX-License-Identifier: GPL-2.0-only
"""Whether a bundle is as it was made: digests, chain, signature, and errors in its rule set that became known since."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..common.words import counted, printable
from ..results.conclusion import conclude
from ..rules.version import ERRATA, Erratum, known_errors
from . import signature
from .contents import Contents, Finding
from .packing import Wrong, unchanged


def verify(path: Path, signers: Path | None = None, errata: tuple[Erratum, ...] = ERRATA) -> Iterator[Finding]:
    """All findings. Raises OSError if the file cannot be read."""
    with path.open("rb") as file:
        try:
            same = unchanged(file)
        except Wrong as error:
            yield Finding("bundle", printable(str(error)), True)
            return
        contents = Contents()
        try:
            contents.read(file)
        except Wrong as error:
            contents.wrong.append(Finding("bundle", str(error), True))
        if not same and not contents.wrong:
            contents.wrong.append(Finding("bundle", "its packing was changed, but none of its files", True))
    yield from (Finding(printable(each.about), printable(each.text), each.wrong) for each in contents.wrong)
    if not contents.wrong:
        yield Finding("sums", f"{counted(len(contents.digests), 'file')} as they were packed")
        yield Finding("chain", f"{counted(contents.records, 'record')}, each follows from the one before")
    if contents.summary:
        verdict = conclude(contents.summary)
        yield Finding("result", printable(f"{verdict}, exit code {contents.summary.exit_code}"))
    yield from _rules(contents, errata)
    if contents.about.get("redacted"):
        yield Finding("redacted", "host names, serial numbers and paths were removed")
    good, text = signature.check(path, signers)
    yield Finding("signature", text, not good)


def _rules(contents: Contents, errata: tuple[Erratum, ...]) -> Iterator[Finding]:
    """The known errors of the rule set that judged."""
    facts = contents.environment.facts if contents.environment else {}
    version = facts.get("rule set", "")
    if not re.fullmatch("[0-9]{1,6}", version, re.ASCII):
        if contents.environment:
            yield Finding("rule set", "the bundle does not say which version", True)
        return
    found = known_errors(int(version), errata)
    if contents.summary:
        judged = contents.summary.verdicts
        found = [each for each in found if each.rule in judged]
    if not found:
        yield Finding("rule set", f"version {version}, without errors that this program knows of")
    for each in found:
        yield Finding("rule set", f"version {version} has a known error: {each.rule}: {each.wrong} {each.means}", True)
