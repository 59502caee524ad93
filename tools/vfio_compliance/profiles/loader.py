# SPDX-License-Identifier: GPL-2.0-only
"""Reads a profile from its file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode

from vfio_compliance.profiles import actions
from vfio_compliance.profiles.actions import Function
from vfio_compliance.profiles.document import Document, Problem, ProfileError, listed, quoted
from vfio_compliance.profiles.profile import FORMAT, Profile
from vfio_compliance.profiles.records import Record, entries
from vfio_compliance.profiles.steps import CallAction
from vfio_compliance.profiles.stimulus import every_step


def load(path: str | os.PathLike[str], kind: Record) -> Profile:
    """Read a profile of the format ``kind``, which profile_format() makes.

    Raises ProfileError with all of its errors. Problems that only several keys of a mapping together show are
    looked for once each key is right by itself.
    """
    document = Document(os.fspath(path))
    profile: Profile = read(document, kind, {"leave_out": "; it belongs to a plan"})
    profile = dataclasses.replace(profile, path=Path(path), source=document.source(), denied=_denied(document))
    for name, message in profile.contradictions():
        document.complain(document.values[name], message)
    problems = [*document.problems, *_of_actions(profile, document)]
    if problems:
        raise ProfileError(problems)
    return profile


def _of_actions(profile: Profile, document: Document) -> Iterator[Problem]:
    """Problems of the steps that call functions, and of the file with the functions."""
    steps = every_step(profile.stimulus, profile.setup).items()
    calls = {place: step for place, step in steps if isinstance(step, CallAction)}
    functions: Mapping[str, Function] = {}
    if profile.actions:
        try:
            functions = actions.functions(profile.action_file)
        except ProfileError as error:
            yield from error.problems
            return
    before = len(document.problems)
    for place, step in calls.items():
        if message := _of_call(step, functions, profile, document):
            document.complain(document.values.get(f"{place}.call", document.values[place]), message)
    yield from document.problems[before:]


def _of_call(step: CallAction, functions: Mapping[str, Function], profile: Profile, document: Document) -> str:
    """The problem of a step that calls a function; empty if it can be done."""
    if not profile.actions:
        return f"{quoted(step.name)} is a function of the file that `actions` names, but the profile has no `actions`"
    function = functions.get(step.name)
    if function is None:
        hint = document.did_you_mean(step.name, functions)
        return f"there is no function {quoted(step.name)} in {profile.action_file}{hint}"
    at = f"{profile.action_file}:{function.line}"
    if function.problem:
        return f"{at}: {function.problem}"
    if missing := function.missing({name.removeprefix("$") for name in step.known}):
        known = listed(sorted(step.known), "and")
        return f"{at}: {quoted(step.name)} asks for {quoted(missing[0])}; known here are {known}"
    return ""


def _denied(document: Document) -> frozenset[str]:
    """The keys that are `none`; `pin` and `unpin` go together."""
    pinning = {"stimulus.dirty.pin", "stimulus.dirty.unpin"}
    return frozenset(document.denied | (pinning if document.denied & pinning else set()))


def read(document: Document, kind: Record, elsewhere: Mapping[str, str]) -> Any:
    """The content of `document`; `elsewhere` says where foreign keys belong. Raises ProfileError."""
    root = document.tree()
    if root is None or _of_another_format(root, document):
        raise ProfileError(document.problems)
    found = kind.build(entries(root, "", document), root, "", document, elsewhere)
    if document.problems:
        raise ProfileError(document.problems)
    return found


def _of_another_format(root: Node, document: Document) -> bool:
    """Complain about a file for another version of this program; the rest of it cannot be checked."""
    for name, value in root.value if isinstance(root, MappingNode) else ():
        if name.value == "format" and isinstance(value, ScalarNode) and value.value not in ("", str(FORMAT)):
            if not value.value.isdecimal():
                return False
            document.complain(value, f"format {quoted(value.value)} is unknown; this version reads {FORMAT}")
            return True
    return False
