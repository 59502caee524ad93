# SPDX-License-Identifier: GPL-2.0-only
"""Loads ``rules.yaml`` of every suite."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..common.rule_names import current
from ..common.suggest import did_you_mean, similar

#: The most names in a hint.
_MOST_NAMED = 3

LEVELS = ("must", "should", "may")
STATUSES = ("documented", "clarified", "disputed", "unspecified")
SIDES = ("driver", "kernel", "client")


class SpecError(Exception):
    """One of our rules files is wrong; the message names the file and the rule."""


@dataclass(frozen=True)
class Rule:
    """One normative sentence of the interface, in our own words."""

    #: Words joined by dots and hyphens; the meaning of an id never changes.
    id: str
    #: The clause's number in the list of clauses; the traceability key.
    clause: str
    #: The sentence, true of a good device.
    says: str
    #: must, should or may.
    level: str
    #: documented, clarified, disputed or unspecified.
    status: str
    #: Who has to keep it: driver, kernel or client.
    side: str
    #: Its source: name of the specification, and lines.
    source: str
    #: Name of the suite that judges it (its folder).
    suite: str
    #: Further clauses that the same test covers.
    also: tuple[str, ...] = ()
    #: Defects of the reference driver that break it and that its test catches, each with a pattern of the failure's
    #: message: a part of "WHAT: expected EXPECTED, seen SEEN", in which `*` stands for what varies.
    defects: Mapping[str, str] = field(default_factory=dict)
    #: Clauses for clients that its test breaks on purpose, to see what the driver does.
    provokes: tuple[str, ...] = ()
    #: Ids of the rules without which it cannot be judged: if one of them is broken, that is the cause.
    stands_on: tuple[str, ...] = ()
    #: Why no defect of a driver can prove it; required if ``defects`` is empty.
    unprovable: str = ""
    #: Keys of a profile without which it, or some of its cases, cannot be judged: ``stimulus.running``.
    wants: tuple[str, ...] = ()
    #: Whether a device that breaks it does not conform; a suite of rules that do not decide says ``blocking: false``.
    blocking: bool = True
    #: Whether a run has to ask for it (``--stress``): a suite of such rules says ``on_request: true``.
    on_request: bool = False
    #: The interface that its suite is about; a profile lists those that its device has.
    interface: str = ""

    @property
    def area(self) -> str:
        """Leading letters of the clause: DS of DS-08."""
        return self.clause.partition("-")[0]

    @property
    def of_the_suite(self) -> bool:
        """Whether it judges the suite itself, its traffic and the header that it uses, and not a device."""
        return self.side == "client"

    @property
    def clauses(self) -> tuple[str, ...]:
        """Its clause and the further clauses that it covers."""
        return (self.clause, *self.also)


@dataclass(frozen=True)
class Catalogue:
    """All rules, in the order of their files, those that do not block last; and the titles of the clauses' areas."""

    rules: dict[str, Rule]
    areas: dict[str, str]
    #: Every clause of the interface that a suite undertakes to cover, with a title.
    clauses: dict[str, str]

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules.values())

    def matching(self, pattern: str) -> list[Rule]:
        """Rules whose id or clause is ``pattern``, or starts with it at a word boundary (``v1.reset``, ``DS``).

        A former id names its rule, too.
        """
        pattern = current(pattern)
        return [
            rule
            for rule in self
            if any(
                name == pattern or (name.startswith(pattern) and not name[len(pattern)].isalnum())
                for name in (rule.id, *rule.clauses)
            )
        ]

    def wanting(self, key: str) -> list[Rule]:
        """Rules that cannot be judged, or not in all their cases, if a profile lacks a key or a key below it."""
        return [rule for rule in self if any(wanted == key or wanted.startswith(f"{key}.") for wanted in rule.wants)]

    def hint(self, pattern: str) -> str:
        """The end of a message about a pattern that matches nothing: which names it may have meant.

        Names that contain it, in any case, at the beginning of a word first; without any, names that are similar
        as a whole or in their last part.
        """
        beginnings = sorted({rule.id.rpartition(".")[0] for rule in self})
        names = [*beginnings, *self.rules, *self.clauses]
        word = pattern.lower()
        meant = [name for name in names if name.lower() == word]
        meant = meant or sorted((name for name in names if word in name.lower()), key=lambda name: _within(word, name))
        if not meant and (whole := similar(pattern, names)):
            meant = [whole]
        if not meant and (part := similar(pattern, {name.rpartition(".")[2] for name in names})):
            meant = [name for name in names if name.rpartition(".")[2] == part]
        return did_you_mean(*meant[:_MOST_NAMED]) or "; see vfio-compliance list"


def _within(word: str, name: str) -> bool:
    """Whether no word of a name begins with this, which is somewhere in it."""
    return not re.search(rf"(?<![a-z0-9]){re.escape(word)}", name.lower())


def numbers(rules: Iterable[Rule]) -> str:
    """How many rules these are, in groups as at the end of a run."""
    kinds = Counter(
        "of the suite itself" if rule.of_the_suite else "of --stress" if rule.on_request else "" for rule in rules
    )
    of_device = kinds.pop("", 0)
    besides = " and ".join(f"{number} {kind}" for kind, number in kinds.items())
    return f"{of_device} {'rule' if of_device == 1 else 'rules'}" + (f", and {besides}" if besides else "")


