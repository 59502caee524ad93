# SPDX-License-Identifier: GPL-2.0-only
"""What a case leaves on a device that is not reset before the next one is no other rule's matter.

These defects are remembered by the device: until a reset, or over what comes next. All cases of the rules are run that
could meet them, and those rules alone fail that the defects are there to break.
"""

from __future__ import annotations

import pytest
from proofs import DEFECTS, side_failures

from vfio_compliance.results.verdict import Verdict

#: By a refused write, by a read, by time, and by what an earlier case did; the rules whose cases are run.
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

#: Rules that compare with a migration which goes wrong itself.
CANNOT_BE_JUDGED = {"saved-again-stale": ["v1.sessions.complete-after-two", "v1.sessions.resumed-device-saves"]}

GOOD = {Verdict.PASS, Verdict.NOT_APPLICABLE}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("defect", "rules"), REMEMBERED.items(), ids=REMEMBERED)
def test_it_is_no_other_rules_matter(judge_in_process, project, tmp_path, defect, rules):
    """Each defect breaks its own rules, and what is written down besides."""
    only = sorted({*rules, *DEFECTS[defect]})
    options = [f"--defect={defect}", *(f"--only={rule}" for rule in only)]
    result = judge_in_process(project / "profiles/reference.yaml", tmp_path, *options)
    wrong = {rule: verdict for rule, verdict in result.verdicts.items() if verdict not in GOOD}
    unjudged = {rule for rule, verdict in wrong.items() if verdict is Verdict.NOT_RUN}
    assert unjudged <= set(CANNOT_BE_JUDGED.get(defect, ()))
    assert wrong.keys() - unjudged - side_failures().get(defect, {}).keys() == DEFECTS[defect].keys()
    assert {wrong[rule] for rule in wrong.keys() - unjudged} == {Verdict.FAIL}
