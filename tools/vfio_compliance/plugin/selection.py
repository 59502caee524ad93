# SPDX-License-Identifier: GPL-2.0-only
"""Which cases are run."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from .. import rules
from .stash import CATALOGUE, PLAN, RULE, SESSION, STRESS


def rule_of(item: pytest.Item) -> str | None:
    """The rule that the case judges; None for a test that judges none."""
    if RULE not in item.stash:
        marker = item.get_closest_marker("rule")
        item.stash[RULE] = str(marker.args[0]) if marker else None
    return item.stash[RULE]


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Do not make deep cases that the plan leaves out: they are half of all cases, and each takes milliseconds."""
    plan = metafunc.config.stash.get(PLAN, None)
    if plan is not None and plan.depth != "full":
        marks = metafunc.definition.own_markers
        marks[:] = map(_shallow, marks)


def is_deep(value: object) -> bool:
    """Whether a value of parametrize makes a deep case."""
    return "deep" in {each.name for each in getattr(value, "marks", ())}


def _shallow(mark: pytest.Mark) -> pytest.Mark:
    """The parameters without the deep ones, unless all are deep."""
    if mark.name != "parametrize" or "ids" in mark.kwargs:
        return mark
    names, values, *others = mark.args
    left = [value for value in values if not is_deep(value)]
    return pytest.mark.parametrize(names, left, *others, **mark.kwargs).mark if left else mark


def plan_cases(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """The items that the plan has for the profile. Raises UsageError if a rule is unknown."""
    catalogue = config.stash[CATALOGUE]
    judged = [item for item in items if rule_of(item)]
    if strangers := sorted({str(rule_of(item)) for item in judged} - catalogue.rules.keys()):
        raise pytest.UsageError(f"tests name rules that no rules.yaml has: {', '.join(strangers)}")
    claimed, plan = config.stash[SESSION].profile.interfaces, config.stash[PLAN]
    exploring = config.stash[STRESS] is not None

    def is_asked_for(item: pytest.Item) -> bool:
        rule = catalogue.rules[str(rule_of(item))]
        return rule.interface in claimed and rule.on_request == exploring

    asked = list(filter(is_asked_for, judged))
    kept = [item for item in asked if not plan.leaves_out(str(rule_of(item)))]
    planned = [item for item in kept if _is_of(plan.depth, item)]
    if plan.depth == "quick":
        planned = list({rule_of(item): item for item in reversed(planned)}.values())[::-1]  # the first of each rule
        config.stash[PLAN] = plan.without(set(map(str, map(rule_of, kept))) - set(map(str, map(rule_of, planned))))
    if asked and not planned:
        raise pytest.UsageError(f"{plan.source.file}: plan {plan.name} leaves out every rule of {', '.join(claimed)}")
    return planned


def _is_of(depth: str, item: pytest.Item) -> bool:
    if depth == "quick" and item.get_closest_marker("stimulus"):
        return False
    return depth == "full" or not item.get_closest_marker("deep")


def select(config: pytest.Config, planned: list[pytest.Item]) -> set[pytest.Item]:
    """The cases of ``planned`` that --only and --exclude leave. Raises UsageError if they name nothing."""
    catalogue = config.stash[CATALOGUE]
    only, exclude = config.getoption("--only"), config.getoption("--exclude")
    plan = config.stash[PLAN].name
    wanted = _named(catalogue, plan, "--only", only, planned) if only else set(planned)
    return wanted - _named(catalogue, plan, "--exclude", exclude, planned)


def arrange(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """Blocking rules come first, those that --only names in its order; with --shuffle, a random order."""
    catalogue = config.stash[CATALOGUE]
    arranged = sorted(items, key=lambda item: not catalogue.rules[str(rule_of(item))].blocking)
    if only := config.getoption("--only"):
        places: dict[pytest.Item, int] = {}
        cases = _by_rule(items)
        for place, pattern in enumerate(only):
            places = dict.fromkeys(_matching(catalogue, pattern, cases), place) | places
        arranged.sort(key=places.__getitem__)
    if config.getoption("--shuffle"):
        random.Random(config.getoption("--seed")).shuffle(arranged)
    return arranged


def _named(
    catalogue: rules.Catalogue, plan: str, option: str, patterns: list[str], items: list[pytest.Item]
) -> set[pytest.Item]:
    """The items of a plan that any of ``patterns`` names. Raises UsageError for one that names nothing."""
    wanted: set[pytest.Item] = set()
    cases = _by_rule(items)
    for pattern in patterns:
        if not pattern:
            raise pytest.UsageError(f"{option} needs a rule, the beginning of one, a clause or a case")
        if not (found := _matching(catalogue, pattern, cases)):
            raise pytest.UsageError(f"{option} {pattern}: {_why_none(catalogue, plan, pattern)}")
        wanted |= found
    return wanted


def _why_none(catalogue: rules.Catalogue, plan: str, pattern: str) -> str:
    """Why a pattern names no case."""
    if not (known := catalogue.matching(pattern)):
        return f"no such rule, clause or case{catalogue.hint(pattern)}"
    if all(rule.on_request for rule in known):
        return "only a run with --stress has cases of it"
    return f"plan {plan} has no case of it for this profile"


def _by_rule(items: list[pytest.Item]) -> dict[str, list[pytest.Item]]:
    """The cases of each rule."""
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        cases[str(rule_of(item))].append(item)
    return cases


def _matching(catalogue: rules.Catalogue, pattern: str, cases: dict[str, list[pytest.Item]]) -> set[pytest.Item]:
    """The cases of the rules that ``pattern`` names, or the case whose name ends with it."""
    if named := catalogue.matching(pattern):
        return {item for rule in named for item in cases.get(rule.id, ())}
    return {item for those in cases.values() for item in those if item.nodeid.endswith(pattern)}