def by_defect(rules: Iterable[Rule]) -> dict[str, dict[str, str]]:
    """Each defect with those of ``rules`` that it breaks, and their failures' messages."""
    defects: dict[str, dict[str, str]] = {}
    for rule in rules:
        for defect, shows in rule.defects.items():
            defects.setdefault(defect, {})[rule.id] = shows
    return defects


def load(suites: Path) -> Catalogue:
    """Read ``*/rules.yaml`` below ``suites``.

    Raises SpecError for a missing or malformed file, an unknown word, a repeated id, a clause that the
    file does not list, or a rule that depends on an unknown one or, in the end, on itself.
    """
    files = sorted(suites.glob("*/rules.yaml"))
    if not files:
        raise SpecError(f"{suites}: no suite with a rules.yaml in it")
    rules: dict[str, Rule] = {}
    areas: dict[str, str] = {}
    clauses: dict[str, str] = {}
    for file, document in sorted(((file, _read(file)) for file in files), key=lambda pair: not pair[1]["blocking"]):
        try:
            areas.update(document["areas"])
            clauses.update(document["clauses"])
            for record in document["rules"]:
                rule = _rule(record, document, file.parent.name)
                if rule.id in rules:
                    raise SpecError(f"{rule.id}: defined twice")
                rules[rule.id] = rule
        except KeyError as error:
            raise SpecError(f"{file}: the key {error} is missing") from None
        except (AttributeError, TypeError, ValueError, SpecError) as error:
            raise SpecError(f"{file}: {error}") from None
    _check_foundations(rules, suites)
    return Catalogue(rules, areas, clauses)


def _check_foundations(rules: Mapping[str, Rule], suites: Path) -> None:
    """Raises SpecError, with the file, for a rule that depends on an unknown one, or on itself."""
    for rule in rules.values():
        where = f"{suites / rule.suite / 'rules.yaml'}: {rule.id}"
        if unknown := [each for each in rule.stands_on if each not in rules]:
            raise SpecError(f"{where}: depends on unknown rule {', '.join(unknown)}")
    settled: set[str] = set()
    for rule in rules.values():
        if cycle := _cycle(rule.id, rules, settled):
            where = f"{suites / rules[cycle[0]].suite / 'rules.yaml'}: {cycle[0]}"
            raise SpecError(
                f"{where}: depends on itself" + (f", by way of {', '.join(cycle[1:])}" if cycle[1:] else "")
            )


def _cycle(start: str, rules: Mapping[str, Rule], settled: set[str]) -> list[str]:
    """Ids of a cycle that can be reached from ``start``; ``settled`` has those that reach no cycle.

    Each rule is visited once, and without recursion, however long the paths are.
    """
    way = {start: iter(rules[start].stands_on)}  # from the start to where the search is
    while way:
        last = next(reversed(way))
        below = next(way[last], None)
        if below is None:
            settled.add(last)
            del way[last]
        elif below in way:
            return [*way][[*way].index(below) :]
        elif below not in settled:
            way[below] = iter(rules[below].stands_on)
    return []


def _read(file: Path) -> dict[str, Any]:
    import yaml  # a report gets the rules from its journal, and need not load this

    loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with file.open(encoding="utf-8") as stream:
            document = {"blocking": True, "on_request": False, **yaml.load(stream, Loader=loader)}
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or no such date
        raise SpecError(f"{file}: {error}") from None
    for key in ("blocking", "on_request"):
        if not isinstance(document[key], bool):
            raise SpecError(f"{file}: {key}: {document[key]!r} is neither true nor false")
    return document


def _rule(record: dict[str, Any], document: dict[str, Any], suite: str) -> Rule:
    known = {each.name for each in fields(Rule)} - {"suite", "blocking", "on_request", "interface"}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    if unknown := values.keys() - known:
        raise SpecError(f"{record.get('id')}: unknown keys {sorted(unknown)}")
    values["source"] = f"{document['text']['name']}, {values['source']}"
    head = {key: document[key] for key in ("blocking", "on_request", "interface")}
    rule = Rule(suite=suite, **head, **values)
    _check_types(rule)
    for word, allowed in ((rule.level, LEVELS), (rule.status, STATUSES), (rule.side, SIDES)):
        if word not in allowed:
            raise SpecError(f"{rule.id}: {word!r} is not one of {', '.join(allowed)}")
    if missing := [clause for clause in rule.clauses if clause not in document["clauses"]]:
        raise SpecError(f"{rule.id}: unknown clause {', '.join(missing)}")
    if unheard := [clause for clause in rule.provokes if clause not in document["clauses"]]:
        raise SpecError(f"{rule.id}: provokes unknown clause {', '.join(unheard)}")
    if bool(rule.defects) == bool(rule.unprovable):
        raise SpecError(f"{rule.id}: needs either defects or the reason why none can prove it")
    return rule


def _check_types(rule: Rule) -> None:
    """Raises SpecError for a field that is not as Rule declares it."""
    for each in fields(Rule):
        value = getattr(rule, each.name)
        if isinstance(value, Mapping):
            inner, good = [*value, *value.values()], each.name == "defects"
        elif isinstance(value, tuple):
            inner, good = [*value], each.name in ("also", "provokes", "stands_on", "wants")
        else:
            inner, good = [], type(value).__name__ == each.type
        if not good or not all(isinstance(item, str) for item in inner):
            raise SpecError(f"{rule.id}: {each.name} must not be {value!r:.60}")
