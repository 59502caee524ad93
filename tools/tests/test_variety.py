# SPDX-License-Identifier: GPL-2.0-only
"""Drivers that all keep the rules, and differ as much as the text allows: every rule passes, or says why it is n/a."""

from __future__ import annotations

import pytest
import yaml

from vfio_compliance.results.verdict import Verdict

#: Options of the reference driver, and the claims that are true of it then.
VARIETY = {
    "trapped": (["--data-section=trapped"], {"data_section": "trapped"}),
    "partitioned": (["--data-section=partitioned"], {"data_section": "partitioned"}),
    "a buffer over the partition's end, moving": (
        ["--data-section=partitioned", "--section=65536", "--buffer=40960", "--offset=moving"],
        {"data_section": "partitioned"},
    ),
    "moving offsets": (["--section=65536", "--buffer=8192", "--offset=moving"], {}),
    "tiny buffers": (["--buffer=512", "--data-section=trapped"], {"data_section": "trapped"}),
    "one buffer": (["--section=1048576", "--buffer=1048576"], {}),
    "no data before stop-and-copy": (["--pre-copy=none"], {"precopy_data": False}),
    "slow": (["--slow=2000"], {}),
    "the same bytes each time": (["--quiet=yes"], {"repeatable_state": True}),
    "no transition that is not drawn": (["--undrawn=refuse"], {"transitions": []}),
    "read-only registers refused": (["--read-only=refuse"], {}),
    "a reset that leaves what can be seen": (["--reset=keep"], {}),
    "larger than the region by far": (["--memory=2097152", "--buffer=16384"], {}),
}


@pytest.mark.parametrize("name", VARIETY)
def test_no_false_alarm(judge_in_process, project, tmp_path, name):
    """No rule of the interface is broken, none is left unjudged, and at most four whole states are read."""
    options, claims = VARIETY[name]
    document = yaml.safe_load((project / "profiles/reference.yaml").read_text())
    document["device"]["command"] += options
    document["claims"] |= claims
    document["limits"]["largest_state"] = "32MiB"
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump(document, sort_keys=False))
    result = judge_in_process(profile, tmp_path, "--only=v1")
    assert result.exit_code == 0
    troubled = {rule: verdict for rule, verdict in result.verdicts.items() if verdict is not Verdict.PASS}
    assert set(troubled.values()) <= {Verdict.NOT_APPLICABLE}
    assert len(troubled) <= 4, troubled
    assert result.totals["passes"] <= 4
