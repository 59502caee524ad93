# SPDX-License-Identifier: GPL-2.0-only
"""What a reset left on a device does not pass for what was restored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vfio_compliance.results import summary
from vfio_compliance.results.verdict import Verdict

#: Rules whose tests look at a device that was restored.
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
    """Judges a device whose reset leaves its memory and its SCRATCH registers as they are."""
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    document["device"]["command"].append("--reset=keep")
    if not request.param:
        del document["device"]["second"]
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump(document, sort_keys=False))
    only = [f"--only={rule}" for rule in sorted(RESTORED)]
    return lambda *options: judge_in_process(profile, tmp_path, *only, *options).verdicts


def test_such_a_device_can_be_judged(judge: Callable[..., dict[str, Verdict]]) -> None:
    """It keeps each of these rules, and none is left out."""
    assert judge() == dict.fromkeys(RESTORED, Verdict.PASS)


def test_nothing_restored_is_seen(judge: Callable[..., dict[str, Verdict]]) -> None:
    """No rule holds for a device that throws away what it is given, though it shows what it showed.

    What is special about pre-copy, or about one buffer after the other, cannot be judged then.
    """
    unjudged = ("v1.pre-copy.later-changes-carried", "v1.resuming.consumed-on-return")
    expected = dict.fromkeys(RESTORED, Verdict.FAIL) | dict.fromkeys(unjudged, Verdict.NOT_RUN)
    assert judge("--defect=resuming-data-ignored") == expected
