# SPDX-License-Identifier: GPL-2.0-only
"""The version of the rule set and of the code that judges, and the known errors of earlier ones.

If you change what a rule asks for, or add or remove a rule, raise VERSION; if you correct one, add an Erratum, too, and
a line to CHANGELOG. Results name the version, so that ``verify`` can report that a device was judged by a rule that is
known to be wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ..common import origin

#: The version of the rules of all suites together.
VERSION: Final = 2

#: The most characters of a commit that are shown.
_SHORT: Final = 12


class Erratum(NamedTuple):
    """A rule that was wrong in some versions of the rule set."""

    rule: str
    #: The first version that has the error, and the first one that does not.
    since: int
    corrected: int
    #: What was wrong, and what it means for a result of these versions, in a sentence each.
    wrong: str
    means: str


#: In the order in which they were found.
ERRATA: Final[tuple[Erratum, ...]] = ()


def known_errors(version: int, errata: tuple[Erratum, ...] = ERRATA) -> list[Erratum]:
    """The known errors of a version of the rule set."""
    return [each for each in errata if each.since <= version < each.corrected]


def suite_facts() -> dict[str, str]:
    """What judges, as facts of a run: version, digest, commit, changes, rule set."""
    return origin.facts() | {"rule set": str(VERSION)}


def described(facts: Mapping[str, str]) -> str:
    """The same in a few words: ``0.1.0 (commit 5b9cd00f7a21+modified, rule set 2)``."""
    commit = facts.get("suite commit", "unknown")[:_SHORT] + (
        "+modified" if facts.get("suite modified") == "yes" else ""
    )
    return f"{facts['suite']} (commit {commit}, rule set {facts['rule set']})"
