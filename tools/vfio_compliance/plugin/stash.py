# SPDX-License-Identifier: GPL-2.0-only
"""What the hooks of a run share."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest

from .. import rules
from ..profiles import plan as plans
from ..profiles.waiver_files import Listed, ListedWarning, WaiverFile
from ..results.data import DataStore
from ..results.failure import Failure
from ..results.handover import Handover
from ..results.journal import Journal
from ..results.measuring import Measuring
from ..results.verdict import Verdict
from ..run.kernel_marks import KernelMarks
from ..run.session import Session
from ..states.archive import StateFile


class Phase(NamedTuple):
    """How the set-up, the body or the clean-up of a case ended."""

    verdict: Verdict
    failure: Failure | None = None
    #: Running number of the call that shows the failure; 0 for none.
    call: int = 0


CATALOGUE: pytest.StashKey[rules.Catalogue] = pytest.StashKey()
JOURNAL: pytest.StashKey[Journal] = pytest.StashKey()
#: The rule that a case judges.
RULE: pytest.StashKey[str | None] = pytest.StashKey()
PHASES: pytest.StashKey[list[Phase]] = pytest.StashKey()
SECONDS: pytest.StashKey[float] = pytest.StashKey()
#: The counts at the end of the last case: passes, nanoseconds in calls and in resets.
COUNTED: pytest.StashKey[tuple[int, int, int]] = pytest.StashKey()
#: Measures the calls of all cases.
MEASURING: pytest.StashKey[Measuring] = pytest.StashKey()
#: When the cases began, in seconds of the monotonic clock.
BEGAN: pytest.StashKey[float] = pytest.StashKey()
#: What an earlier test process left, which this one continues.
HANDOVER: pytest.StashKey[Handover] = pytest.StashKey()
#: Where data is kept, if it is.
DATA: pytest.StashKey[DataStore | None] = pytest.StashKey()
PLAN: pytest.StashKey[plans.Plan] = pytest.StashKey()
#: The files of waivers, and all waivers of the run.
WAIVER_FILES: pytest.StashKey[list[WaiverFile]] = pytest.StashKey()
WAIVERS: pytest.StashKey[list[Listed]] = pytest.StashKey()
KERNEL_WARNINGS: pytest.StashKey[list[ListedWarning]] = pytest.StashKey()
#: Set once this test process can no longer reach the device, but another one may.
LOST: pytest.StashKey[bool] = pytest.StashKey()
#: By rule: how many of its cases hung or ended their process.
CUT: pytest.StashKey[Counter[str]] = pytest.StashKey()

#: States that are restored on the device at the end.
STATES: pytest.StashKey[list[StateFile]] = pytest.StashKey()

SESSION: pytest.StashKey[Session] = pytest.StashKey()
MARKS: pytest.StashKey[KernelMarks] = pytest.StashKey()
#: Seconds for which the run was asked to explore the device.
STRESS: pytest.StashKey[float | None] = pytest.StashKey()
#: What a case saw the device do where the specification is silent: a question, and the answer.
OBSERVATIONS: pytest.StashKey[dict[str, str]] = pytest.StashKey()
