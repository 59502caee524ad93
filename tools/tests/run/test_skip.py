# SPDX-License-Identifier: GPL-2.0-only
"""Cases that a profile skips are not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_compliance.results.summary import Summary
from vfio_compliance.results.verdict import Verdict

RULE = "v1.state.write-is-complete"


@pytest.mark.parametrize(
    ("named", "skipped"),
    [
        (RULE, 7),
        ("v1.state.write-is-whole", 7),
        ("test_write_is_complete", 7),
        ("test_write_is_complete[running -> stop]", 1),
        ("v1.state", 0),
    ],
    ids=["a rule", "a former id", "a test", "a case", "the beginning of a rule"],
)
def test_skipped(
    judge_in_process: Callable[..., Summary],
    document: Any,
    save_profile: Callable[[Any], Path],
    tmp_path: Path,
    named: str,
    skipped: int,
) -> None:
    """They are not-run, with the reason, and nothing is done to the device in them; the others are run."""
    document["skip"] = [{"case": named, "reason": "it wedges"}]
    result = judge_in_process(save_profile(document), tmp_path, f"--only={RULE}")
    cases = result.cases_of(RULE)
    left_out = [case for case in cases if case.verdict is Verdict.NOT_RUN]
    assert (len(cases), len(left_out)) == (7, skipped)
    assert {case.why.what for case in left_out} <= {"skipped by the profile: it wedges"}
    assert not any(case.calls for case in left_out)
    assert all(case.verdict is Verdict.PASS for case in cases if case not in left_out)
