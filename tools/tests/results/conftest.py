# SPDX-License-Identifier: GPL-2.0-only
"""Records of invented runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from stories import CALL, FINISH, RULE, first, made_by, recorded

from vfio_compliance.results.events import End, Event, Plan, Start, Target
from vfio_compliance.results.failure import Failure
from vfio_compliance.results.journal import Recorded
from vfio_compliance.results.setting import Register, UsedRegion, Waiver
from vfio_compliance.results.verdict import Verdict

#: Rules that do not block.
OTHERS = ("one", "two")

RULES = [RULE, *(replace(RULE, id=f"q.{name}", clause="Q-01", suite="q", blocking=False) for name in OTHERS)]

#: The region that the calls of these runs access.
REGIONS = (UsedRegion(9, "v1", (Register("pending_bytes", 8, 8),)),)

FAILED = Failure("doing it", "one thing", "another")


@pytest.fixture
def records() -> Callable[..., list[Recorded]]:
    """A run: a verdict for each case of rule v1.one, then ``events``, then the end if ``finished``.

    ``others`` are verdicts for q.one and q.two, which do not block: at most one for each.
    """

    def build(
        *verdicts: str,
        events: tuple[Event, ...] = (),
        waivers: tuple[Waiver, ...] = (),
        planned: int | None = None,
        finished: bool = True,
        others: tuple[str, ...] = (),
    ) -> list[Recorded]:
        cases = {f"suites/s/test_it.py::test_it[case {number}]": "v1.one" for number in range(planned or len(verdicts))}
        cases |= {f"suites/q/test_q.py::test_{name}": f"q.{name}" for name, _ in zip(OTHERS, others, strict=False)}
        made: list[Event] = [
            first(RULES, cases, waivers),
            Plan(tuple(cases.items())),
            Target({"transport": "none"}, REGIONS),
        ]
        calls = made_by((CALL,))
        for (case, rule), word in zip(cases.items(), verdicts + others, strict=False):
            verdict = Verdict(word)
            failure = None if verdict is Verdict.PASS else FAILED
            made += [Start(case, rule), End(case, rule, verdict, 0.5, failure, {"how": "so"}, **calls)]
        return recorded(*made, *events, *([FINISH] if finished else []))

    return build
