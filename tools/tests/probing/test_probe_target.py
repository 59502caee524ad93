# SPDX-License-Identifier: GPL-2.0-only
"""A first profile of a whole device, and a run with it. In a guest, the device is behind a real kernel:

    vfio-compliance vm --kernels 6.12 -- \
        pytest -p no:cacheprovider tools/tests/probing/test_probe_target.py --target profiles/qemu-edu.yaml
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from vfio_compliance.cli.main import main
from vfio_compliance.profiles import KernelGroupDevice, load
from vfio_compliance.results import summary
from vfio_compliance.results.verdict import Verdict
from vfio_compliance.sections import PROFILE

#: Claims that need knowledge about the device.
UNSEEN = {"precopy_data", "transitions", "repeatable_state", "dirty_scope"}


def test_a_first_profile_and_a_run(
    target: Path, judge_in_process: Callable[..., summary.Summary], tmp_path: Path
) -> None:
    """Its facts are those of the profile written by hand, and a run with it has no failure."""
    known, path = load(target, PROFILE), tmp_path / "probed.yaml"
    device = known.device
    words = [device.sysfs] if isinstance(device, KernelGroupDevice) else ["--", *(device.command or ())]
    assert main(["probe", "--out", str(path), *words]) == 0
    assert main(["check", str(path)]) == 0
    found = load(path, PROFILE)
    assert found.interfaces == known.interfaces
    seen = {name: value for name, value in dataclasses.asdict(found.claims).items() if name not in UNSEEN}
    assert {name: value for name, value in dataclasses.asdict(known.claims).items() if name in seen} == seen
    if isinstance(device, KernelGroupDevice):
        assert isinstance(found.device, KernelGroupDevice)
        assert (found.device.name, found.device.sysfs) == (device.name, device.sysfs)
        assert found.driver == known.driver
    summary = judge_in_process(path, tmp_path, "--plan=smoke")
    verdicts = {case.verdict for case in summary.cases.values()}
    assert Verdict.PASS in verdicts
    assert verdicts <= {Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.NOT_RUN}
