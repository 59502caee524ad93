# SPDX-License-Identifier: GPL-2.0-only
"""What a case leaves on a device that is not reset before the next one breaks no other rule.

The device remembers these defects, until a reset or longer. All cases of the rules that could meet them are run, and
only the rules that the defects are there to break fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from proofs import DEFECTS, side_failures

from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict

#: Caused by a refused write, by a read, by time, or by an earlier case; with the rules whose cases are run.
REMEMBERED = {
    "refusal-latches": ["v1.state"],
    "state-latched-after-second-failure": ["v1.state"],
    "state-changes-by-itself": ["v1.state.never-changes-by-itself", "v1.pending", "v1.reserved"],
    "stop-wears-off": ["v1.state.never-changes-by-itself", "v1.pending", "v1.reserved"],
    "saved-again-stale": ["v1.sessions", "v1.saving"],
    "left-poisons-next": ["v1.sessions.complete-after-one", "v1.layout"],
    "reset-error-refuses-saving": ["v1.reset", "v1.transition"],
    "open-stands-still": ["v1.open", "v1.transition"],
    "resumed-never-stops": ["v1.sessions", "v1.stop-and-copy"],
    "tracking-stop-again-wedges": ["dirty.request", "dirty.tracking", "dirty.unspecified", "dirty.bitmap"],
    "tracking-restart-wedges": ["dirty.request", "dirty.tracking", "dirty.unspecified", "dirty.bitmap"],
}

#: Rules that compare with a migration that fails itself.
CANNOT_BE_JUDGED = {"saved-again-stale": ["v1.sessions.complete-after-two", "v1.sessions.resumed-device-saves"]}

GOOD = {Verdict.PASS, Verdict.NOT_APPLICABLE}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("defect", "rules"), REMEMBERED.items(), ids=REMEMBERED)
def test_no_other_rule_is_blamed(
    judge_in_process: Callable[..., Summary], project: Path, tmp_path: Path, defect: str, rules: Sequence[str]
) -> None:
    """Each defect breaks its own rules, and those listed as failing with it."""
    only = sorted({*rules, *DEFECTS[defect]})
    options = [f"--defect={defect}", *(f"--only={rule}" for rule in only)]
    result = judge_in_process(project / "profiles/reference.yaml", tmp_path, *options)
    wrong = {rule: verdict for rule, verdict in result.verdicts.items() if verdict not in GOOD}
    unjudged = {rule for rule, verdict in wrong.items() if verdict is Verdict.NOT_RUN}
    assert unjudged <= set(CANNOT_BE_JUDGED.get(defect, ()))
    assert wrong.keys() - unjudged - side_failures().get(defect, {}).keys() == DEFECTS[defect].keys()
    assert {wrong[rule] for rule in wrong.keys() - unjudged} == {Verdict.FAIL}
