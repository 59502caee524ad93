# SPDX-License-Identifier: GPL-2.0-only
"""Every failure can be made a program: for each defect, those in C and Python distinguish the broken driver.

``--target profiles/refdriver-kernel.yaml`` shows the same with the kernel module, if it is loaded.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from proofs import CATALOGUE, DEFECTS, TESTS

from vfio_compliance import profiles
from vfio_compliance.repro import c, files, python
from vfio_compliance.repro.choice import failing
from vfio_compliance.repro.live import SHOWS, SHOWS_NOT, Target
from vfio_compliance.repro.make import make
from vfio_compliance.repro.minimise import Limits
from vfio_compliance.repro.statements import Body
from vfio_compliance.results.summary import Summary
from vfio_compliance.sections import PROFILE

#: Pairs of a defect and a rule that it breaks.
PAIRS = [(defect, rule) for defect, rules in DEFECTS.items() for rule in rules if not CATALOGUE.rules[rule].on_request]

#: Pairs that no program shows yet, each with the reason; at most one in twenty may be here.
NOT_SHOWN: dict[tuple[str, str], str] = {
    ("resumed-in-part-outlives-user", "v1.sessions.complete-after-one"): "it takes many earlier cases",
}

#: In emulation, a program takes twenty times as long.
PATIENT = Limits(seconds=100)

#: The most statements of a body that can still be read.
LONGEST = 60

#: The most calls of a round on a single page.
SHORT = 12

#: Pairs whose body is longer, each with the reason.
LONG = {
    ("tracking-fifth-mapping-lost", "dirty.history.nothing-lost"): "it takes many mappings",
    (
        "write-across-first-lost",
        "dirty.history.nothing-lost",
    ): "with most seeds, a drawn script of many writes shows it",
}


@pytest.fixture(scope="module")
def profile(target: Path) -> profiles.Profile:
    """The profile of the reference device."""
    return profiles.load(target, PROFILE)


@pytest.fixture(scope="module")
def lacks(profile: profiles.Profile, project: Path) -> Callable[[str, str], bool]:
    """Whether the kernel module does not have a defect."""
    in_kernel = profile.device.transport == "kernel-group"
    table = (project / "tools/kmod/defects/defects.h").read_text()
    return lambda defect, rule: in_kernel and (f'"{defect}"' not in table or CATALOGUE.rules[rule].side == "kernel")


@pytest.mark.proof
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("defect", "rule"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_programs_distinguish_broken_from_good(
    judge_in_process: Callable[..., Summary],
    target: Path,
    profile: profiles.Profile,
    lacks: Callable[[str, str], bool],
    tmp_path: Path,
    count: Callable[..., None],
    defect: str,
    rule: str,
) -> None:
    """Both exit with 1 on the broken driver and with 0 on the good one, and C compiles without a warning."""
    if lacks(defect, rule):
        pytest.skip("the kernel module does not have this defect")
    if reason := NOT_SHOWN.get((defect, rule)):
        pytest.skip(reason)
    tests = [f"{test.file}::{test.name}" for test in TESTS[rule]]
    summary = judge_in_process(target, tmp_path, *tests, f"--defect={defect}", "--keep-data")
    (cases,) = failing(summary)
    with Target(profile, [defect]) as broken:
        made = make(summary, cases, tmp_path, broken, PATIENT)
        assert made.reproducible, made.remark
        in_c, in_python = files.write(made.program, tmp_path)
        built = tmp_path / "built"
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", built, in_c], check=True)
        commands = [[str(built)], [sys.executable, "-I", "-S", str(in_python)]]
        for command in commands:
            broken.renew()  # some faults come from what the driver remembers of an earlier client
            assert broken.run(command, made.program.devices) == SHOWS
    with Target(profile) as good:
        good.run(commands[0], made.program.devices)  # a kernel's device may still be as the broken driver left it
        assert [good.run(command, made.program.devices) for command in commands] == [SHOWS_NOT, SHOWS_NOT]
    body = Body(made.program)
    assert len(body.statements) + len(body.round) + len(body.checks) <= LONGEST or (defect, rule) in LONG
    count(pairs_shown_by_programs=1, calls_in_these_programs=len(made.program.steps))


def test_a_fault_that_shows_now_and_then(
    judge_in_process: Callable[..., Summary],
    target: Path,
    profile: profiles.Profile,
    lacks: Callable[[str, str], bool],
    tmp_path: Path,
) -> None:
    """The program makes many rounds of a few calls, and says in how many of them the fault showed."""
    rule, defect = "dirty.history.never-a-false-clean", "bitmap-race"
    if lacks(defect, rule):
        pytest.skip("the kernel module does not have this defect")
    test = TESTS[rule][0]
    case = f"{test.file}::{test.name}[and a stream of writes-by bitmaps]"
    summary = judge_in_process(target, tmp_path, case, f"--defect={defect}")
    (cases,) = failing(summary)
    with Target(profile, [defect]) as broken:
        made = make(summary, cases, tmp_path, broken, Limits(tries=1))
    assert made.reproducible, made.remark
    assert 0 < len(Body(made.program).round) <= SHORT
    for lines in (c.body(made.program), python.body(made.program)):
        assert "return verdict_of_rounds()" in "\n".join(lines)


def test_few_pairs_are_not_shown() -> None:
    """At least nineteen of twenty are shown, and each exception is a defect of that rule, with a reason."""
    assert set(NOT_SHOWN) <= set(PAIRS)
    assert len(NOT_SHOWN) * 20 <= len(PAIRS)
    assert all(reason.strip() for reason in NOT_SHOWN.values())
