# SPDX-License-Identifier: GPL-2.0-only
"""Damaged profiles and plans."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import yaml
from campaign import Campaign
from text_mutation import mutate_text, mutate_tree

from vfio_compliance import rules as spec
from vfio_compliance.profiles import ProfileError, load, plan, programs
from vfio_compliance.profiles.command import check
from vfio_compliance.profiles.document import LARGEST_FILE, WHOLE_FILE
from vfio_compliance.profiles.waiver_files import unknown_rules
from vfio_compliance.sections import PROFILE

#: Maximum length of a message: it says what is wrong, but does not show all of it.
_LONGEST = 2000

_Dumper = getattr(yaml, "CDumper", yaml.Dumper)


#: Keys that no shipped profile has.
RARE = """\
format: 1
name: rare
interfaces: [migration_v1]
device:
  transport: vfio-user
  socket: /run/s
  second: {socket: /run/t, recovery: [recover, "2"]}
  recovery: [recover, "1"]
  spares: [{socket: /run/u}, {socket: /run/v}]
claims: {data_section: mapped-only}
setup:
  after_open: [{map: data_section}, {write: {region: 0, offset: 0, width: 4, value: 1}}]
  after_reset: [{wait: {region: 0, offset: 0, width: 4, equals: 1, within: 1s}}]
stimulus: {dma: none, dirty: none, error: none, save_fault: none, refusal: none, resume_fault: none}
skip: [{case: v1.reset, reason: it wedges}]
"""
PLAN = """\
format: 1
name: no-faults
description: For devices in production
leave_out:
  - {rule: v1.error, reason: fused off}
  - {rule: v1.reserved.reads-zero, reason: a counter}
"""


def test_profiles(campaign: Callable[[str, str], Campaign], project: Path, tmp_path: Path) -> None:
    """A profile loads, or each of its problems has a place in the file and fits on a line."""
    counted = campaign("profiles", "damaged_profiles")
    texts = [path.read_text(encoding="utf-8") for path in sorted((project / "profiles").glob("*.yaml"))]
    texts += [RARE]
    trees = [yaml.safe_load(text) for text in texts]
    rules = spec.load(project / "suites").rules
    path = tmp_path / "p.yaml"

    def trial(rng: Random) -> None:
        if rng.random() < 0.5:
            kind, data = mutate_text(rng, rng.choice(texts))
        else:
            kind, tree = mutate_tree(rng, rng.choice(trees))
            kind, data = f"tree {kind}", _dump(tree)
        path.write_bytes(data)
        counted.add_input(kind, data.decode(errors="backslashreplace"))
        try:
            loaded = load(path, PROFILE)
            _check_problems(ProfileError(unknown_rules(loaded.source, loaded.waivers, rules)), path, data, some=False)
            assert all(steps for steps in programs(loaded.stimulus, loaded.setup).values())
            counted.add_outcome("a profile")
        except ProfileError as error:
            _check_problems(error, path, data)
            counted.add_outcome(f"{min(len(error.problems), 10)} problem(s)")
        if rng.random() < 0.1:
            _check_command(path)

    counted.run(1000, trial)


def test_plans(campaign: Callable[[str, str], Campaign], project: Path, tmp_path: Path) -> None:
    """A plan loads, and its rules are looked up, or each of its problems has a place."""
    counted = campaign("plans", "damaged_profiles")
    rules = spec.load(project / "suites").rules
    path = tmp_path / "p.yaml"

    def trial(rng: Random) -> None:
        if rng.random() < 0.5:
            kind, data = mutate_text(rng, PLAN)
        else:
            kind, tree = mutate_tree(rng, yaml.safe_load(PLAN))
            kind, data = f"tree {kind}", _dump(tree)
        path.write_bytes(data)
        counted.add_input(kind, data.decode(errors="backslashreplace"))
        try:
            loaded = plan.load(path)
            _check_problems(ProfileError(loaded.problems(rules)), path, data, some=False)
            assert all(loaded.leaves_out(rule) is None or loaded.left_out for rule in rules)
            counted.add_outcome("a plan")
        except ProfileError as error:
            _check_problems(error, path, data)
            counted.add_outcome(f"{min(len(error.problems), 10)} problem(s)")
        if rng.random() < 0.1:
            _check_command(path)

    counted.run(300, trial)


def _dump(tree: Any) -> bytes:
    try:
        text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False)
    except UnicodeEncodeError:  # the faster dumper refuses half a surrogate
        text = yaml.dump(tree, sort_keys=False)
    return text.encode()


def _check_problems(error: ProfileError, path: Path, data: bytes, *, some: bool = True) -> None:
    assert error.problems or not some
    lines = len(re.split("\r\n|[\n\r\x85\u2028\u2029]", data.decode(errors="replace")))
    for problem in error.problems:
        text = str(problem)
        assert text.isprintable(), f"not on one line: {text!r}"
        assert len(problem.message) < _LONGEST, f"a message of {len(problem.message)} characters"
        if problem.place == WHOLE_FILE:
            assert len(data) > LARGEST_FILE
            continue
        line, column = problem.place
        assert text.startswith(f"{path}:{line}:{column}: ")
        assert 1 <= line <= lines
        assert 1 <= column <= (len(problem.text) or len(data)) + 1, f"column {column} of {problem.text!r}"


def _check_command(path: Path) -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = check([str(path)], PROFILE)
    assert (code, output.getvalue().endswith(": ok\n")) in ((0, True), (2, False))
