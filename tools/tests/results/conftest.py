# SPDX-License-Identifier: GPL-2.0-only
"""Records of runs that never were."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_compliance.results.journal import Record

sys.path.insert(0, str(Path(__file__).parent))  # whatever the import mode

from stories import CALL, NOON, OTHERS, first


@pytest.fixture
def records() -> Callable[..., list[Record]]:
    """A run's records: a verdict for each case of rule v1.one, then ``events``, then the end if there is to be one.

    ``others`` are verdicts for q.one, q.two and so on, which do not block; these are as many as there are names.
    """

    def build(
        *verdicts: str,
        events: tuple[Record, ...] = (),
        waivers: tuple[Record, ...] = (),
        planned: int | None = None,
        finished: bool = True,
        others: tuple[str, ...] = (),
    ) -> list[Record]:
        cases = {f"suites/s/test_it.py::test_it[case {number}]": "v1.one" for number in range(planned or len(verdicts))}
        cases |= {f"suites/q/test_q.py::test_{name}": f"q.{name}" for name, _ in zip(OTHERS, others, strict=False)}
        made = [first(list(waivers), cases), {"event": "plan", "cases": [list(case) for case in cases.items()]}]
        made.append({"event": "target", "identity": {"transport": "none"}, "migration": 9})
        for (case, rule), verdict in zip(cases.items(), verdicts + others, strict=False):
            failure = {"what": "doing it", "expected": "one thing", "seen": "another"} if verdict != "pass" else None
            made.append({"event": "start", "case": case, "rule": rule})
            made.append(
                {"event": "end", "case": case, "rule": rule, "verdict": verdict, "seconds": 0.5}
                | {"failure": failure, "observed": {"how": "so"}, "calls": [CALL]}
            )
        made += events
        totals = dict.fromkeys(("calls", "opens", "resets", "bytes_read", "bytes_written"), 1)
        made += [{"event": "finish", **totals}] if finished else []
        return [{"time": NOON + second} | record for second, record in enumerate(made)]

    return build
