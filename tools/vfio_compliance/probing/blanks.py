# SPDX-License-Identifier: GPL-2.0-only
"""The keys of a profile that only its user can fill in, as comments that say what each is for."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..common.words import counted, enumerated, printable
from ..common.wrap import wrap
from ..profiles import Claims, Section, Stimulus
from ..profiles.records import OrNone, Record
from ..rules import Catalogue, Rule

_WIDTH = 118


def blanks(
    part: str, kind: Record, sections: Sequence[type[Section]], given: Collection[str], catalogue: Catalogue
) -> Iterator[str]:
    """Lines for each key of ``claims`` or ``stimulus`` that is not ``given`` and matters to these interfaces.

    A key is commented out with all that is below it, and has no value: if it is uncommented and not filled in,
    `vfio-compliance check` complains.
    """
    own = set().union(*(_own(section, part) for section in sections))
    for name in kind.fields:
        wanting = [rule for rule in catalogue.wanting(f"{part}.{name}") if is_judged(rule, sections)]
        if name in given or not (wanting or name in own):
            continue
        yield ""
        yield from comment(kind.fields[name]["doc"], "  ")
        yield from comment(lets_judge(wanting), "  ")
        yield from _key("  ", name, kind.kinds[name])


def is_judged(rule: Rule, sections: Sequence[type[Section]]) -> bool:
    """Whether a run judges a device with these interfaces by a rule."""
    return not (rule.of_the_suite or rule.on_request) and rule.interface in {section.name for section in sections}


def lets_judge(rules: Sequence[Rule]) -> str:
    """A sentence that names the rules that need a key."""
    if not rules:
        return "No rule is not-run without it."
    names = enumerated([rule.id for rule in rules], "and")
    them = "it" if len(rules) == 1 else "them"
    return f"It lets {counted(len(rules), 'rule')} be judged, or more cases of {them}: {names}."


def _own(section: type[Section], part: str) -> set[str]:
    """The keys that only this interface has."""
    base: Any = Claims if part == "claims" else Stimulus
    return {each.name for each in dataclasses.fields(getattr(section, part))} - {
        each.name for each in dataclasses.fields(base)
    }


def comment(said: str, indent: str = "") -> Iterator[str]:
    """Lines of a comment; control characters are shown as escape sequences."""
    yield from (f"{indent}# {line}" for line in wrap("", printable(said), _WIDTH - len(indent) - 2))


def _key(indent: str, name: str, kind: Any) -> Iterator[str]:
    yield f"{indent}# {name}:"
    while isinstance(kind, OrNone):
        kind = kind.kind
    if isinstance(kind, Record):
        for inner, metadata in kind.fields.items():
            inside = [*comment(metadata["doc"]), *_uncommented(_key("", inner, kind.kinds[inner]))]
            yield from (f"{indent}#   {line}" for line in inside)


def _uncommented(lines: Iterator[str]) -> Iterator[str]:
    """A key inside another one that is commented out as a whole."""
    yield from (line.removeprefix("# ") for line in lines)
