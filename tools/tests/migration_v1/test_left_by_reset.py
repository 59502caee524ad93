# SPDX-License-Identifier: GPL-2.0-only
"""State that survives a reset is not taken for restored state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vfio_compliance.results import summary
from vfio_compliance.results.verdict import Verdict

#: Rules whose tests check a device that was restored.
RESTORED = {
    "qemu.load.restores",
    "qemu.load.cut-buffer-safe",
    "qemu.paused.migrates",
    "v1.pre-copy.later-changes-carried",
    "v1.resuming.consumed-on-return",
    "v1.resuming.data-is-used",
    "v1.resuming.every-buffer-counts",
    "v1.stop-and-copy.state-is-complete",
}


@pytest.fixture(params=[True, False], ids=["second device", "one device"])
def judge(
    request: pytest.FixtureRequest, judge_in_process: Callable[..., summary.Summary], project: Path, tmp_path: Path
) -> Callable[..., dict[str, Verdict]]:
    """Judges a device whose reset keeps its memory and its SCRATCH registers."""
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    document["device"]["command"].append("--reset=keep")
    if not request.param:
        del document["device"]["second"]
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump(document, sort_keys=False))
    only = [f"--only={rule}" for rule in sorted(RESTORED)]
    return lambda *options: judge_in_process(profile, tmp_path, *only, *options).verdicts


def test_device_that_keeps_state_can_be_judged(judge: Callable[..., dict[str, Verdict]]) -> None:
    """It passes each of these rules."""
    assert judge() == dict.fromkeys(RESTORED, Verdict.PASS)


def test_device_that_restores_nothing_fails(judge: Callable[..., dict[str, Verdict]]) -> None:
    """A device that discards the data passes no rule, although it shows the same values as before.

    Rules that depend on another broken rule cannot be judged.
    """
    unjudged = ("v1.pre-copy.later-changes-carried", "v1.resuming.consumed-on-return")
    expected = dict.fromkeys(RESTORED, Verdict.FAIL) | dict.fromkeys(unjudged, Verdict.NOT_RUN)
    assert judge("--defect=resuming-data-ignored") == expected
